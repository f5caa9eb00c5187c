"""Damages inputs one by one, reads each, and counts what must not happen."""

import contextlib
import multiprocessing
import os
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.errors import UserError
from tests.torture.damage import damage
from tests.torture.planted import leaks

MAX_SECONDS = 10
"""Of computing, for one input."""
MAX_GROWTH = 1 << 30
"""Bytes that a process may grow by over all of its inputs."""

_LONGEST_LINE = 1000


def unverified(whole: Any, found: Any) -> str:
    """Nothing in the file tells damage from truth."""
    return ""


@dataclass(frozen=True)
class Target:
    """A reader and whole files of every kind that it reads."""

    name: str
    make: Callable[[Path], Sequence[Path]]
    """Writes whole files into a folder; each is damaged in turn, beside the others."""
    read: Callable[[Path], tuple[Sequence[str], Any]]
    """Reads one file. Returns all that would be said to a user, and what was read. It may raise
    UserError."""
    share: int = 1
    """Of the inputs, relative to other targets."""
    wrong: Callable[[Any, Any], str] = unverified
    """Of what was read of a whole file, and of the same file damaged: what is wrong, or ""."""


@dataclass
class Outcome:
    """What became of damaged inputs."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    grown_bytes: int = 0
    failures: list[str] = field(default_factory=list)
    """What must not happen, a line each, with the number of the input."""

    def add(self, other: "Outcome") -> None:
        self.inputs += other.inputs
        self.read += other.read
        self.refused += other.refused
        self.slowest_s = max(self.slowest_s, other.slowest_s)
        self.grown_bytes = max(self.grown_bytes, other.grown_bytes)
        self.failures += other.failures


class TooSlow(BaseException):
    """Raised by the alarm; no `except Exception` swallows it."""


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raises `TooSlow` after so many seconds of computing; a busy machine does not count."""

    def ring(signum: int, frame: object) -> None:
        raise TooSlow

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@contextlib.contextmanager
def _stderr_of_libraries(path: Path) -> Iterator[None]:
    """Collects what C libraries write to the standard error."""
    kept = os.dup(2)
    with open(path, "wb") as file:
        os.dup2(file.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(
    target: Target, numbers: Sequence[int], seed: int, max_seconds: float = MAX_SECONDS
) -> Outcome:
    """Damages and reads inputs; input `number` of a `seed` is the same wherever it is tried."""
    outcome = Outcome()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = folder / "files"
        files.mkdir()
        whole = target.make(files)
        contents = [path.read_bytes() for path in whole]
        # Loads what the reader needs, and must succeed.
        values = [target.read(path)[1] for path in whole]
        shutil.copytree(files, folder / "whole")
        before = _peak_bytes()
        with _stderr_of_libraries(folder / "stderr"), warnings.catch_warnings():
            warnings.simplefilter("error")
            for number in numbers:
                rng = np.random.default_rng([seed, zlib.crc32(target.name.encode()), number])
                which = int(rng.integers(len(whole)))
                path = whole[which]
                path.write_bytes(damage(rng, contents[which]))
                _try(target, path, values[which], number, outcome, max_seconds)
                if path.is_file():
                    path.write_bytes(contents[which])
                else:  # a reader may set damaged files aside
                    shutil.rmtree(files)
                    shutil.copytree(folder / "whole", files)
        written = (folder / "stderr").read_text(errors="replace")
        if found := leaks(written):
            outcome.failures.append(f"{target.name}: {found} on the standard error")
    outcome.grown_bytes = _peak_bytes() - before
    if outcome.grown_bytes > MAX_GROWTH:
        grown = outcome.grown_bytes >> 20
        outcome.failures.append(f"{target.name} {numbers[0]}…: the process grew by {grown} MB")
    return outcome


def _try(
    target: Target, path: Path, whole: Any, number: int, outcome: Outcome, max_seconds: float
) -> None:
    begun = time.process_time()
    outcome.inputs += 1
    where = f"{target.name} {number} ({path.name})"
    try:
        with _alarm(max_seconds):
            said, found = target.read(path)
        outcome.read += 1
        if wrong := target.wrong(whole, found):
            outcome.failures.append(f"{where}: {wrong}")
    except UserError as error:
        said = [str(error)]
        outcome.refused += 1
    except TooSlow:
        said = []
        outcome.failures.append(f"{where}: not done after {max_seconds:g} s")
    except Exception as error:
        said = []
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        outcome.failures.append(f"{where}: {type(error).__name__} at {place}: {error}"[:300])
    outcome.slowest_s = max(outcome.slowest_s, time.process_time() - begun)
    for line in said:
        if "\n" in line or len(line) > _LONGEST_LINE:
            outcome.failures.append(f"{where}: a message of several lines, or a long one")
        if found := leaks(line):
            outcome.failures.append(f"{where}: {found} in {line[:200]!r}")


def _job(names: tuple[str, str], numbers: Sequence[int], seed: int) -> Outcome:
    module, name = names
    found = __import__(module, fromlist=["TARGETS"]).TARGETS
    return fuzz(next(target for target in found if target.name == name), numbers, seed)


def fuzz_all(
    targets: Sequence[Target],
    inputs: int,
    seed: int = 0,
    *,
    first: int = 0,
    jobs: int = 2,
    module: str = "tests.torture.targets",
) -> dict[str, Outcome]:
    """Shares `inputs` out among the targets and tries them in `jobs` processes.

    A process that dies (a crash in a C library) is a failure of the inputs it was given.

    Args:
        first: number of each target's first input.
        module: where the processes find the targets, as `TARGETS`.
    """
    shares = sum(target.share for target in targets)
    outcomes = {target.name: Outcome() for target in targets}
    context = multiprocessing.get_context("spawn")
    waiting = [
        (target.name, range(begin, min(begin + 500, last)))
        for target in targets
        for last in [first + max(1, inputs * target.share // shares)]
        for begin in range(first, last, 500)
    ]
    while waiting:
        with ProcessPoolExecutor(jobs, mp_context=context) as pool:
            running = [
                (name, numbers, pool.submit(_job, (module, name), numbers, seed))
                for name, numbers in waiting
            ]
            waiting = []
            for name, numbers, future in running:
                try:
                    outcomes[name].add(future.result())
                except BrokenProcessPool:
                    waiting.append((name, numbers))
        if waiting and jobs > 1:
            jobs = 1  # one at a time, so that the first that does not get through is to blame
        elif len(waiting) == len(running):
            name, numbers = waiting.pop(0)
            crash = f"{name} {numbers[0]} to {numbers[-1]}: the process died"
            outcomes[name].failures.append(crash)
    return outcomes
