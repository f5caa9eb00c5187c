"""What the training loop measures: speed, time spent waiting, means of the steps' metrics."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping

import jax

from input_pipeline.errors import UserError
from sacd_jax.runs.goodput import KINDS
from sacd_jax.training import compiles

CLOCK = frozenset(
    {
        "clips_per_second",
        "data_wait",
        "compile_seconds",
        "evaluate_seconds",
        "save_seconds",
        "device_peak_gb",
        "host_peak_gb",
        "mfu",
        "goodput",
    }
)
"""Figures of a training line of the log that differ between equal runs."""


class Stopwatch:
    """Counts wall time by what it is spent on; asks no device for anything.

    Time belongs to the `phase` that was entered last, or to the block (`spending`) within it. What
    is compiled meanwhile belongs to `compile`.
    """

    def __init__(self, phase: str = "start"):
        """`phase` is one of `goodput.KINDS`."""
        self._compiles = compiles.counted()
        # Seconds so far and what has been going on since; one value, for another thread reads it.
        self._state = (
            dict.fromkeys(KINDS, 0.0),
            phase,
            time.monotonic(),
            self._compiles.seconds,
        )
        self._ended = (0, 0.0)  # steps, and seconds of training up to the end of the last
        self._flops, self._peak = 0, 0.0
        self._lap = (0, self.seconds())

    def phase(self, kind: str) -> None:
        """From now on, time is spent on this."""
        self._state = (self.seconds(), kind, time.monotonic(), self._compiles.seconds)

    @contextlib.contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Counts the block as time spent on this."""
        _, before, _, _ = self._state
        self.phase(kind)
        try:
            yield
        finally:
            self.phase(before)

    def seconds(self) -> dict[str, float]:
        """By kind, up to now."""
        earlier, kind, began, compiled = self._state
        elapsed = time.monotonic() - began
        compiling = min(self._compiles.seconds - compiled, elapsed)
        found = dict(earlier)
        found["compile"] += compiling
        found[kind] += elapsed - compiling
        return found

    def now(self) -> tuple[int, dict[str, float], float]:
        """Steps ended, seconds by kind, seconds of training since; for `goodput.TimeSheet`."""
        (steps, before), seconds = self._ended, self.seconds()
        return steps, seconds, max(seconds["train"] - before, 0.0)

    def step(self) -> None:
        """Counts a step that was ended."""
        self._ended = (self._ended[0] + 1, self.seconds()["train"])

    def no_more_steps(self) -> None:
        """What was spent on training since the last step belongs to it: it was not in vain."""
        self._ended = (self._ended[0], self.seconds()["train"])

    def asks(self, flops: int, peak: float) -> None:
        """Says how many FLOP a step takes, and how many the devices can do in a second."""
        self._flops, self._peak = flops, peak

    def lap(self, batch_size: int) -> dict[str, float]:
        """Figures since the last lap.

        Evaluation, saving and compiling are left out of the first, the second and the last.

        Args:
            batch_size: clips in a step.

        Returns:
            `clips_per_second`, `data_wait` (share of time), `compile_seconds`, `evaluate_seconds`,
            `save_seconds` (that the steps waited for) and, where it is known, `mfu` (in [0, 1]).
        """
        steps, before = self._lap
        self._lap = (self._ended[0], self.seconds())
        spent = {kind: self._lap[1][kind] - before[kind] for kind in KINDS}
        elapsed = max(spent["train"] + spent["wait"], 1e-9)
        rate = (self._lap[0] - steps) / elapsed
        values = {
            "clips_per_second": batch_size * rate,
            "data_wait": spent["wait"] / elapsed,
            **{f"{kind}_seconds": spent[kind] for kind in ("compile", "evaluate", "save")},
        }
        return values | ({"mfu": self._flops * rate / self._peak} if self._peak else {})


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
