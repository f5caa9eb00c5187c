"""Progress with a rate: a bar on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Shows how far a piece of long work is, how fast it goes and how long it will take.

    Use as a context manager and call `advance` as items are done:

        with Progress("simulate nights", total=24, unit="night") as progress:
            for night in nights:
                ...
                progress.advance()
    """

    def __init__(self, description: str, total: int, unit: str, start: int = 0):
        """`start` items were done by an earlier run: they count as done, not in the rate."""
        self.description, self.total, self.unit = description, total, unit
        self._start = self._done = start
        self._note = ""
        self._bar: Bar | None = None
        self._printed = -1

    def __enter__(self) -> "Progress":
        self._began = self._last_line = time.monotonic()
        console = Console(stderr=True)
        if console.is_terminal:
            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                self.description, total=self.total, completed=self._done, rate="", note=""
            )
        return self

    def rate(self) -> float:
        """Items a second since this run began."""
        return (self._done - self._start) / max(time.monotonic() - self._began, 1e-9)

    def advance(self, count: int = 1, note: str | None = None) -> None:
        """Counts `count` more items as done; `note` is shown beside the rate (a loss, say)."""
        self._done += count
        self._note = self._note if note is None else note
        if self._bar is not None:
            rate = f"{self.rate():.3g} {self.unit}s/s"
            self._bar.update(self._task, completed=self._done, rate=rate, note=self._note)
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._print_line()

    def _print_line(self) -> None:
        if self._printed == self._done:
            return
        self._printed = self._done
        rate = self.rate()
        left = (self.total - self._done) / rate if rate > 0 else float("inf")
        remaining = f", {left:.0f} s left" if 0 < left < float("inf") else ""
        note = f", {self._note}" if self._note else ""
        print(
            f"{self.description}: {self._done}/{self.total} {self.unit}s, "
            f"{rate:.3g} {self.unit}s/s{remaining}{note}",
            file=sys.stderr,
            flush=True,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._print_line()
