"""The metrics log of a run: JSON lines always, TensorBoard beside it."""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from input_pipeline.files import named_if_full, whole_file
from sacd_jax.metrics import Metrics
from sacd_jax.runs.run_folder import RunFolder

Line = dict[str, Any]


@dataclass(frozen=True)
class StoredLog:
    """What a log file holds.

    Attributes:
        lines: its readable lines, in their order; each has a finite number `step` and a word
            `split`.
        unreadable: how many lines are damaged. A killed process leaves half a line.
    """

    lines: list[Line]
    unreadable: int

    def latest(self) -> list[Line]:
        """One line for each step and split, by step: the last one, as a resumed run repeats."""
        found = {(float(line["step"]), line["split"]): line for line in self.lines}
        return [found[key] for key in sorted(found)]


def read(workdir: Path) -> StoredLog:
    """Reads the log of a run: every line that can be read, whatever stands before it."""
    path = RunFolder(workdir).metrics
    if not path.is_file():
        return StoredLog([], 0)
    texts = [text for text in path.read_text(errors="replace").split("\n") if text.strip()]
    lines = [line for line in map(_parsed, texts) if line is not None]
    return StoredLog(lines, len(texts) - len(lines))


def _parsed(text: str) -> Line | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict) or not isinstance(line.get("split"), str):
        return None
    step = line.get("step")
    number = isinstance(step, int | float) and not isinstance(step, bool)
    return line if number and all(map(_may_stand, line.values())) else None


def _may_stand(value: Any) -> bool:
    """Whether `MetricsLog.write` may have written it: no infinity, no integer of hundreds of
    digits."""
    if isinstance(value, int):
        return abs(value) < 2**63
    return not isinstance(value, float) or math.isfinite(value)


class MetricsLog:
    """Appends one JSON object a line; only the first process writes."""

    def __init__(self, workdir: Path, resume_step: int = 0):
        """Opens the log of a run; lines after `resume_step` belong to work that is done again."""
        folder = RunFolder(workdir)
        self._path = folder.metrics
        stored = read(workdir)
        self.lines = [line for line in stored.lines if line["step"] <= resume_step]
        self._file = None
        if jax.process_index() == 0:
            from sacd_jax.runs.board import Board  # slow to import

            if stored.unreadable:
                damaged = "1 line" if stored.unreadable == 1 else f"{stored.unreadable} lines"
                print(f"{folder.metrics}: {damaged} damaged, the others are kept", file=sys.stderr)
            with whole_file(folder.metrics) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
            self._file = open(folder.metrics, "a")  # noqa: SIM115 - open as long as the run
            self._board = Board(folder.tensorboard, resume_step)

    def write(self, split: str, step: int, values: Mapping[str, float | str]) -> None:
        """Logs numbers of a step. Not-a-number becomes null: the file stays plain JSON."""
        line: Line = {"step": step, "split": split}
        for name, value in values.items():
            finite = not isinstance(value, float) or math.isfinite(value)
            line[name] = value if finite else None
        self.lines.append(line)
        if self._file is not None:
            numbers = {
                f"{split}/{name}": value
                for name, value in line.items()
                if name != "step" and isinstance(value, int | float)
            }
            with named_if_full(self._path):
                self._file.write(json.dumps(line) + "\n")
                self._file.flush()
                self._board.write(step, numbers)

    def write_figures(
        self, split: str, step: int, measured: Metrics, classes: Sequence[str]
    ) -> None:
        """Logs accuracy, macro F1, kappa and the recall of each of the named classes."""
        recalls = dict(zip((f"recall_{name}" for name in classes), measured["recall"], strict=True))
        pooled = {name: measured[name] for name in ("accuracy", "macro_f1", "kappa")}
        self.write(split, step, {**pooled, **recalls})

    def best(self, split: str, name: str) -> float:
        """Largest value logged so far of a number of a split; -inf when there is none."""
        values = (line.get(name) for line in self.lines if line["split"] == split)
        return max((v for v in values if isinstance(v, int | float)), default=-math.inf)

    def close(self) -> None:
        """Flushes and closes."""
        if self._file is not None:
            file, self._file = self._file, None
            with named_if_full(self._path):
                file.close()
                self._board.close()
