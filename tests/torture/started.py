"""Starts of the training command that are cheap: forks of a process that has imported everything.

None of JAX's devices are open in it yet.
"""

import atexit
import contextlib
import os
import re
import signal
import socket
import sys
import tempfile
import time
from multiprocessing import connection, context, get_context
from pathlib import Path
from typing import Any

from input_pipeline.command_errors import one_line_errors
from input_pipeline.processes import end_with_parent
from sacd_jax import train

CONFIG = Path(__file__).with_name("experiment.py")

_EVENTS = {"open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"}
_LONGEST_LABEL = 60


def forks() -> context.ForkServerContext:
    """The process that is forked, which `python -m tests.torture` keeps for all starts."""
    found = get_context("forkserver")
    found.set_forkserver_preload(["tests.torture.preloaded"])
    return found


class Start:
    """One start of the training command, in one process or in several that train together."""

    def __init__(
        self,
        workdir: Path,
        count: int = 1,
        kill_at: int = 0,
        imports: bool = False,
        core: int | None = None,
        config: str = str(CONFIG),
    ):
        """
        Args:
            workdir: of the experiment.
            count: of processes.
            kill_at: the file operation at which the first process kills itself; never if 0.
            imports: start as a user does, with everything still to be imported.
            core: on which it all runs, decoding included, which else starts workers of its own.
            config: the experiment.
        """
        self.logs = [workdir.with_name(f"{workdir.name}.{number}.txt") for number in range(count)]
        self._label = workdir.with_name(f"{workdir.name}.phase")
        self._label.write_text("imports" if imports else "start")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{probe.getsockname()[1]}"
        together = {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address}
        self.processes = []
        for number, log in enumerate(self.logs):
            of_this_one = {"JAX_NUM_PROCESSES": str(count), "JAX_PROCESS_ID": str(number)}
            environment = together | of_this_one if count > 1 else {}
            arguments = (workdir, config, log, environment, imports, core)
            watched = (self._label, kill_at) if number == 0 else None
            self.processes.append(forks().Process(target=_train, args=(*arguments, watched)))
            self.processes[-1].start()

    def wait(self, seconds: float, everyone: bool = True) -> bool:
        """Returns whether all processes (or one of them) ended within so many seconds."""
        deadline = time.monotonic() + seconds
        running = [process.sentinel for process in self.processes if process.is_alive()]
        enough = len(running) if everyone else 1
        while enough > 0 and (left := deadline - time.monotonic()) > 0:
            ended = connection.wait(running, left)
            running = [each for each in running if each not in ended]
            enough -= len(ended)
        return enough <= 0

    def send(self, number: int) -> None:
        """Sends a signal to all processes that are there."""
        for process in self.processes:
            if process.is_alive() and process.pid is not None:
                with contextlib.suppress(ProcessLookupError):  # it has just ended
                    os.kill(process.pid, number)

    def codes(self) -> set[int | None]:
        """Exit codes, negative for a signal; None of those that run."""
        return {process.exitcode for process in self.processes}

    def resident_bytes(self) -> int:
        """Of the first process, without pages of files, which come and go; 0 once it has ended."""
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{self.processes[0].pid}/status").read_text()
            if found := re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE):
                return int(found[1]) * 1024
        return 0

    def phase(self) -> str:
        """What was last done in the folder."""
        return self._label.read_text().rstrip()

    def said(self) -> str:
        """What the processes printed."""
        return "\n".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def last_words(self) -> str:
        """The end of what they printed."""
        return "\n".join(f"    {line}" for line in self.said().splitlines()[-25:])


def _train(
    workdir: Path,
    config: str,
    log: Path,
    environment: dict[str, str],
    imports: bool,
    core: int | None,
    watched: tuple[Path, int] | None,
) -> None:
    """The child."""
    os.environ.update(environment)
    cache = Path(tempfile.gettempdir(), "sacd_jax_torture")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
    with open(log, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    if core is not None:
        os.sched_setaffinity(0, {core})
    arguments = [f"--config={config}", f"--workdir={workdir}"]
    if imports:
        os.execv(sys.executable, [sys.executable, "-m", "sacd_jax.train", *arguments])
    end_with_parent()
    if watched is not None:
        _watch_files(str(workdir), *watched)
    try:
        with one_line_errors():
            train.main(arguments)
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        raise SystemExit(1) from None
    finally:
        atexit._run_exitfuncs()  # a fork of the standard library does without


def _watch_files(folder: str, label: Path, kill_at: int) -> None:
    """Notes each file operation in a folder, and kills this process at the n-th."""
    seen, noted = 0, os.open(label, os.O_WRONLY)

    def note(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal seen
        if event not in _EVENTS or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.fspath(arguments[0])
        if not isinstance(path, str) or not path.startswith(folder):
            return
        words = phase_of(path[len(folder) + 1 :])
        os.pwrite(noted, words.ljust(_LONGEST_LABEL).encode(), 0)
        seen += 1
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(note)


_PHASES = {
    "data": {"nights-": "simulate", ".decoded": "import nights", "simulated-": "build"},
    "teacher": {"checkpoints": "save", "teacher_cache": "outputs", "predictions": "evaluate"},
    "student": {"checkpoints": "save", "predictions": "evaluate"},
}


def phase_of(path: str) -> str:
    """What is done where a file lies, relative to the experiment."""
    room, _, inner = path.partition("/")
    phases = _PHASES.get(room)
    if phases is None:
        return "report" if path else "start"
    other = "build" if room == "data" else "train"
    found = next((phase for name, phase in phases.items() if name in inner), other)
    return found if room == "data" else f"{room}: {found}"
