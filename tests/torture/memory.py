"""Measures the memory of a long training, which must not grow with its steps."""

import json
from pathlib import Path

from tests.torture.kills import remove
from tests.torture.started import CONFIG, Start

SETTLED = 200
"""Step at which everything that a training needs has been used."""

_EVERY_SECONDS = 0.1


def resident(folder: Path, steps: int) -> dict[int, int]:
    """Step -> resident bytes, each time they were looked at, of a training with SACD.

    It evaluates and saves a hundred times.

    Args:
        folder: for the training.
        steps: its length, about.

    Raises:
        RuntimeError: it failed.
    """
    workdir = folder / "long"
    folder.mkdir(parents=True, exist_ok=True)
    remove(workdir)
    log = workdir / "student" / "metrics.jsonl"
    start = Start(workdir, config=f"{CONFIG}:steps={steps}")
    found: dict[int, int] = {}
    while not start.wait(_EVERY_SECONDS):
        lines = log.read_text().splitlines() if log.exists() else []
        if lines:
            found[json.loads(lines[-1])["step"]] = start.resident_bytes()
    found = {step: size for step, size in found.items() if size}  # 0: ended meanwhile
    if start.codes() != {0}:
        raise RuntimeError(f"the training failed:\n{start.said()}")
    remove(workdir)
    return found


def at(found: dict[int, int], step: int) -> int:
    """What was resident when that step, or the next that was looked at, was done."""
    return found[min(each for each in found if each >= step)]
