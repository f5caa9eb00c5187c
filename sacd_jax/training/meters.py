"""What the training loop measures: speed, time spent waiting, means of the steps' metrics."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping

import jax

from input_pipeline.errors import UserError


class Stopwatch:
    """Measures clips a second and the share of time spent waiting for data; leaves out pauses."""

    def __init__(self) -> None:
        self._compile_seconds = 0.0
        self._start()

    def _start(self) -> None:
        self._began, self._waited, self._paused, self._clips = time.monotonic(), 0.0, 0.0, 0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Counts the block as waiting for the next batch."""
        began = time.monotonic()
        yield
        self._waited += time.monotonic() - began

    @contextlib.contextmanager
    def pause(self) -> Iterator[None]:
        """Leaves the block out: evaluation, checkpoints."""
        began = time.monotonic()
        yield
        self._paused += time.monotonic() - began

    @contextlib.contextmanager
    def compiling(self) -> Iterator[None]:
        """Counts the block as tracing and compiling the step, reported as `compile_seconds`."""
        began = time.monotonic()
        with self.pause():
            yield
        self._compile_seconds = time.monotonic() - began

    def clips(self, count: int) -> None:
        """Counts clips that were trained on."""
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
    """Averages the metrics of several steps, read one step late; refuses non-finite losses."""

    def __init__(self, run: str):
        self._run, self._pending, self._rows = run, None, []
        self.note = ""

    def add(self, step: int, metrics: Mapping[str, jax.Array]) -> None:
        """Takes the metrics of a step that may still be running, and checks the previous step."""
        self.check()
        self._pending = (step, metrics)

    def check(self) -> None:
        """Reads the pending metrics.

        Raises:
            UserError: a loss term is not finite; names the step and the first such term.
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
        """Averages since the last call, the pending step included."""
        self.check()
        rows, self._rows = self._rows, []
        return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
