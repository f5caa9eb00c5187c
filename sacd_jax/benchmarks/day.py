"""All there is to measure on a machine with an accelerator, part by part, in a limited time.

Each part is a process of its own, so that one that fails or hangs takes nothing with it. What was
measured is written after every part; the same command goes on with what is missing. Beside
FILE.json stand FILE.md, with the tables, and the folder FILE_files, with what each part said.
"""

import argparse
import json
import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.files import mine_alone, whole_file
from input_pipeline.processes import start_module
from sacd_jax.benchmarks import day_tables
from sacd_jax.benchmarks.timed_step import check_positive

EXAMPLE = "python -m sacd_jax.benchmark day --json out.json --torch-python ../torch/bin/python"

NETWORKS = "r2plus1d_18,r3d_18,torchvision_r2plus1d_18,torchvision_r3d_18"
GOLDEN = (
    *("tests/golden", "tests/objectives", "tests/models/test_video_resnet.py"),
    *("tests/models/test_attnsleep.py", "tests/models/test_batch_norm.py"),
)
"""Tests of golden values; they know no device."""


@dataclass(frozen=True)
class Part:
    """One thing to measure.

    Attributes:
        name: of it, unique.
        module: that is run.
        arguments: of the module; `--json FILE` is added for `sacd_jax.benchmark`.
        seconds: after which it is ended.
        environment: added to this process's.
    """

    name: str
    module: str
    arguments: tuple[str, ...]
    seconds: float
    environment: Mapping[str, str] = field(default_factory=dict)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `benchmark day`."""
    add = parser.add_argument
    add("--json", type=Path, required=True, metavar="FILE", help="where everything is written")
    add("--torch-python", metavar="PATH", help="interpreter of an environment with PyTorch")
    add("--minutes", type=int, default=24, help="for all parts together (default: 24)")
    add("--toy", action="store_true", help="toy sizes, to try it on a CPU")
    add("--parts", help="names of parts, with commas; all by default")


def run(arguments: argparse.Namespace) -> None:
    """Measures what is missing in the file, and says of each part what became of it.

    Raises:
        UserError: the file is damaged, or another process measures into it.
    """
    check_positive(arguments, "minutes")
    file = arguments.json.absolute()
    files = file.with_name(f"{file.stem}_files")
    files.mkdir(parents=True, exist_ok=True)
    with mine_alone(files / ".lock", str(file)):
        _run(arguments, file, files)


def _run(arguments: argparse.Namespace, file: Path, files: Path) -> None:
    found: dict[str, Any] = {"toy": arguments.toy, "parts": {}}
    if file.exists():
        mend = "move it away to measure anew"
        found = read_verified_json(file, what="measurements", mend=mend)
    end = time.monotonic() + 60 * arguments.minutes
    wanted = arguments.parts.split(",") if arguments.parts else None
    for part in parts(files, arguments.torch_python, arguments.toy):
        if wanted is not None and part.name not in wanted:
            continue
        earlier = found["parts"].get(part.name, {})
        if "result" in earlier and earlier["arguments"] == list(part.arguments):
            print(f"{part.name}: measured earlier", flush=True)
            continue
        left = end - time.monotonic()
        if left < 10:
            print(f"{part.name}: no time left; the same command goes on", flush=True)
            continue
        print(f"{part.name}: begins, {left / 60:.0f} min left", flush=True)
        found["parts"][part.name] = measure(part, files, min(part.seconds, left))
        write_verified_json(file, found)
        with whole_file(file.with_suffix(".md")) as temporary:
            temporary.write_text(day_tables.markdown(found["parts"]), encoding="utf-8")
        outcome = found["parts"][part.name]
        print(f"{part.name}: {outcome.get('error', 'measured')}", flush=True)
    print(f"{file} and {file.with_suffix('.md')}")


def parts(files: Path, torch_python: str | None, toy: bool) -> list[Part]:
    """What is measured, the most telling first.

    Args:
        files: folder for what a part leaves for another.
        torch_python: interpreter with PyTorch, or None.
        toy: sizes of seconds on a CPU.
    """
    benchmark, test = "sacd_jax.benchmark", "pytest"
    sizes = ("--frames", "4", "--size", "32") if toy else ()
    rounds = ("--rounds", "1" if toy else "10")
    networks, one = ("r2plus1d_small", "r2plus1d_small") if toy else (NETWORKS, "r2plus1d_18")
    batches = (2,) if toy else (16, 64, 128, 256)
    interpreter = ("--torch-python", torch_python) if torch_python else ()
    torch = (*interpreter, "--torch-compile") if torch_python else ()
    exact = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}
    same_bits = {"XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} --xla_gpu_deterministic_ops=true"}
    demo = files / "demo"
    config = "configs/demo.py:miniature" if toy else "configs/demo.py"

    def step(name: str, models: str, form: str, dtype: str, batch: int, seconds: float) -> Part:
        sized = ("--batch", str(batch), *sizes, "--colours", "1", "--dtype", dtype, *rounds)
        return Part(
            name, benchmark, ("step", "--model", models, "--form", form, *sized, *torch), seconds
        )

    def distill(name: str, *more: str) -> Part:
        sized = ("--batch", "2" if toy else "64", *sizes, *rounds)
        method = "fitnet" if toy else "sacd"
        fixed = ("distill", "--student", one, "--method", method, "--dtype", "bfloat16")
        return Part(name, benchmark, (*fixed, *sized, *more), 150)

    narrow = ("--frames", "4", "--size", "8", "--channels", "4") if toy else ()
    small = ("--clips", "32", "--batch", "8", "--batches", "2", "--height", "16", "--width", "16")
    return [
        Part("check", benchmark, ("check", *narrow), 120),
        Part("golden", test, ("-q", "-n", "0", "-m", "not slow", *GOLDEN), 300, exact),
        *(step(f"step of {batch}", one, "auto", "bfloat16", batch, 120) for batch in batches),
        step("networks", networks, "auto,direct", "bfloat16", batches[0], 300),
        distill("SACD cached", "--cached"),
        Part("demo", "sacd_jax.train", ("--config", config, "--workdir", str(demo)), 600),
        Part(
            "train",
            benchmark,
            ("train", "--config", config, "--data_dir", str(demo / "data"), "--steps", "16"),
            200,
        ),
        Part("input", benchmark, ("input", *(small if toy else ()), *rounds, *interpreter), 150),
        Part("predict", benchmark, ("predict", "--model", str(demo / "sacd"), *rounds), 120),
        Part(
            "resume",
            test,
            ("-q", "-n", "0", "tests/test_train.py", "-k", "an_interrupted_run"),
            300,
            same_bits,
        ),
        step("networks in float32", networks, "auto", "float32", batches[0], 240),
        distill("SACD live"),
    ]


def measure(part: Part, files: Path, seconds: float) -> dict[str, Any]:
    """Runs a part.

    Returns:
        `arguments`, `seconds`, and `result` or `error`.
    """
    target = files / f"{part.name}.json"
    target.unlink(missing_ok=True)
    arguments = list(part.arguments)
    if part.module == "sacd_jax.benchmark":
        arguments += ["--json", str(target)]
    if arguments[0] == "predict":
        arguments += ["--video", str(_a_video(files))]
    began, said = time.monotonic(), files / f"{part.name}.txt"
    with open(said, "w") as log:
        process = start_module(
            part.module,
            arguments,
            dict(part.environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        except BaseException:
            _end(process)
            raise
        if code is None:
            _end(process)
    found: dict[str, Any] = {
        "arguments": list(part.arguments),
        "seconds": time.monotonic() - began,
    }
    lines = said.read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    if code != 0:
        what = f"ended after {seconds:.0f} s" if code is None else lines[-1]
        return found | {"error": what}
    return found | {"result": _result(part, target, lines, files)}


def _end(process: subprocess.Popen) -> None:
    """With all that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _result(part: Part, target: Path, lines: list[str], files: Path) -> dict[str, Any]:
    if target.exists():
        return json.loads(target.read_text())
    if part.name == "demo":
        results = json.loads((files / "demo" / "results.json").read_text())
        rows = {name: row["figures"]["accuracy"]["value"] for name, row in results["rows"].items()}
        return {"accuracy": rows, "time": results["time"]}
    return {"said": lines[-1]}


def _a_video(files: Path) -> Path:
    """A night of the demo's data."""
    found = sorted((files / "demo" / "data").rglob("*.mp4"))
    return found[0] if found else files / "no video: the demo was not trained"
