"""XLA's estimates of a training step on TPUs and GPUs that are not here. Nothing runs.

The full step (forward, backward, SGD with momentum, BatchNorm), by cross-entropy or by a method of
distillation, data-parallel over a topology, is compiled ahead of time by libtpu or by XLA for CUDA,
which need no device; for TPUs a large network takes minutes. Estimates rank programs for one kind
of chip; they are no measurements.
"""

import argparse
import importlib.metadata
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
from jax.sharding import Mesh

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from input_pipeline.progress import Progress
from sacd_jax.benchmarks import absent_devices, hlo, plan, timing
from sacd_jax.benchmarks.absent_step import AbsentStep, classify_step, distill_steps
from sacd_jax.benchmarks.step import add_step_arguments
from sacd_jax.benchmarks.timed_step import check_positive
from sacd_jax.command_line import load_config
from sacd_jax.config import Experiment
from sacd_jax.report.tables import Cell, Table, show
from sacd_jax.sweeps.sweep_config import SweepConfig

EXAMPLE = (
    "python -m sacd_jax.benchmark topology --model r2plus1d_18 --method none,sacd --cached "
    "--topology h100:1x8 --batch 16 --colours 1"
)
SETTINGS = ("topology", "batch", "frames", "size", "colours", "dtype", "xla")


@dataclass(frozen=True)
class Estimate:
    """What XLA says of one compiled step, for one device.

    Attributes:
        name, group: as of `absent_step.AbsentStep`.
        milliseconds: estimated cycles at the chip's clock; None for a chip whose compiler or clock
            gives none, as all GPUs.
        bytes_milliseconds: what the bytes take at the full bandwidth of the memory, a lower bound;
            None where that is unknown.
        flops: operations, those with the zeros of folded kernels included; None on GPUs.
        accessed_bytes: bytes read and written: the compiler's figure; on GPUs operands and results.
        peak_bytes: most that is alive at once in the device's memory, arguments included.
        program: see `hlo.Program`.
        compile_seconds: wall seconds here.
        largest_batch: clips a device that fit; None where nobody asked.
    """

    name: str
    group: str
    milliseconds: float | None
    bytes_milliseconds: float | None
    flops: float | None
    accessed_bytes: float
    peak_bytes: int
    program: hlo.Program
    compile_seconds: float
    largest_batch: int | None = None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add_step_arguments(parser, form="auto", batch=16, dtype="bfloat16")
    parser.add_argument(
        "--method",
        default="none",
        metavar="NAMES",
        help="of distillation, with commas; none is cross-entropy alone (default: none)",
    )
    parser.add_argument(
        "--teacher", default="attnsleep", metavar="NAME", help="network (default: attnsleep)"
    )
    parser.add_argument(
        "--cached", action="store_true", help="stored outputs of the teacher, not its network"
    )
    parser.add_argument(
        "--rows",
        type=int,
        default=102_519,
        help="clips of the train split, rows of CRD's and CMC's banks (default: 102519, S3VE's)",
    )
    parser.add_argument(
        "--topology",
        default="v5e:2x4",
        metavar="NAME",
        help="TPUs as KIND:AxB, such as v5e:2x4, v6e:2x4 or v5p:2x2x1, or GPUs as KIND or "
        "KIND:HOSTSxGPUS, such as h100 or a100:2x8 (default: v5e:2x4)",
    )
    parser.add_argument(
        "--devices", type=int, metavar="N", help="of the topology that take part (default: all)"
    )
    parser.add_argument(
        "--largest-batch",
        action="store_true",
        help="also searches how many clips a device holds; compiles each step some more times",
    )
    parser.add_argument(
        "--plan",
        metavar="CONFIG",
        help="also says what the trainings of a config or sweep would take, by these estimates",
    )
    parser.add_argument(
        "--xla",
        default="",
        metavar="NAME=VALUE,...",
        help="compiler options, such as xla_gpu_force_conv_nhwc=true",
    )


def run(arguments: argparse.Namespace) -> None:
    """Compiles the steps and prints the table.

    Raises:
        UserError: no compiler, an unknown topology, network, form, method or compiler option.
    """
    check_positive(arguments, "batch", "frames", "size", "rows")
    options = compiler_options(arguments.xla)
    config = _planned(arguments.plan) if arguments.plan else None
    mesh = absent_devices.make_mesh(arguments.topology, arguments.devices)
    wanted = list(steps(arguments))  # all are made before minutes of compiling
    estimates = []
    with Progress("compile", total=len(wanted), unit="program") as progress:
        for step in wanted:
            estimates.append(estimate(step, mesh, arguments.batch, options))
            if arguments.largest_batch:
                estimates[-1] = with_largest_batch(estimates[-1], step, mesh, options, arguments)
            progress.advance()

    settings = {name: getattr(arguments, name) for name in SETTINGS if getattr(arguments, name)}
    settings["devices"] = mesh.size
    kind = mesh.devices.flat[0].device_kind
    versions = {"jax": jax.__version__} | _compiler(mesh)
    show(table(settings, kind, versions, estimates))
    if config is not None:
        show(_plan(config, wanted, estimates, mesh, arguments))
    if arguments.json:
        results = [{**vars(each), "program": vars(each.program)} for each in estimates]
        write_json(
            arguments.json,
            {"measured": False, "chip": kind, **versions, "settings": settings, "results": results},
        )


def _planned(file: str) -> Experiment | SweepConfig:
    kind = SweepConfig if "sweeps" in Path(file.partition(":")[0]).parts else Experiment
    return load_config(file, kind)


def _plan(
    config: Experiment | SweepConfig,
    wanted: Sequence[AbsentStep],
    estimates: Sequence[Estimate],
    mesh: Mesh,
    arguments: argparse.Namespace,
) -> Table:
    chip = absent_devices.chip(mesh)
    if chip is None:
        raise UserError(f"--plan: the numbers of {arguments.topology} are not known here")
    compiled = []
    for step, found in zip(wanted, estimates, strict=True):
        milliseconds = found.milliseconds or found.bytes_milliseconds or 0.0
        known = (found.peak_bytes, found.program, found.largest_batch)
        compiled.append(plan.Step(step.name, step.group, step.method, milliseconds / 1000, *known))
    return plan.table(compiled, chip, mesh.size, arguments.batch, arguments.rows, config)


def steps(arguments: argparse.Namespace) -> Iterator[AbsentStep]:
    """The steps that are asked for: each network in each form by each method.

    Raises:
        UserError: see `run`.
    """
    sizes = SimpleNamespace(frames=arguments.frames, size=arguments.size, colours=arguments.colours)
    methods = arguments.method.split(",")
    for model in arguments.model.split(","):
        for form in arguments.form.split(","):
            common = (model, form, arguments.dtype, sizes)
            for method in methods:
                if method == "none":
                    yield classify_step(*common)
                else:
                    teacher = (arguments.teacher, arguments.cached)
                    yield from distill_steps(*common, *teacher, [method], arguments.rows)


def compiler_options(text: str) -> dict[str, bool | str]:
    """Reads `name=value,...`; `true` and `false` are truth values.

    Raises:
        UserError: a part is not of that form.
    """
    options: dict[str, bool | str] = {}
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not (equals and name and value):
            raise UserError(f"--xla has {part!r}, expected NAME=VALUE")
        options[name] = {"true": True, "false": False}.get(value, value)
    return options


def estimate(
    step: AbsentStep, mesh: Mesh, batch: int, compiler_options: dict[str, bool | str] | None = None
) -> Estimate:
    """Compiles a step and collects what the compiler says of it.

    Raises:
        UserError: the compiler does not know an option.
    """
    start = time.perf_counter()
    try:
        compiled = step.compile(batch, mesh, compiler_options)
    except jax.errors.JaxRuntimeError as error:
        if not compiler_options or "INVALID_ARGUMENT" not in str(error):
            raise
        reason = str(error).partition("\n")[0]
        raise UserError(f"--xla {','.join(compiler_options)}: {reason}") from error
    seconds = time.perf_counter() - start
    cost, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    assert memory is not None
    program = hlo.read(compiled.as_text() or "")
    chip = absent_devices.chip(mesh)
    accessed = cost.get("bytes accessed", program.touched_bytes)
    return Estimate(
        step.name,
        step.group,
        1000 * program.cycles / chip.clock if chip and chip.clock else None,
        1000 * accessed / chip.bandwidth if chip else None,
        cost.get("flops"),
        accessed,
        memory.peak_memory_in_bytes,
        program,
        seconds,
    )


def with_largest_batch(
    found: Estimate,
    step: AbsentStep,
    mesh: Mesh,
    compiler_options: dict[str, bool | str],
    arguments: argparse.Namespace,
) -> Estimate:
    """The estimate with the number of clips that a device's memory holds.

    Raises:
        UserError: the memory of such a device is not known.
    """
    chip = absent_devices.chip(mesh)
    if chip is None:
        raise UserError(f"--largest-batch: the memory of {arguments.topology} is not known here")

    def peak(batch: int) -> float:
        if batch == arguments.batch:
            return found.peak_bytes
        try:
            return estimate(step, mesh, batch, compiler_options).peak_bytes
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            return float("inf")

    batch = largest_batch(peak, chip.memory, arguments.batch, step.clips_together)
    return Estimate(**{**vars(found), "largest_batch": batch})


def largest_batch(peak: Callable[[int], float], memory: int, batch: int, multiple: int) -> int:
    """The most clips whose step fits; 0 if not even `multiple` do.

    Memory grows by about the same for each clip, so two programs foretell the limit; the answer
    is compiled itself, and a smaller one where it does not fit after all.

    Args:
        peak: clips -> bytes, or infinity for a program that the compiler refuses.
        memory: bytes that there are.
        batch: clips to begin with, a multiple of `multiple`.
        multiple: the answer's.
    """
    small, large = (batch // 2 // multiple * multiple or multiple, batch)
    if small == large:
        large *= 2
    first, second = peak(small), peak(large)
    if first > memory:
        return 0 if small == multiple else largest_batch(peak, memory, small, multiple)
    guess = large
    if second <= memory:
        growth = max((second - first) / (large - small), 1)
        guess = large + int((memory - second) / growth) // multiple * multiple
    fits = large if second <= memory else small
    while guess > fits:
        if (needed := peak(guess)) <= memory:
            return guess
        excess = (needed - memory) / needed if needed < float("inf") else 0.05
        guess = min(guess - multiple, int(guess * (1 - excess)) // multiple * multiple)
    return fits


def table(
    settings: dict[str, Any], chip: str, versions: dict[str, str], estimates: list[Estimate]
) -> Table:
    """The estimates as a table."""
    header = [
        "",
        "est. ms",
        "ratio",
        "ms of bytes",
        "TFLOP",
        "GB",
        "operations",
        "transposes",
        "their GB",
        "peak GB",
        "collectives",
        "their MB",
        "in loops",
        "compile s",
    ]
    searched = any(each.largest_batch is not None for each in estimates)
    header += ["largest batch"] * searched
    first: dict[str, Estimate] = {}
    rows = []
    for each in estimates:
        base, program = first.setdefault(each.group, each), each.program
        ratio = each.accessed_bytes / base.accessed_bytes
        if base.milliseconds:
            ratio = (each.milliseconds or 0) / base.milliseconds
        texts = [
            _rounded(each.milliseconds),
            f"{ratio:.2f}",
            _rounded(each.bytes_milliseconds),
            "–" if each.flops is None else f"{each.flops / 1e12:.3g}",
            f"{each.accessed_bytes / 1e9:.3g}",
            str(program.operations.total()),
            str(program.transposes),
            f"{program.transposed_bytes / 1e9:.3g}",
            f"{each.peak_bytes / 1e9:.2f}",
            str(program.collectives.total()),
            f"{program.collective_bytes / 1e6:.1f}",
            str(program.in_loops),
            f"{each.compile_seconds:.0f}",
        ]
        texts += [str(each.largest_batch)] * searched
        rows.append((Cell(each.name), *(Cell(text) for text in texts)))
    known = estimates[0].milliseconds is not None
    unpriced = Counter[str]()
    for each in estimates:
        unpriced += each.program.unpriced
    kinds = ", ".join(sorted(unpriced)) or "none"
    compilers = ", ".join(f"{name} {version}" for name, version in versions.items())
    notes = [
        f"Nothing ran: estimates of XLA's compiler for one step on one {chip} of "
        f"{settings['devices']}, by {compilers}.",
        "est. ms: the compiler's cycles at the chip's clock; ratio: to the network's first. "
        "Differences below 10 % mean nothing."
        if known
        else "The compiler gives no time for this chip; ratio: of bytes, to the network's first.",
        "ms of bytes: what the bytes take at the memory's full bandwidth, a lower bound.",
        "operations: what is launched one after the other; on a GPU each is a kernel at least.",
    ]
    if known:
        notes += [
            f"Without an estimate, so in no time above: {kinds}.",
            "TFLOP count the zeros of folded kernels.",
        ]
    title = timing.heading("XLA's estimates of a training step", settings)
    return Table(title, tuple(header), tuple(rows), tuple(notes))


def _rounded(milliseconds: float | None) -> str:
    return "–" if milliseconds is None else f"{milliseconds:.1f}"


def _compiler(mesh: Mesh) -> dict[str, str]:
    if mesh.devices.flat[0].platform == "tpu":
        return {"libtpu": importlib.metadata.version("libtpu")}
    found = importlib.metadata.packages_distributions()
    names = found.get("jax_cuda13_plugin") or found["jax_cuda12_plugin"]
    return {names[0]: importlib.metadata.version(names[0])}
