"""A sweep as a user runs it: stopped, killed in part, and gone on with."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from input_pipeline.digests import write_verified_json
from input_pipeline.files import only_one
from sacd_jax.runs import log, run_folder
from sacd_jax.training.meters import CLOCK
from tests.input_pipeline.fake_nights import fake_dataset

ROOT = Path(__file__).resolve().parent.parent
RUNS = ("teacher", "baseline-seed0", "sacd-seed0")

pytestmark = pytest.mark.slow


def start(folder: Path, workdir: Path, *more: str) -> subprocess.Popen[str]:
    """Starts the sweep; data sets lie in `folder`."""
    config = f"--config=tests/toy_sweep.py:{folder / 'nights.csv'}"
    where = (f"--workdir={workdir}", f"--data_dir={folder / 'data'}")
    command = [sys.executable, "-m", "sacd_jax.sweep", config, *where, *more]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=pipe, stderr=pipe, text=True)


def finish(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    output, errors = process.communicate(timeout=1500)
    assert process.returncode == code, errors
    assert "Traceback" not in errors
    return output, errors


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """`nights.csv`, its data set in `data`, and `sweep`, which nobody has stopped."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "sweep"
    with only_one(folder / "lock", "another process runs the sweep"):
        if not (folder / "sweep" / "toy.json").exists():
            fake_dataset(folder)
            finish(start(folder, folder / "sweep"))
    return folder


def wait_for_steps(run: Path, sweep: subprocess.Popen[str]) -> None:
    """Returns when a run is in the midst of its training."""
    deadline = time.monotonic() + 200
    while len(log.read(run).lines) < 3:
        assert sweep.poll() is None, f"the sweep ended before {run.name} was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def child_of(sweep: subprocess.Popen[str], run: str) -> int:
    """Process id of a run that the sweep has started."""
    children = Path(f"/proc/{sweep.pid}/task/{sweep.pid}/children").read_text().split()
    commands = {int(pid): Path(f"/proc/{pid}/cmdline").read_text() for pid in children}
    (found,) = (pid for pid, command in commands.items() if f"--run={run}\0" in command)
    return found


def same_sweep(one: Path, other: Path) -> None:
    """Bit for bit the same networks, losses, predictions and table."""
    for name in RUNS:
        runs = [folder / "runs" / name for folder in (one, other)]
        weights = [load_file(run / "model" / "model.safetensors") for run in runs]
        for key, value in weights[0].items():
            assert np.array_equal(value, weights[1][key]), (name, key)
        with (
            np.load(runs[0] / "predictions_test.npz") as a,
            np.load(runs[1] / "predictions_test.npz") as b,
        ):
            assert a.files == b.files
            assert all(np.array_equal(a[key], b[key]) for key in a.files), name
        lines = [
            [
                {key: value for key, value in line.items() if key not in CLOCK}
                for line in log.read(run).lines
                if line["split"] == "validation"
            ]
            for run in runs
        ]
        assert lines[0] and lines[0] == lines[1], name
    for file in ("toy.md", "toy.json"):
        assert (one / file).read_text() == (other / file).read_text()


def test_a_sweep_leaves_a_table_that_names_every_row(whole):
    table = (whole / "sweep" / "toy.md").read_text()
    value = json.loads((whole / "sweep" / "toy.json").read_text())
    assert value["sweep"] == "toy"
    found = [(row["name"], row["seeds"]) for row in value["rows"]]
    assert found == [("student", [0]), ("SACD", [0])]
    for name in ("student", "SACD", "teacher "):
        assert name in table


def test_a_stopped_sweep_goes_on_and_equals_one_that_was_not(whole, tmp_path):
    workdir = tmp_path / "sweep"
    sweep = start(whole, workdir)
    student = workdir / "runs" / "sacd-seed0"
    wait_for_steps(student, sweep)
    child = child_of(sweep, "sacd-seed0")
    sweep.send_signal(signal.SIGTERM)
    _, errors = finish(sweep, 143)
    assert errors.rstrip().splitlines()[-1].startswith("error: interrupted")
    assert not Path(f"/proc/{child}").exists()

    # What is there is whole, and nothing says that it is done.
    stopped = log.read(student).lines[-1]["step"]
    saved = [path.name for path in (student / "checkpoints").iterdir()]
    assert str(stopped) in saved and all(name.isdecimal() for name in saved)
    assert not (student / "predictions_test.npz").exists() and not (workdir / "toy.json").exists()
    assert [path for path in workdir.rglob(".unfinished-*")] == []
    shown, _ = finish(start(whole, workdir, "--list"))
    assert "begun" in shown and "2 of 3 runs done" in shown

    finish(start(whole, workdir))
    same_sweep(whole / "sweep", workdir)


def test_a_killed_run_is_named_the_others_go_on_and_the_next_call_mends_it(whole, tmp_path):
    workdir = tmp_path / "sweep"
    shutil.copytree(whole / "sweep" / "runs" / "teacher", workdir / "runs" / "teacher")
    teacher = Path("runs", "teacher")
    values = run_folder.read_config(whole / "sweep" / teacher)
    data = whole / "sweep" / teacher / values["dataset"]
    values["dataset"] = os.path.relpath(data, workdir / teacher)
    write_verified_json(workdir / teacher / "config.json", values)
    sweep = start(whole, workdir)
    wait_for_steps(workdir / "runs" / "baseline-seed0", sweep)
    os.kill(child_of(sweep, "baseline-seed0"), signal.SIGKILL)
    output, errors = finish(sweep, 1)
    named = [line for line in errors.splitlines() if "baseline-seed0" in line]
    assert named[0] == "baseline-seed0 failed: ended by signal SIGKILL"
    assert named[-1].startswith("error: 1 of 3 runs failed: baseline-seed0; see ")
    assert (workdir / "runs" / "sacd-seed0" / "predictions_test.npz").exists()
    assert "no finished run: student" in output

    finish(start(whole, workdir))
    same_sweep(whole / "sweep", workdir)
