"""Commands as several processes on this machine, each started and stopped by itself."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def environment(**more: str) -> dict[str, str]:
    """That of one process with one CPU device, whatever launched the tests."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("XLA_FLAGS")}
    return {**kept, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), **more}


def python(*arguments: str, **options) -> subprocess.Popen[str]:
    """Starts this interpreter; it ends when the test does."""
    return subprocess.Popen([sys.executable, *arguments], cwd=ROOT, text=True, **options)


@contextlib.contextmanager
def processes(count: int, arguments: Sequence[str], logs: Path) -> Iterator[list[subprocess.Popen]]:
    """Starts `count` interpreters that train together; process i prints to `logs/i.txt`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    logs.mkdir(parents=True, exist_ok=True)
    started: list[subprocess.Popen] = []
    try:
        for number in range(count):
            joined = environment(
                JAX_COORDINATOR_ADDRESS=address,
                JAX_COORDINATOR_BIND_ADDRESS=address,
                JAX_NUM_PROCESSES=str(count),
                JAX_PROCESS_ID=str(number),
            )
            with open(logs / f"{number}.txt", "w") as log:
                started.append(python(*arguments, env=joined, stdout=log, stderr=log))
        yield started
    finally:
        for process in started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait()


def ends(started: Sequence[subprocess.Popen], seconds: float) -> list[int]:
    """Exit codes, once all have ended.

    Raises:
        subprocess.TimeoutExpired: one goes on for longer.
    """
    deadline = time.monotonic() + seconds
    return [process.wait(max(0.1, deadline - time.monotonic())) for process in started]


def wait_for(path: Path, started: Sequence[subprocess.Popen], seconds: float = 240) -> None:
    """Returns when a file has content, or a process has ended before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if path.exists() and path.stat().st_size:
            return
        if any(process.poll() is not None for process in started):
            return
        time.sleep(0.05)
    raise AssertionError(f"{path.name} is not there after {seconds} s")
