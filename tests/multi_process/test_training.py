"""Several processes train as one does, stop as one does, and end when one of them is lost."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from input_pipeline import copy_share
from input_pipeline.files import only_one
from sacd_jax import peers
from sacd_jax.runs import log
from sacd_jax.training.checkpoints import newest_step
from sacd_jax.training.meters import CLOCK
from tests.input_pipeline.fake_nights import fake_dataset
from tests.multi_process.together import ROOT, ends, environment, processes, python, wait_for

RUNS = ("teacher", "sacd")

WRITTEN = """
# The training command; afterwards every process tells which files Python has written there.
import atexit, json, os, runpy, sys
folder, told = sys.argv[1:3]
written = set()
def note(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writing = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    elif event == "os.rename":
        path, writing = arguments[1], True
    else:
        return
    if writing and isinstance(path, (str, bytes, os.PathLike)):
        path = os.fsdecode(path)
        if path.startswith(folder + os.sep):
            written.add(os.path.relpath(path, folder))
sys.addaudithook(note)
def tell():
    with open(f"{told}-{os.environ['JAX_PROCESS_ID']}.json", "w") as file:
        json.dump(sorted(written), file)
atexit.register(tell)
sys.argv[1:3] = []
runpy.run_module("sacd_jax.train", run_name="__main__", alter_sys=True)
"""


def arguments(toy: Path, workdir: Path, *more: str) -> tuple[str, ...]:
    config = f"--config=tests/multi_process/toy.py:{toy / 'nights.csv'}"
    return (config, f"--data_dir={toy / 'data'}", f"--workdir={workdir}", *more)


def common(tmp_path_factory) -> Path:
    """A folder for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    return (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "multi_process"


@pytest.fixture(scope="session")
def toy(tmp_path_factory) -> Path:
    """`nights.csv`, and its data set in `data`."""
    folder = common(tmp_path_factory)
    with only_one(folder / "lock", "another process makes the toy data"):
        if not (folder / "nights.csv").exists():
            fake_dataset(folder)
    return folder


@pytest.fixture
def alone(toy, tmp_path) -> Path:
    """The experiment, trained by one process."""
    command = ("-m", "sacd_jax.train", *arguments(toy, tmp_path / "alone"))
    finish(python(*command, env=environment(), stderr=subprocess.PIPE))
    return tmp_path / "alone"


def finish(process: subprocess.Popen[str]) -> None:
    _, errors = process.communicate(timeout=1500)
    assert process.returncode == 0, errors


def same_run(one: Path, other: Path, steps: int = 8) -> None:
    """The same figures, weights and predictions but for the order in which floats are added."""
    lines = [log.read(run).lines for run in (one, other)]
    taken = [[line["step"] for line in each if line["split"] == "train"] for each in lines]
    assert taken == [list(range(1, steps + 1))] * 2 and len(lines[0]) == len(lines[1]) > steps
    for first, second in zip(*lines, strict=True):
        assert first.keys() == second.keys() and first["split"] == second["split"]
        values = {key: first[key] for key in first.keys() - CLOCK - {"split"}}
        assert values == pytest.approx({key: second[key] for key in values}, rel=2e-3, abs=2e-4)
    weights = [load_file(run / "model" / "model.safetensors") for run in (one, other)]
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=2e-3, atol=2e-4, err_msg=name)
    stored = [np.load(run / "predictions_test.npz") for run in (one, other)]
    for name in set(stored[0].files) - {"weights"}:  # a digest: of floats added in another order
        if stored[0][name].dtype == np.float32:
            np.testing.assert_allclose(*(file[name] for file in stored), rtol=2e-3, atol=2e-3)
        else:
            np.testing.assert_array_equal(*(file[name] for file in stored))


def files(workdir: Path) -> set[str]:
    """What an experiment leaves, without what Orbax names and TensorBoard dates."""
    found = {path.relative_to(workdir) for path in workdir.rglob("*") if path.is_file()}
    kept = {path for path in found if not {"checkpoints", "tensorboard"} & set(path.parts)}
    return {str(path) for path in kept if path.name != ".lock"}


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_train_as_one_and_the_first_alone_writes(toy, alone, tmp_path, count):
    workdir, told = tmp_path / "together", tmp_path / "written"
    launcher = ("bash", "launch/local.sh", str(count), "--", sys.executable)
    audited = ("-c", WRITTEN, str(workdir), str(told))
    result = subprocess.run(
        [*launcher, *audited, *arguments(toy, workdir)],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert result.returncode == 0, result.stderr[-4000:]
    assert result.stdout.count("report: ") == 1
    for name in RUNS:
        same_run(alone / name, workdir / name)
        assert len(list((workdir / name / "tensorboard").iterdir())) == 1
    assert files(workdir) == files(alone)
    cache = "teacher/teacher_cache/train/teacher_embedding.npy"
    np.testing.assert_allclose(np.load(workdir / cache), np.load(alone / cache), atol=1e-4)
    first = json.loads(Path(f"{told}-0.json").read_text())
    assert {"results.json", "sacd/metrics.jsonl", "sacd/predictions_test.npz"} <= set(first)
    for number in range(1, count):
        others = json.loads(Path(f"{told}-{number}.json").read_text())
        assert [path for path in others if "/checkpoints/" not in path] == []


OWN_DATA = """
import os, runpy, sys
sys.argv[-1] += os.environ["JAX_PROCESS_ID"]
runpy.run_module("sacd_jax.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_processes_that_hold_a_share_of_the_frames_each_train_as_one_that_holds_all(toy, tmp_path):
    for number in (0, 1):
        which = ("--shares=2", f"--index={number}", "--of=2")
        own = ("--data", str(toy / "data"), "--out", str(tmp_path / f"own-{number}"))
        copy_share.main([*own, *which])
    shared = ("--config.runs.sacd.data_shares=2",)
    command = ("-m", "sacd_jax.train", *arguments(toy, tmp_path / "alone", *shared))
    finish(python(*command, env=environment(), stderr=subprocess.PIPE))
    config, _, _, *more = arguments(toy, tmp_path / "together", *shared)
    own = (config, f"--workdir={tmp_path / 'together'}", *more, f"--data_dir={tmp_path}/own-")
    with processes(2, ("-c", OWN_DATA, *own), tmp_path / "logs") as started:
        assert ends(started, 600) == [0, 0], (tmp_path / "logs" / "0.txt").read_text()[-2000:]
    for name in RUNS:
        same_run(tmp_path / "alone" / name, tmp_path / "together" / name)


def long_run(toy: Path, workdir: Path, passes: float) -> tuple[str, ...]:
    more = ("--runs=teacher", f"--config.runs.teacher.passes={passes}")
    return ("-m", "sacd_jax.train", *arguments(toy, workdir, *more))


STOPPED = """
# The training command; its last process is told to stop once it has logged a step.
import os, runpy, signal, sys
from sacd_jax.runs.log import MetricsLog
write, at = MetricsLog.write, int(sys.argv.pop(1))
def stop(self, split, step, values):
    write(self, split, step, values)
    if step == at and os.environ["JAX_PROCESS_ID"] == str(int(os.environ["JAX_NUM_PROCESSES"]) - 1):
        os.kill(os.getpid(), signal.SIGTERM)
MetricsLog.write = stop
runpy.run_module("sacd_jax.train", run_name="__main__", alter_sys=True)
"""


@pytest.mark.slow
def test_four_are_stopped_and_two_then_one_then_three_go_on_as_one_that_was_not(toy, tmp_path):
    """A stop that one process is asked for ends all after the same step, with its checkpoint."""
    whole = ("--runs=teacher", "--config.batch_size=24", "--config.runs.teacher.passes=5.0")
    command = ("-m", "sacd_jax.train", *arguments(toy, tmp_path / "alone", *whole))
    finish(python(*command, env=environment(), stderr=subprocess.PIPE))
    workdir = tmp_path / "run" / "teacher"
    for count, at in ((4, 1), (2, 4), (1, 7), (3, 0)):
        told = ("-c", STOPPED, str(at), *arguments(toy, tmp_path / "run", *whole))
        logs = tmp_path / "logs" / str(count)
        with processes(count, told, logs) as started:
            codes = ends(started, 300)
        said = (logs / f"{count - 1}.txt").read_text()
        if at:
            assert codes == [130] * (count - 1) + [143], said
            assert not (workdir / "predictions_test.npz").exists()
            stopped = log.read(workdir).lines[-1]["step"]
            assert at <= stopped <= at + 2 and newest_step(workdir / "checkpoints") == stopped
        else:
            assert codes == [0] * count, said
    same_run(tmp_path / "alone" / "teacher", workdir, 13)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("lost", [1, 0])
def test_the_other_names_the_process_that_was_lost_and_asks_for_another_start(
    toy, tmp_path, lost, how
):
    workdir = tmp_path / "run" / "teacher"
    with processes(2, long_run(toy, tmp_path / "run", 1e5), tmp_path / "logs") as started:
        wait_for(workdir / "metrics.jsonl", started)
        began = time.monotonic()
        started[lost].send_signal(how)
        (code,) = ends([started[1 - lost]], 2 * peers.TIMEOUT_SECONDS + 30)
    said = (tmp_path / "logs" / f"{1 - lost}.txt").read_text()
    assert code == 75, said
    last = re.fullmatch(
        rf"error: process {lost} was lost, last heard of (\d+) s ago; "
        r"the same command goes on from step (\d+) of teacher",
        said.rstrip().splitlines()[-1],
    )
    assert last, said
    assert int(last[1]) <= time.monotonic() - began + 2
    assert int(last[2]) == newest_step(workdir / "checkpoints")
    assert not (workdir / "predictions_test.npz").exists()
