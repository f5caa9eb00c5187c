"""Orders of reading: every clip once, never across nights or gaps."""

import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.datasets import ClipTable
from input_pipeline.groups import (
    SequenceSchedule,
    balanced,
    groups_of_shares,
    labelled_clips,
    neighbours,
    padded,
    share_bounds,
    shuffled_groups,
    steps_per_pass,
)


def table_of(nights: list[list[tuple[int, int]]]) -> ClipTable:
    """A table from nights of (step to the next clip index, stage)."""
    rows = []
    for night, clips in enumerate(nights):
        index = 0
        for jump, stage in clips:
            rows.append((f"n{night}", f"s{night}", index, stage, 1.0))
            index += jump
    return ClipTable.of_columns(*zip(*rows, strict=True))


tables = st.lists(
    st.lists(
        st.tuples(st.sampled_from([1, 1, 1, 1, 2, 5]), st.integers(-1, 4)), min_size=1, max_size=30
    ),
    min_size=1,
    max_size=4,
).map(table_of)


def unbroken(table: ClipTable, rows: np.ndarray) -> bool:
    """Whether rows follow each other in one night without a gap."""
    one_night = len(set(table.night_id[rows].tolist())) == 1
    return one_night and bool(np.all(np.diff(table.clip_index[rows]) == 1))


@given(tables)
def test_runs_are_the_longest_unbroken_pieces(table):
    runs = table.runs()
    np.testing.assert_array_equal(np.concatenate(runs), np.arange(len(table)))
    assert all(unbroken(table, run) for run in runs)
    for one, other in pairwise(runs):
        assert not unbroken(table, np.concatenate([one, other]))


@given(tables)
def test_labelled_clips_are_those_with_a_stage(table):
    groups = labelled_clips(table)
    assert groups.shape[1:] == (1,)
    assert set(groups[:, 0].tolist()) == {row for row in range(len(table)) if table.stage[row] >= 0}


@given(tables, st.integers(1, 4))
def test_with_unlabelled_clips_stages_do_not_matter(table, length):
    scored = replace(table, stage=np.zeros_like(table.stage))
    for mode in ("shuffled", "contiguous"):
        found = shuffled_groups(table, mode, length, unlabelled=True)
        np.testing.assert_array_equal(found, shuffled_groups(scored, mode, length))


@given(tables)
def test_balanced_clips_repeat_the_rare_stages(table):
    rows = balanced(table)[:, 0]
    stages, counts = np.unique(table.stage[rows], return_counts=True)
    labelled = labelled_clips(table)[:, 0]
    assert set(rows.tolist()) == set(labelled.tolist())
    if len(labelled):
        assert stages[0] >= 0 and set(counts) == {np.bincount(table.stage[labelled]).max()}
        repeats = np.unique(rows, return_counts=True)[1]
        of_stage = table.stage[np.unique(rows)]
        assert all(np.ptp(repeats[of_stage == stage]) <= 1 for stage in stages)


@given(tables, st.integers(1, 6))
def test_neighbours_hold_every_clip_that_has_enough_of_them(table, length):
    groups = neighbours(table, length)
    assert groups.shape[1:] == (length,)
    for group in groups:
        assert unbroken(table, group) and table.stage[group].min() >= 0
    windows = [np.arange(start, start + length) for start in range(len(table) - length + 1)]
    able = [rows for rows in windows if unbroken(table, rows) and table.stage[rows].min() >= 0]
    assert set(groups.ravel().tolist()) == {row for rows in able for row in rows.tolist()}
    # Only the last group of a piece overlaps, so no clip is in more than two.
    assert max(Counter(groups.ravel().tolist()).values(), default=0) <= 2


def check_lanes(
    table: ClipTable, schedule: SequenceSchedule, lanes: int, steps: int
) -> list[np.ndarray]:
    """Each lane must read unbroken pieces to their end; returns pieces in order of their end."""
    pieces = []
    for lane in range(lanes):
        piece: list[int] = []
        for step in range(steps):
            rows, is_first = schedule[step * lanes + lane]
            real = rows[rows < len(table)]
            assert rows.tolist() == [*real.tolist(), *[len(table)] * (len(rows) - len(real))]
            if is_first and piece:
                pieces.append((step, lane, np.asarray(piece)))
                piece = []
            assert is_first or piece  # nothing goes on that has not begun
            piece += real.tolist()
        if piece and schedule._seed is None:
            pieces.append((steps, lane, np.asarray(piece)))
    assert all(unbroken(table, rows) for _, _, rows in pieces)
    return [rows for _, _, rows in sorted(pieces, key=lambda piece: piece[:2])]


@given(tables, st.integers(1, 7), st.integers(1, 5))
def test_one_pass_of_sequences_reads_every_clip_once(table, length, lanes):
    schedule = SequenceSchedule(table, length, lanes, seed=None)
    pieces = check_lanes(table, schedule, lanes, len(schedule) // lanes)
    assert sorted(np.concatenate(pieces).tolist()) == list(range(len(table)))
    runs = {tuple(run.tolist()) for run in table.runs()}
    assert {tuple(piece.tolist()) for piece in pieces} == runs


@given(tables, st.integers(1, 4), st.integers(1, 3), st.integers(0, 99))
def test_endless_sequences_read_pass_after_pass(table, length, lanes, seed):
    schedule = SequenceSchedule(table, length, lanes, seed)
    steps = 3 * sum(-(-len(run) // length) for run in table.runs()) // lanes + 60
    pieces = check_lanes(table, schedule, lanes, steps)
    counts = Counter(tuple(piece.tolist()) for piece in pieces)
    assert set(counts) <= {tuple(run.tolist()) for run in table.runs()}
    # Any position can be asked for first: the schedule does not depend on what was asked before.
    again = SequenceSchedule(table, length, lanes, seed)
    for position in range(steps * lanes - 1, 0, -7):
        rows, is_first = again[position]
        assert rows.tolist() == schedule[position][0].tolist() and is_first == schedule[position][1]


def test_a_single_lane_reads_whole_passes_in_new_orders():
    table = table_of([[(1, 0)] * (3 + night) for night in range(8)])
    schedule = SequenceSchedule(table, 4, 1, seed=3)
    sequences = sum(-(-len(run) // 4) for run in table.runs())
    passes = [
        [schedule[step][0] for step in range(n * sequences, (n + 1) * sequences)] for n in range(3)
    ]
    for one in passes:
        rows = np.concatenate(one)
        assert sorted(rows[rows < len(table)].tolist()) == list(range(len(table)))
    assert len({np.concatenate(one).tobytes() for one in passes}) == 3


def test_a_lane_that_ran_out_holds_padding():
    """Whoever keeps a state begins anew there."""
    schedule = SequenceSchedule(table_of([[(1, 0)] * 5, [(1, 0)] * 2]), 2, 3, seed=None)
    found = [schedule[position] for position in range(len(schedule))]
    assert [rows.tolist() for rows, _ in found] == [
        *([0, 1], [5, 6], [7, 7]),
        *([2, 3], [7, 7], [7, 7]),
        *([4, 7], [7, 7], [7, 7]),
    ]
    assert "".join(str(int(begins)) for _, begins in found) == "111011011"


def test_endless_sequences_stay_what_they_are():
    """A run that goes on, on another machine or with another NumPy, reads the same."""
    table = table_of([[(1, 0)] * count for count in (3, 5, 2, 4)])  # rows 0, 3, 8, 10 begin
    schedule = SequenceSchedule(table, 2, 2, seed=5)
    lanes = [[schedule[2 * step + lane] for step in range(7)] for lane in range(2)]
    for lane, (rows, begins) in zip(
        lanes,
        (
            ([[10, 11], [12, 13], [8, 9], [0, 1], [2, 14], [10, 11], [12, 13]], "1011010"),
            ([[3, 4], [5, 6], [7, 14], [8, 9], [0, 1], [2, 14], [3, 4]], "1001101"),
        ),
        strict=True,
    ):
        assert [found.tolist() for found, _ in lane] == rows
        assert "".join(str(int(is_first)) for _, is_first in lane) == begins
    assert len(schedule) == sys.maxsize // 2 * 2


def test_neighbours_and_shares_by_hand():
    stages = [0, 0, 0, 0, 0, -1, 0, 0, 0]
    table = table_of([[(1, stage) for stage in stages]])
    assert neighbours(table, 2).tolist() == [[0, 1], [2, 3], [3, 4], [6, 7], [7, 8]]
    assert neighbours(table, 3, unlabelled=True).tolist() == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]
    assert shuffled_groups(table, "shuffled", 2).ravel().tolist() == [0, 1, 2, 3, 4, 6, 7, 8]
    shares = groups_of_shares(table, 2, "contiguous", 2)
    assert [groups.tolist() for groups in shares] == [[[0, 1], [2, 3]], [[6, 7], [7, 8]]]
    shares = groups_of_shares(table, 2, "shuffled", 2, unlabelled=True)
    assert [groups.ravel().tolist() for groups in shares] == [[0, 1, 2, 3], [4, 5, 6, 7, 8]]
    assert padded(np.arange(5), 4, 9).tolist() == [0, 1, 2, 3, 4, 9, 9, 9]
    assert padded(np.arange(4), 4, 9).tolist() == [0, 1, 2, 3]


def test_how_many_steps_are_a_pass():
    table = table_of([[(1, 0)] * 20 + [(1, 1)] * 6 + [(1, -1)] * 4, [(1, 2)] * 33])
    assert steps_per_pass(table, 4) == 59 / 4
    assert steps_per_pass(table, 4, unlabelled=True) == 63 / 4
    assert steps_per_pass(table, 4, "balanced") == 3 * 33 / 4
    assert steps_per_pass(table, 32, "contiguous") == (2 + 3) * 16 / 32
    assert steps_per_pass(table, 10, "contiguous", 10) == (3 + 4) * 10 / 10
    for batch_size, lanes in ((32, 2), (47, 2), (48, 3), (8, 1)):
        assert steps_per_pass(table, batch_size, "sequences") == (2 + 3) / lanes


@given(clips=st.integers(0, 500), shares=st.integers(1, 40))
def test_shares_are_the_whole_split_in_parts_of_equal_length(clips, shares):
    bounds = share_bounds(clips, shares)
    assert (bounds[0], bounds[-1], len(bounds)) == (0, clips, shares + 1)
    assert set(np.diff(bounds).tolist()) <= {clips // shares, -(-clips // shares)}
