"""Processes of our own: results, errors, and that none is left behind."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest

from input_pipeline.processes import parallel_map

_SLEEPERS = """
import os, signal, sys, time
from pathlib import Path
from input_pipeline.processes import parallel_map

def sleeper(folder):
    Path(folder, str(os.getpid())).touch()
    time.sleep(60)

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    list(parallel_map(sleeper, [sys.argv[1]] * 8, jobs=2))
"""


def _running(pid: int) -> bool:
    with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/stat") as file:
        return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    return False


def _square(number: int) -> int:
    if number == 3:
        raise ZeroDivisionError("three")
    return number * number


@pytest.mark.parametrize("jobs", [1, 2])
def test_results_come_with_their_position(jobs):
    numbers = [5, 7, 9]
    assert sorted(parallel_map(_square, numbers, jobs)) == [(0, 25), (1, 49), (2, 81)]
    assert list(parallel_map(_square, [], jobs)) == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_error_is_raised(jobs):
    with pytest.raises(ZeroDivisionError, match="three"):
        list(parallel_map(_square, [3] * 6, jobs))


def test_workers_have_one_thread_each_and_the_parent_keeps_its_own(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    found = [value for _, value in parallel_map(os.getenv, ["OMP_NUM_THREADS"] * 2, 2)]
    assert found == ["1", "1"] and "OMP_NUM_THREADS" not in os.environ


def _hears_interrupts(_: int) -> bool:
    return signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_terminals_interrupt_is_heard_by_the_parent_alone():
    assert [heard for _, heard in parallel_map(_hears_interrupts, [0, 0], 2)] == [False, False]
    assert _hears_interrupts(0)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path, root, how):
    """A signal to the parent alone ends it and its workers at once, in the middle of their work."""
    script = tmp_path / "sleepers.py"
    script.write_text(_SLEEPERS)
    folder = tmp_path / "workers"
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(root)}
    with subprocess.Popen(
        [sys.executable, script, folder], env=environment, stderr=subprocess.DEVNULL
    ) as parent:
        deadline = time.monotonic() + 30
        while len(workers := list(folder.iterdir())) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        parent.send_signal(how)
        assert parent.wait(timeout=300) != 0
    pids = [int(worker.name) for worker in workers]
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(map(_running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(_running, pids))
