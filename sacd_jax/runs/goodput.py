"""Where the wall time of a run went, over all its starts; kept in its folder while it runs.

A start is one call of the command. Its times are noted every few seconds by a thread of its own, so
that a killed process leaves them, too. Work that a later start did again counts as lost.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.errors import UserError
from sacd_jax.runs.run_folder import RunFolder

KINDS = ("train", "compile", "wait", "evaluate", "save", "start", "other")
"""What a start spends its time on: steps of training; compiling them and whatever else; waiting for
data; evaluation and predictions; the part of saving that the steps wait for; what comes before the
first step; stored outputs of the teacher and profiles."""

NOTE_SECONDS = 5.0
"""Between two notes: what a killed process leaves untold."""

_WORDS = {
    "train": "training",
    "compile": "compiling",
    "wait": "waiting for data",
    "evaluate": "evaluating",
    "save": "saving",
    "start": "starting",
    "restart": "starting again",
    "lost": "steps done again",
    "other": "other",
}


@dataclass(frozen=True)
class Start:
    """One call of the training command.

    Attributes:
        began: in seconds since 1970.
        first_step: the step that it went on from.
        last_step: the last one that it ended.
        seconds: by kind.
        unfinished: seconds of training since the last step was ended: a process that waits in vain
            for one that was lost spends many.
    """

    began: float
    first_step: int
    last_step: int
    seconds: Mapping[str, float]
    unfinished: float = 0.0


@dataclass(frozen=True)
class Spent:
    """The time of all starts of a run.

    Attributes:
        starts: how many.
        seconds: by kind; `restart` is the `start` of later starts, `lost` the training of steps
            that a later start did again.
        away: seconds between starts, when nothing ran; in none of the kinds.
    """

    starts: int
    seconds: Mapping[str, float]
    away: float

    @property
    def total(self) -> float:
        """Seconds in which the run was a process."""
        return sum(self.seconds.values())

    def share(self, kind: str) -> float:
        """Of the total, in [0, 1]."""
        return self.seconds[kind] / max(self.total, 1e-9)

    def words(self) -> str:
        """In one line, the productive share first."""
        shares = {word: self.share(kind) for kind, word in _WORDS.items()}
        parts = [f"{word} {share:.1%}" for word, share in shares.items() if share >= 0.0005]
        starts = "1 start" if self.starts == 1 else f"{self.starts} starts"
        away = f", {self.away / 60:.1f} min between them not counted" if self.starts > 1 else ""
        return f"{self.total / 60:.1f} min in {starts}{away}: {', '.join(parts)}"


def spent(starts: Sequence[Start]) -> Spent:
    """Sums the starts of a run, in their order.

    Steps of one start are taken to last equally long.
    """
    seconds = dict.fromkeys(_WORDS, 0.0)
    away = 0.0
    for number, start in enumerate(starts):
        later = starts[number + 1 :]
        for kind in KINDS:
            name = "restart" if kind == "start" and number else kind
            seconds[name] += start.seconds.get(kind, 0.0)
        if later:
            lost = _lost(start, min(each.first_step for each in later))
            seconds["lost"] += lost
            seconds["train"] -= lost
            away += max(later[0].began - start.began - sum(start.seconds.values()), 0.0)
    return Spent(len(starts), seconds, away)


def _lost(start: Start, kept: int) -> float:
    """Seconds of training of a start, of which steps up to `kept` were not done again."""
    train = start.seconds.get("train", 0.0)
    ended = train - start.unfinished
    steps = start.last_step - start.first_step
    again = start.last_step - min(max(kept, start.first_step), start.last_step)
    return start.unfinished + (ended * again / steps if steps else 0.0)


def read(workdir: Path) -> list[Start]:
    """The starts of a run; none where they were never noted.

    Raises:
        UserError: the file is damaged.
    """
    path = RunFolder(workdir).goodput
    if not path.is_file():
        return []
    mend = "delete it: only the account of time is lost"
    stored = read_verified_json(path, what="times of a run", mend=mend)
    try:
        return [_start(each) for each in stored["starts"]]
    except (KeyError, TypeError, ValueError):
        raise UserError(f"times of a run {path}: expected a list of starts; {mend}") from None


def _start(stored: dict[str, Any]) -> Start:
    seconds = {kind: float(stored["seconds"].get(kind, 0.0)) for kind in KINDS}
    return Start(
        float(stored["began"]),
        int(stored["first_step"]),
        int(stored["last_step"]),
        seconds,
        float(stored.get("unfinished", 0.0)),
    )


class TimeSheet:
    """The starts of a run, the present one the last; nothing is written before it `begins`."""

    def __init__(
        self,
        workdir: Path,
        now: Callable[[], tuple[int, Mapping[str, float], float]],
        writes: bool,
    ):
        """
        Args:
            workdir: of the run.
            now: steps that this start has ended, its seconds by kind, and those unfinished.
            writes: whether this process keeps the file; others only count.
        """
        self._path, self._now, self._writes = RunFolder(workdir).goodput, now, writes
        self._earlier: list[Start] = []
        self._began, self._first = 0.0, -1

    def begins(self, step: int) -> None:
        """This start goes on from a step."""
        if self._writes:
            try:
                self._earlier = read(self._path.parent)
            except UserError as error:
                print(f"{error}; begun anew", file=sys.stderr, flush=True)
        self._began, self._first = time.time() - sum(self._now()[1].values()), step

    def spent(self) -> Spent:
        """Up to now."""
        return spent([*self._earlier, self._present()])

    def _present(self) -> Start:
        steps, seconds, unfinished = self._now()
        return Start(self._began, self._first, self._first + steps, dict(seconds), unfinished)

    def note(self) -> None:
        """Writes the file. An account of time is no reason to end: a disk that is full is left to
        what needs it more."""
        if self._writes and self._first >= 0:
            starts = [asdict(start) for start in (*self._earlier, self._present())]
            with contextlib.suppress(OSError):
                write_verified_json(self._path, {"starts": starts})

    @contextlib.contextmanager
    def kept(self, every_seconds: float = NOTE_SECONDS) -> Iterator[None]:
        """Notes the times again and again while the block runs, and at its end."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(every_seconds):
                self.note()

        thread = threading.Thread(target=work, name="time sheet", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            self.note()
