"""Scored spans on the grid of 30 s: labels never move in time."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram import grid
from input_pipeline.readers.hypnogram.grid import seconds_covered

STAGES = st.integers(-1, 4)


@given(stages=st.lists(STAGES, min_size=1, max_size=60), first=st.integers(-500, 5000))
def test_runs_equal_single_events(stages, first):
    """Events of one clip each, and the same scoring as runs of many clips, in any order."""
    begin = first * 0.25
    single = [(begin + 30 * k, 30.0, stage) for k, stage in enumerate(stages)]
    edges = [0, *(k for k in range(1, len(stages)) if stages[k] != stages[k - 1]), len(stages)]
    runs = [(begin + 30 * a, 30.0 * (b - a), stages[a]) for a, b in itertools.pairwise(edges)]
    for events in (single, runs, runs[::-1]):
        hypnogram = grid(events, name="n")
        assert hypnogram.stage.tolist() == stages
        np.testing.assert_allclose(hypnogram.onset_s, begin + 30 * np.arange(len(stages)))


@given(
    runs=st.lists(
        st.tuples(STAGES, st.integers(1, 900), st.integers(0, 200)), min_size=1, max_size=25
    )
)
def test_a_label_holds_through_its_whole_clip(runs):
    """Runs and pauses of any length in tenths of a second: no clip has a label it does not hold."""
    tenth, events = 0, []
    line = []  # the stage in every tenth of a second; None where nobody scored
    for stage, length, pause in runs:
        events.append((tenth / 10, length / 10, stage))
        line += [stage] * length + [None] * pause
        tenth += length + pause
    if sum(length + pause for _, length, pause in runs) - runs[-1][2] < 300:
        with pytest.raises(UserError, match="at least 30 s"):
            grid(events, name="n")
        return
    try:
        hypnogram = grid(events, name="n")
    except UserError as error:
        stretches = "".join(" " if stage is None else "x" for stage in line).split()
        assert "in one piece" in str(error) and max(map(len, stretches)) < 300
        return
    for onset, stage in zip(hypnogram.onset_s, hypnogram.stage, strict=True):
        inside = set(line[round(onset * 10) : round(onset * 10) + 300])
        assert stage == (inside.pop() if len(inside) == 1 and inside != {None} else -1)
    assert (np.diff(hypnogram.onset_s) >= 30 - 1e-6).all()


def test_scoring_that_resumes_off_the_grid_keeps_its_own():
    hypnogram = grid([(0, 60, 0), (275.5, 30, 2), (305.5, 30, 4)], name="n")
    assert hypnogram.onset_s.tolist() == [*range(0, 270, 30), 275.5, 305.5]
    assert hypnogram.stage.tolist() == [0, 0, *[-1] * 7, 2, 4]
    assert hypnogram.mixed == 0  # what nobody scored is unknown for that alone


def test_a_stage_without_a_duration_among_others_lasts_no_time():
    """Not even a grid of its own begins with it."""
    hypnogram = grid([(0, 60, 0), (100, 0, 2), (120, 30, 4), (130, np.nan, 1)], name="n")
    assert hypnogram.onset_s.tolist() == [0, 30, 60, 90, 120]
    assert hypnogram.stage.tolist() == [0, 0, -1, -1, 4]


@pytest.mark.parametrize("stage", range(5))
def test_a_clip_that_is_scored_in_part_is_counted_whatever_its_stage(stage):
    assert grid([(0, 45, stage), (45, 15, -1)], name="n").mixed == 1
    assert grid([(0, 60, stage), (60, 30, -1)], name="n").mixed == 0


def test_two_weeks_are_the_most():
    last = 14 * 86400 - 30
    assert len(grid([(0, 30, 0), (last, 30, 2)], name="n").stage) == 14 * 2880
    with pytest.raises(UserError, match="at most 14 days"):
        grid([(0, 30, 0), (last + 30, 30, 2)], name="n")


def test_two_scorings_of_one_clip_that_differ_make_it_unknown():
    hypnogram = grid([(0, 60, 0), (30, 60, 2), (90, 30, 4), (90, 30, 4)], name="n")
    assert hypnogram.stage.tolist() == [0, -1, 2, 4] and hypnogram.mixed == 1


def test_stages_without_durations_must_leave_nothing_open():
    assert grid([(0, 0, 0), (30, 0, 2), (60, np.nan, 4)], name="n").stage.tolist() == [0, 2, 4]
    for onsets in ((0, 90), (0, 30, 90)):
        with pytest.raises(UserError, match="open how long each lasts"):
            grid([(onset, 0, 2) for onset in onsets], name="n")
    for onsets in ((0, 42), (0, 30, 72), (0, 30, 30, 60)):
        with pytest.raises(UserError, match="do not follow each other every 30 s"):
            grid([(onset, 0, 2) for onset in onsets], name="n")
    assert len(grid([(10, 0, 2)], name="n").stage) == 1  # alone, it lasts as long as a clip


@pytest.mark.parametrize("epoch_s", [1.0, 2.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0])
def test_usual_epochs_are_told_by_the_distance_of_their_onsets(epoch_s):
    """Half a minute of N2 and half a minute of REM."""
    count = round(60 / epoch_s)
    spans = [(epoch_s * k, float("nan"), 2 if 2 * k < count else 4) for k in range(count)]
    assert grid(spans, name="n").stage.tolist() == [2, 4 if 30 % epoch_s == 0 else -1]


@pytest.mark.parametrize(("epoch_s", "clips"), [(20.0, 4), (30.0, 6)])
def test_stages_without_durations_last_the_distance_of_their_onsets(epoch_s, clips):
    """A clock that rounds by hundredths of a second changes nothing."""
    onsets = [epoch_s * k + 0.02 * (k % 2) for k in range(6)]
    found = grid([(onset, float("nan"), 2) for onset in onsets], name="n")
    assert len(found.stage) == clips and (found.stage == 2).sum() >= clips - 1


def test_seconds_before_a_moment():
    begin, end = np.array([20.0, 0.0]), np.array([30.0, 10.0])
    moments = np.array([-5.0, 0.0, 5.0, 10.0, 22.0, 100.0])
    assert seconds_covered(moments, begin, end).tolist() == [0, 0, 5, 10, 12, 20]


@pytest.mark.parametrize(("late", "stage"), [(0.04, 0), (0.06, -1)])
def test_clocks_that_round_by_less_than_a_twentieth_of_a_second_change_nothing(late, stage):
    assert grid([(0, 30 - late, 0), (30 - late, 30 + late, 2)], name="n").stage[0] == stage
    assert grid([(0, 30 - late, 0), (30, 30, 2)], name="n").stage[0] == stage


def test_one_stage_of_negative_length_is_refused():
    with pytest.raises(UserError, match="a stage of -30 s .* positive"):
        grid([(0, 30, 0), (60, -30, 1), (60, 30, 2)], name="n")


@pytest.mark.parametrize("span", [(float("inf"), 30.0, 2), (0.0, float("inf"), 2)])
def test_what_is_not_finite_is_refused(span):
    with pytest.raises(UserError, match="is not finite"):
        grid([(0.0, 30.0, 1), span], name="n")
