"""Trains runs in child processes, some at a time; one that fails does not stop the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from input_pipeline.processes import SINGLE_THREADED, start_module
from input_pipeline.progress import Progress
from sacd_jax.sweeps.plan import Planned

POLL_SECONDS = 0.2
GRACE_SECONDS = 60.0
"""Time that a child has to finish its step and save its state when asked to stop."""

Start = Callable[[Planned], subprocess.Popen]


def single_threaded() -> dict[str, str]:
    """Environment variables for computing on one thread, XLA on the CPU included."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_multi_thread_eigen=false"
    return {**SINGLE_THREADED, "NPROC": "1", "XLA_FLAGS": flags.strip()}


def starter(module: str, arguments: Sequence[str], logs: Path, jobs: int) -> Start:
    """Makes the function that starts `python -m module arguments… --run=NAME`; logs to `logs`."""

    def start(planned: Planned) -> subprocess.Popen:
        logs.mkdir(parents=True, exist_ok=True)
        with open(log_file(logs, planned.name), "a") as log:
            return start_module(
                module,
                [*arguments, f"--run={planned.name}"],
                single_threaded() if jobs > 1 else None,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C reaches this process alone, which passes it on once: twice means at once.
                start_new_session=True,
            )

    return start


def log_file(logs: Path, name: str) -> Path:
    """The log of a run's process."""
    return logs / f"{name}.log"


def run_all(
    runs: Sequence[Planned], start: Start, logs: Path, jobs: int, progress: Progress
) -> dict[str, str]:
    """Runs everything, at most `jobs` at a time, each after those of `runs` that it needs.

    On Ctrl-C, SIGTERM or an error, asks the children to save their state and waits for them.

    Args:
        runs: in the order in which they start; a run comes after those it needs.
        start: starts the process of a run.
        logs: folder of their logs.
        jobs: how many run at a time.
        progress: advanced by each run that ends.

    Returns:
        name -> reason, for every run that failed or that needs one that failed.
    """
    waiting, running = list(runs), dict[str, tuple[subprocess.Popen, float]]()
    failed: dict[str, str] = {}

    def fail(name: str, reason: str) -> None:
        failed[name] = reason
        print(f"{name} failed: {reason}", file=sys.stderr, flush=True)

    try:
        while waiting or running:
            ended = [name for name, (process, _) in running.items() if process.poll() is not None]
            for name in ended:
                process, began = running.pop(name)
                if process.returncode:
                    fail(name, _reason(process.returncode, log_file(logs, name)))
                progress.advance(note=f"{name}: {time.monotonic() - began:.0f} s")
            unfinished = {run.name for run in waiting} | set(running)
            for run in list(waiting):
                lost = [name for name in run.needs if name in failed]
                if lost:
                    waiting.remove(run)
                    fail(run.name, f"needs {lost[0]}")
                    progress.advance()
                elif len(running) < jobs and not unfinished.intersection(run.needs):
                    waiting.remove(run)
                    running[run.name] = start(run), time.monotonic()
            if running and not ended:
                time.sleep(POLL_SECONDS)
    finally:
        _stop([process for process, _ in running.values()])
    return failed


def _reason(code: int, log: Path) -> str:
    """The last line of a run's log, or the signal that killed it."""
    if code < 0:
        return f"ended by signal {signal.Signals(-code).name}"
    lines = log.read_text(errors="replace").split("\n") if log.exists() else []
    last = next((line.strip() for line in reversed(lines) if line.strip()), f"exit code {code}")
    return last.removeprefix("error: ")


def _stop(processes: Sequence[subprocess.Popen]) -> None:
    for process in processes:
        process.terminate()  # a job of a shell in the background may ignore SIGINT, never SIGTERM
    deadline = time.monotonic() + GRACE_SECONDS
    try:
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))
    except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: at once
        pass
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
