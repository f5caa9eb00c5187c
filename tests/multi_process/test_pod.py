"""A pod on one machine: four tasks of two devices under Slurm's script, and what may happen."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sacd_jax.runs import goodput, log
from sacd_jax.training.checkpoints import newest_step
from tests.input_pipeline.fake_nights import fake_dataset
from tests.launch.test_slurm import Cluster
from tests.torture.compare import differences

TASKS, DEVICES = 4, 2
LENGTHS = (
    "--config.batch_size=32",
    "--config.passes=40.0",
    "--config.evaluate_every_passes=20.0",
    "--config.checkpoint_every_passes=1.0",
    "--config.log_every_steps=1",
)
"""Batches for eight devices; 78 steps, a checkpoint after every second."""


def arguments(folder: Path, workdir: Path) -> tuple[str, ...]:
    config = f"--config=tests/multi_process/toy.py:{folder / 'nights.csv'}"
    return (config, *LENGTHS, f"--data_dir={folder / 'data'}", f"--workdir={workdir}")


class Pod:
    """A job of the stand-in cluster, with its folder of runs."""

    def __init__(self, folder: Path, root: Path):
        self.folder, self.workdir = folder, folder / "pod"
        self.full = folder / "full"
        self.cluster = Cluster(folder, root)
        self._command = ("train", *arguments(folder, self.workdir))
        self.starts = 0

    def run(self, happens: Callable[[subprocess.Popen[str]], None]) -> tuple[int, bool, str]:
        """One start: what happens to it, then its exit code, whether it was queued again, what was
        said."""
        self.cluster.requeued.unlink(missing_ok=True)
        said = self.folder / f"start {self.starts}.txt"
        with open(said, "w") as out:
            job = self.cluster.start(
                *self._command,
                python=f'echo $$ >"{self.folder}/task-$SLURM_PROCID"; exec {sys.executable} '
                f'"{self.cluster.root}/tests/multi_process/pod_task.py" "$@"',
                log=out,
                SLURM_NTASKS=str(TASKS),
                SLURM_RESTART_COUNT=str(self.starts),
                JAX_PLATFORMS="cpu",
                JAX_COMPILATION_CACHE_DIR=str(self.folder / "compiled"),
                XLA_FLAGS=f"--xla_force_host_platform_device_count={DEVICES}",
                PYTHONPATH=str(self.cluster.root),
                FULL=str(self.full),
            )
            try:
                happens(job)
                code = job.wait(3000)
            finally:
                for task in range(TASKS):
                    self.send(task, signal.SIGKILL)
                job.wait()
        self.starts += 1
        return code, self.cluster.requeued.exists(), said.read_text()

    def process(self, task: int) -> int:
        return int((self.folder / f"task-{task}").read_text())

    def send(self, task: int, number: int) -> None:
        """Sends a signal to a task, if it is there."""
        if (self.folder / f"task-{task}").exists() and self.there(task):
            os.kill(self.process(task), number)

    def there(self, task: int) -> bool:
        try:
            state = Path(f"/proc/{self.process(task)}/stat").read_text()
        except OSError:
            return False
        return state.rpartition(")")[2].split()[0] != "Z"

    def wait_for_step(self, run: str, step: int, job: subprocess.Popen[str]) -> None:
        """Returns when a checkpoint of that step or a later one is whole."""
        self._wait(lambda: newest_step(self.workdir / run / "checkpoints") >= step, job)

    def wait_for_others(self, task: int, job: subprocess.Popen[str]) -> None:
        """Returns when no task but one is there."""
        others = [other for other in range(TASKS) if other != task]
        self._wait(lambda: not any(map(self.there, others)), job)

    def _wait(self, done: Callable[[], bool], job: subprocess.Popen[str]) -> None:
        deadline = time.monotonic() + 3000
        while not done():
            assert job.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)


def undisturbed(folder: Path, root: Path) -> Path:
    """The same experiment by one process with as many devices."""
    workdir = folder / "undisturbed"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(root),
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={TASKS * DEVICES}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "sacd_jax.train", *arguments(folder, workdir)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=3000,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return workdir


@pytest.mark.slow
def test_a_pod_that_loses_tasks_and_room_comes_to_the_same_report(tmp_path, root):
    fake_dataset(tmp_path)
    reference = undisturbed(tmp_path, root)
    pod = Pod(tmp_path, root)

    def killed(job: subprocess.Popen[str]) -> None:
        pod.wait_for_step("teacher", 4, job)
        pod.send(2, signal.SIGKILL)

    code, again, said = pod.run(killed)
    assert (code, again) == (128 + signal.SIGKILL, True), said
    assert "error: process 2 was lost" in said and "goes on from step" in said

    def stopped(job: subprocess.Popen[str]) -> None:
        pod.wait_for_step("sacd", 4, job)
        pod.send(1, signal.SIGSTOP)
        pod.wait_for_others(1, job)
        pod.send(1, signal.SIGCONT)

    code, again, said = pod.run(stopped)
    assert (code, again) == (75, True), said
    assert "error: process 1 was lost" in said

    pod.full.touch()
    code, again, said = pod.run(lambda job: None)
    assert (code, again) == (1, False), said  # somebody has to make room
    assert "no space left on device" in said and "make room" in said
    pod.full.unlink()

    code, again, said = pod.run(lambda job: None)
    assert (code, again) == (0, False), said
    assert said.count("report: ") == 1
    assert differences(reference, pod.workdir, exact=False) == []

    spent = {run: goodput.spent(goodput.read(pod.workdir / run)) for run in ("teacher", "sacd")}
    assert [each.starts for each in spent.values()] == [2, 3]
    for run, each in spent.items():
        assert each.seconds["restart"] > 0 and 0 < each.share("train") < 1
        assert each.seconds["lost"] > 0
        lines = log.read(pod.workdir / run).lines
        assert 0 < [line["goodput"] for line in lines if "goodput" in line][-1] < 1
    assert "time sacd: " in said and " in 3 starts" in said
