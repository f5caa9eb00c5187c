"""Sleep statistics of hand-made nights."""

import numpy as np
import pytest

from sacd_jax.report.sleep_statistics import consecutive, sleep_statistics

W, N1, N2, N3, REM = range(5)


def _night(*spells: tuple[int, float]) -> np.ndarray:
    """Stages from (stage, minutes)."""
    return np.concatenate([np.full(int(minutes * 2), stage) for stage, minutes in spells])


def test_a_plain_night():
    found = sleep_statistics(
        _night((W, 10), (N1, 5), (N2, 30), (N3, 20), (W, 3), (N2, 12), (REM, 15), (W, 5))
    )
    assert found.time_in_bed == 100
    assert found.total_sleep_time == 82
    assert found.sleep_efficiency == pytest.approx(82.0)
    assert found.sleep_onset_latency == 10
    assert found.persistent_sleep_latency == 10
    assert found.rem_latency == 5 + 30 + 20 + 3 + 12  # from sleep onset, wake between included
    assert found.wake_after_sleep_onset == 3 + 5  # the last waking too
    assert found.sleep_period_time == 85
    assert found.sleep_maintenance == pytest.approx(100 * 82 / 85)
    assert found.awakenings == 1
    assert found.stage_shifts == 5
    assert found.stage_minutes == {"W": 18, "N1": 5, "N2": 42, "N3": 20, "REM": 15}
    assert found.stage_percent["N2"] == pytest.approx(100 * 42 / 82)
    assert found.unscored == 0
    # what must hold of any night without unscored time
    assert found.time_in_bed == (
        found.sleep_onset_latency + found.total_sleep_time + found.wake_after_sleep_onset
    )


def test_one_clip_of_light_sleep_is_sleep_onset_but_not_persistent_sleep():
    found = sleep_statistics(_night((W, 4), (N1, 0.5), (W, 6), (N2, 9.5), (W, 1), (N2, 10)))
    assert found.sleep_onset_latency == 4
    assert found.persistent_sleep_latency == 4 + 0.5 + 6 + 9.5 + 1
    assert found.rem_latency is None
    assert found.awakenings == 2


def test_a_night_without_sleep_defines_no_latency():
    found = sleep_statistics(_night((W, 30)))
    assert found.total_sleep_time == 0
    assert found.sleep_efficiency == 0
    assert found.sleep_onset_latency is None and found.wake_after_sleep_onset is None
    assert found.persistent_sleep_latency is None and found.sleep_maintenance is None
    assert found.stage_percent == {"N1": None, "N2": None, "N3": None, "REM": None}
    assert found.sleep_period_time == 0 and found.stage_shifts == found.awakenings == 0


def test_sleep_from_the_first_clip():
    found = sleep_statistics(_night((REM, 10), (N2, 10)))
    assert found.sleep_onset_latency == 0 and found.rem_latency == 0
    assert found.sleep_efficiency == 100 and found.persistent_sleep_latency == 0


def test_the_last_clip_of_sleep_may_be_of_another_stage():
    found = sleep_statistics(np.array([N2, N2, W, REM, W]))
    assert (found.stage_shifts, found.awakenings, found.sleep_period_time) == (2, 1, 2)


def test_one_clip_of_rem_is_a_night_of_sleep():
    found = sleep_statistics(np.array([0, REM, 0]))
    assert found.stage_percent == {"N1": 0, "N2": 0, "N3": 0, "REM": 100}
    assert (found.sleep_period_time, found.sleep_maintenance, found.rem_latency) == (0.5, 100, 0)
    assert found.sleep_efficiency == pytest.approx(100 / 3)
    assert (found.stage_shifts, found.awakenings, found.persistent_sleep_latency) == (0, 0, None)


def test_unscored_clips_are_time_in_bed_and_nothing_else():
    found = sleep_statistics(_night((W, 5), (N2, 20), (-1, 5), (N2, 20), (W, 5)))
    assert found.time_in_bed == 55
    assert found.total_sleep_time == 40
    assert found.unscored == 5
    assert found.wake_after_sleep_onset == 5
    assert found.stage_shifts == 0 and found.awakenings == 0


def test_an_empty_hypnogram_and_other_clip_lengths():
    assert sleep_statistics(np.array([], int)).sleep_efficiency is None
    assert sleep_statistics(np.array([0, 2, 2]), clip_seconds=20.0).total_sleep_time == (
        pytest.approx(40 / 60)
    )


def test_missing_clips_become_unknown_slots():
    row, first = consecutive(np.array([7, 5, 10]), np.array([2, 0, 4]))
    assert first == 5
    assert row.tolist() == [0, -1, 2, -1, -1, 4]
