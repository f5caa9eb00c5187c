"""The metrics log of a run: JSON lines always, TensorBoard beside it."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from tensorboardX import SummaryWriter

from input_pipeline.errors import UserError
from input_pipeline.files import whole_file
from sacd_jax.metrics import Metrics

FILE_NAME = "metrics.jsonl"


class MetricsLog:
    """Appends one JSON object a line; only the first process writes."""

    def __init__(self, folder: Path, resume_step: int = 0):
        """Opens the log of a run; lines after `resume_step` belong to work that is done again."""
        self._path = folder / FILE_NAME
        self.lines = [line for line in read(folder) if line["step"] <= resume_step]
        self._file = None
        if jax.process_index() == 0:
            with whole_file(self._path) as temporary:
                temporary.write_text("".join(json.dumps(line) + "\n" for line in self.lines))
            self._file = open(self._path, "a")  # noqa: SIM115 - open as long as the run
            self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)

    def write(self, split: str, step: int, values: Mapping[str, float | str]) -> None:
        """Logs numbers of a step. Not-a-number becomes null: the file stays plain JSON."""
        line: dict[str, Any] = {"step": step, "split": split}
        for name, value in values.items():
            finite = not isinstance(value, float) or math.isfinite(value)
            line[name] = value if finite else None
        self.lines.append(line)
        if self._file is not None:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
            for name, value in line.items():
                if name != "step" and isinstance(value, int | float):
                    self._board.add_scalar(f"{split}/{name}", value, step)

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
        return max((value for value in values if value is not None), default=-math.inf)

    def close(self) -> None:
        """Flushes and closes."""
        if self._file is not None:
            self._file.close()
            self._board.close()
            self._file = None


def read(folder: Path) -> list[dict[str, Any]]:
    """Lines of a run's log; a last line that a killed process left half-written is passed over."""
    path = folder / FILE_NAME
    if not path.exists():
        return []
    lines = []
    for text in path.read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


class Stopwatch:
    """Clips a second and the share of time spent waiting for data; pauses do not count."""

    def __init__(self) -> None:
        self._compile_seconds = 0.0
        self._start()

    def _start(self) -> None:
        self._began, self._waited, self._paused, self._clips = time.monotonic(), 0.0, 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Inside, the loop waits for its next batch."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Inside, nothing is trained: evaluation, checkpoints."""
        began = time.monotonic()
        yield
        self._paused += time.monotonic() - began

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Inside, the step is traced and compiled; told apart as `compile_seconds`."""
        began = time.monotonic()
        with self.pause():
            yield
        self._compile_seconds = time.monotonic() - began

    def clips(self, count: int) -> None:
        """So many clips were trained on."""
        self._clips += count

    def lap(self) -> dict[str, float]:
        """`clips_per_second`, `data_wait` (share of time), `compile_seconds` since the last lap."""
        elapsed = max(time.monotonic() - self._began - self._paused, 1e-9)
        values = {
            "clips_per_second": self._clips / elapsed,
            "data_wait": min(self._waited / elapsed, 1.0),
            "compile_seconds": self._compile_seconds,
        }
        self._compile_seconds = 0.0
        self._start()
        return values


class Window:
    """Means of some steps' metrics, read one step late; refuses a loss gone wrong."""

    def __init__(self, run: str):
        self._run, self._pending, self._rows = run, None, []
        self.note = ""

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of a step that may still be running, and checks the step before."""
        self.check()
        self._pending = (step, metrics)

    def check(self) -> None:
        """Reads what is pending.

        Raises:
            UserError: names the step and the first term that is not finite.
        """
        if self._pending is None:
            return
        step, metrics = self._pending
        self._pending = None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for name, value in values.items():
            if not math.isfinite(value) and name != "loss":
                raise UserError(
                    f"{self._run}: {name} is {value} at step {step}, expected a finite number; "
                    "lower optimizer.learning_rate or set optimizer.clip_norm"
                )
        self._rows.append(values)
        self.note = f"loss {values['loss']:.3f}"

    def mean(self) -> dict[str, float]:
        """Means since the last call, the pending step included."""
        self.check()
        rows, self._rows = self._rows, []
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
