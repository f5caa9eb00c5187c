"""Orders of reading: which rows of a split are read together, as groups of equal length.

A group is one clip (shuffled batches), some neighbouring clips (contiguous batches) or a piece of a
night (sequences). A row equal to the length of the split is padding: out of bounds everywhere, so
that a scatter or a gather by a forgotten index shows.
"""

import bisect
import heapq
import itertools
import sys
import threading

import numpy as np
from jaxtyping import Int

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.stages import UNKNOWN

Groups = Int[np.ndarray, "groups length"]

BATCH_MODES = ("shuffled", "balanced", "contiguous", "sequences")
"""How training batches are made up: clips with a known stage in any order; the same, with clips of
rare stages repeated until all stages are equally frequent; shuffled groups of neighbouring clips of
one night (the paper's "temporal correlation"); pieces of nights in order, for networks with a
state."""


def labelled_clips(table: ClipTable) -> Groups:
    """Every clip with a known stage, alone."""
    return np.flatnonzero(table.stage != UNKNOWN)[:, None]


def all_clips(table: ClipTable) -> Groups:
    """Every clip, alone."""
    return np.arange(len(table))[:, None]


def balanced(table: ClipTable) -> Groups:
    """Every clip of the commonest stage once, those of the others as often, within one clip.

    Oversampling as akaraspt/deepsleepnet, deepsleep/utils.py does it, less its random draw of the
    remainder: clips are repeated in turn.
    """
    rows = labelled_clips(table)[:, 0]
    stage = table.stage[rows]
    most = np.bincount(stage).max(initial=0)
    taken = [np.resize(rows[stage == each], most) for each in np.unique(stage)]
    return np.concatenate([rows[:0], *taken])[:, None]


def neighbours(table: ClipTable, length: int, unlabelled: bool = False) -> Groups:
    """Groups of `length` labelled clips that follow each other in one night without a gap.

    A clip of unknown stage is a gap, unless `unlabelled` clips take part. Where a piece is no
    multiple of `length`, its last group begins earlier, so that every clip is in a group (those of
    the overlap in two); pieces shorter than `length` are left out.
    """
    groups = []
    for run in table.runs():
        taken = (table.stage[run] != UNKNOWN) | unlabelled
        for piece in np.split(run, np.flatnonzero(np.diff(taken)) + 1):
            if not taken[piece[0] - run[0]] or len(piece) < length:
                continue
            starts = [*range(0, len(piece) - length, length), len(piece) - length]
            groups += [piece[start : start + length] for start in starts]
    return np.asarray(groups, dtype=np.int64).reshape(-1, length)


def shuffled_groups(
    table: ClipTable, batch_mode: str, consecutive_clips: int, unlabelled: bool = False
) -> Groups:
    """What is shuffled in a batch mode that shuffles; `balanced` has no use for `unlabelled`."""
    if batch_mode == "contiguous":
        return neighbours(table, consecutive_clips, unlabelled)
    if batch_mode == "balanced":
        return balanced(table)
    return (all_clips if unlabelled else labelled_clips)(table)


def share_bounds(clips: int, shares: int) -> Int[np.ndarray, " shares+1"]:
    """First row of each share of a split, and the number of its clips: parts of equal length."""
    return np.arange(shares + 1) * clips // shares


def groups_of_shares(
    table: ClipTable,
    shares: int,
    batch_mode: str,
    consecutive_clips: int,
    unlabelled: bool = False,
) -> list[Groups]:
    """What is shuffled in each share of a split; no group reaches into two shares."""
    bounds = share_bounds(len(table), shares).tolist()
    return [
        first + shuffled_groups(table.part(first, end), batch_mode, consecutive_clips, unlabelled)
        for first, end in itertools.pairwise(bounds)
    ]


def steps_per_pass(
    table: ClipTable,
    batch_size: int,
    batch_mode: str = "shuffled",
    consecutive_clips: int = 16,
    unlabelled: bool = False,
) -> float:
    """Training batches in one pass over the split."""
    if batch_mode == "sequences":
        lanes = max(1, batch_size // consecutive_clips)
        return SequenceSchedule(table, consecutive_clips, lanes, seed=0).sequences / lanes
    return shuffled_groups(table, batch_mode, consecutive_clips, unlabelled).size / batch_size


def padded(
    rows: Int[np.ndarray, " rows"], multiple: int, padding: int
) -> Int[np.ndarray, " padded"]:
    """`rows`, filled up with `padding` to a multiple of `multiple`."""
    return np.pad(rows, (0, -len(rows) % multiple), constant_values=padding)


class SequenceSchedule:
    """Unbroken pieces of nights, cut to sequences and laid out on the lanes of a batch.

    Position `step * lanes + lane` holds the sequence that `lane` reads at `step`. A lane reads one
    piece from its beginning to its end, then takes the next piece of the queue. With a seed the
    queue is endless, every pass in a new order; without, it is one pass in order, and lanes that
    run out hold padding. The schedule is a function of its arguments alone, so any position can be
    asked for at any time.
    """

    def __init__(self, table: ClipTable, length: int, lanes: int, seed: int | None):
        self._lanes, self._seed = lanes, seed
        self._pieces = [padded(run, length, len(table)).reshape(-1, length) for run in table.runs()]
        self._empty = np.full(length, len(table))
        # Per lane: the steps at which it takes a new piece, and which piece that is.
        self._starts: list[list[int]] = [[] for _ in range(lanes)]
        self._taken: list[list[int]] = [[] for _ in range(lanes)]
        self._free = [(0, lane) for lane in range(lanes)]  # a heap: (first free step, lane)
        self._passes = 0
        self._lock = threading.Lock()
        if seed is None:
            self._lay_out(np.arange(len(self._pieces)))

    def _lay_out(self, order: Int[np.ndarray, " pieces"]) -> None:
        for piece in order.tolist():
            step, lane = heapq.heappop(self._free)
            self._starts[lane].append(step)
            self._taken[lane].append(piece)
            heapq.heappush(self._free, (step + len(self._pieces[piece]), lane))
        self._passes += 1

    @property
    def sequences(self) -> int:
        """Sequences of one pass."""
        return sum(len(piece) for piece in self._pieces)

    def __len__(self) -> int:
        if self._seed is not None:
            return sys.maxsize // self._lanes * self._lanes
        return max(step for step, _ in self._free) * self._lanes

    def __getitem__(self, position: int) -> tuple[Int[np.ndarray, " length"], bool]:
        """The rows of a sequence, and whether a piece begins with it."""
        step, lane = divmod(int(position), self._lanes)
        with self._lock:  # reading threads share the schedule
            while self._seed is not None and self._free[0][0] <= step:
                self._lay_out(
                    np.random.default_rng((self._seed, self._passes)).permutation(len(self._pieces))
                )
        at = bisect.bisect_right(self._starts[lane], step) - 1
        if at < 0:
            return self._empty, True
        piece, sequence = self._pieces[self._taken[lane][at]], step - self._starts[lane][at]
        return (piece[sequence], sequence == 0) if sequence < len(piece) else (self._empty, True)
