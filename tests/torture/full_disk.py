"""Runs an experiment on a disk that is too small, makes a little room, and starts it again.

There is never more room than a start needs to get ahead: what one start freed is taken away again.
"""

import contextlib
import random
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture.compare import differences
from tests.torture.kills import HANGS_SECONDS, Outcome, remove, undisturbed
from tests.torture.started import Start, phase_of

_LEAST = 2**12
"""Bytes of room after a start that got ahead; after one that did not, a few times what it had."""

THERE = (("data/nights-*",), ("data",), ("data", "teacher"))
"""Parts of the experiment that are there before a disk is filled: its nights, its data set, its
first training."""

_OUTPUTS = shutil.ignore_patterns("teacher_cache")


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[None]:
    """Mounts a file system of so many bytes in memory on a folder.

    Raises:
        PermissionError: only root may mount, and in some containers nobody.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder)
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def _mount(*arguments: str | Path) -> None:
    if shutil.which("mount") is None:
        raise PermissionError("no mount on this machine")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise PermissionError(done.stderr.strip())


def fill(folder: Path, seed: int = 0, there: Sequence[Sequence[str]] = THERE) -> Outcome:
    """Runs an experiment until it has room enough, and compares it with an undisturbed one.

    Does so once for each of `THERE`, what is there at first: the room that decoded nights and old
    checkpoints leave when they are deleted would else be enough for all that follows.

    Args:
        folder: keeps what is compared with.
        seed: another seed, other sizes.
        there: some of `THERE`.
    """
    workdir = folder / "full-disk"
    reference, _ = undisturbed(folder)
    rng = random.Random(seed)
    outcome = Outcome()
    for patterns in there:
        outcome.experiments += 1
        remove(workdir)
        with small_disk(workdir, 2**28):
            for part in (path for pattern in patterns for path in reference.glob(pattern)):
                shutil.copytree(part, workdir / part.relative_to(reference), ignore=_OUTPUTS)
            _fill(workdir, reference, rng, outcome)
    remove(workdir)
    return outcome


def _fill(workdir: Path, reference: Path, rng: random.Random, outcome: Outcome) -> None:
    room, met = _LEAST, set()
    while not outcome.failures:
        _mount("-o", f"remount,size={shutil.disk_usage(workdir).used + room}", workdir)
        start = Start(workdir)
        if not start.wait(HANGS_SECONDS):
            start.send(9)
            outcome.failures.append(f"hangs in {start.phase()}\n{start.last_words()}")
        elif start.codes() == {0}:
            outcome.failures += differences(reference, workdir)
            break
        outcome.failures += [f"{wrong}\n{start.last_words()}" for wrong in _wrong(start)]
        named = re.search(rf"^error: {re.escape(str(workdir))}/([^:]+): ", start.said(), re.M)
        outcome.phases[phase_of(named[1]) if named else start.phase()] += 1
        place = named[1] if named else start.phase()
        room = int(room * rng.uniform(2, 8)) if place in met else _LEAST
        met.add(place)


def _wrong(start: Start) -> Iterator[str]:
    """What a start that met a full disk should not have done."""
    said = start.said()
    errors = [line for line in said.splitlines() if line.startswith("error: ")]
    if start.codes() != {1}:
        yield f"ended with {start.codes()} in {start.phase()}"
    elif len(errors) != 1 or "make room" not in errors[0]:
        yield f"{len(errors)} lines of error, expected one that asks for room"
    elif said.rstrip().splitlines()[-1] != errors[0] or "Traceback" in said:
        yield "more was said than one line"
