"""Sleep statistics compared: hand-made nights, Bland and Altman's formulas, what is left out."""

import numpy as np
import pytest
from scipy import stats

from sacd_jax.report import comparison_tables
from sacd_jax.report.night_agreement import bland_altman, night_agreement
from sacd_jax.report.sleep_statistics import sleep_statistics
from sacd_jax.runs.predictions import Predictions

W, N1, N2, N3, REM = range(5)


def spells(*parts: tuple[int, float]) -> np.ndarray:
    """Stages of 30-s clips from (stage, hours)."""
    return np.concatenate([np.full(round(hours * 120), stage) for stage, hours in parts])


def predictions_of(nights: list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]) -> Predictions:
    """From (subject, truth, predicted, clips that are there) of each night."""
    rows = [
        (f"n{at}", subject, clip, truth[clip], predicted[clip])
        for at, (subject, truth, predicted, there) in enumerate(nights)
        for clip in there
    ]
    night, subject, clip, truth, predicted = (
        np.array(column) for column in zip(*rows, strict=True)
    )
    return Predictions(
        logits=np.eye(5)[predicted],
        embedding=np.zeros((len(rows), 1)),
        index=np.arange(len(rows)),
        stage=truth,
        night_id=night,
        subject_id=subject,
        clip_index=clip,
        ahi=np.full(len(rows), np.nan),
        age=np.full(len(rows), np.nan),
        sex=np.full(len(rows), ""),
    )


TRUTH = spells((W, 0.5), (N2, 3), (REM, 1), (W, 0.5), (N3, 1))
LATER = spells((W, 1), (N2, 2.5), (REM, 1), (W, 0.5), (N3, 1))  # falls asleep half an hour later
NO_REM = spells((W, 0.5), (N2, 4), (W, 0.5), (N3, 1))
WHOLE = np.arange(720)


def test_whole_nights_are_compared_a_pair_a_subject() -> None:
    found = night_agreement(
        predictions_of(
            [
                ("a", TRUTH, LATER, WHOLE),
                ("a", TRUTH, TRUTH, WHOLE),  # a second night of the same subject: the mean counts
                ("b", TRUTH, NO_REM, WHOLE),
                ("c", TRUTH, TRUTH, np.delete(WHOLE, range(100, 110))),  # 1.4 % missing
                ("d", TRUTH, TRUTH, WHOLE[:400]),  # a window
                ("e", TRUTH, TRUTH, np.delete(WHOLE, range(100, 200))),  # a hole
            ]
        )
    )
    assert (found.nights, found.short, found.holes) == (4, 1, 1)
    latency, rem = found.figures["sleep_onset_latency"], found.figures["rem_latency"]
    assert latency.subjects.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(latency.truth, [30, 30, 30])
    np.testing.assert_allclose(latency.predicted, [45, 30, 30])
    assert latency.bias.value == pytest.approx(5)
    assert rem.subjects.tolist() == ["a", "c"]  # b was never said to dream
    assert rem.bias.value == pytest.approx(-7.5) and np.isnan(rem.lower.value)
    sleep = found.figures["total_sleep_time"]
    whole = sleep_statistics(TRUTH).total_sleep_time
    np.testing.assert_allclose(sleep.truth, [whole, whole, whole - 5])
    np.testing.assert_allclose(found.figures["minutes/REM"].predicted, [60, 0, 60])
    assert {row[0].text for row in comparison_tables.nights_table(found).rows} >= {"REM, min"}


def test_windows_have_no_sleep_statistics() -> None:
    found = night_agreement(predictions_of([("a", TRUTH, LATER, WHOLE[:120])]))
    assert (found.nights, found.short, found.figures) == (0, 1, {})


def test_bias_and_limits_are_those_of_bland_and_altman() -> None:
    rng = np.random.default_rng(0)
    truth, wrong = 400 + 30 * rng.normal(size=12), 5 + 20 * rng.normal(size=12)
    found = bland_altman(np.arange(12), truth, truth + wrong)
    mean, deviation = wrong.mean(), wrong.std(ddof=1)
    assert found.bias.value == pytest.approx(mean)
    low, high = stats.t.interval(0.95, 11, mean, stats.sem(wrong))
    assert (found.bias.low, found.bias.high) == pytest.approx((low, high))
    assert found.lower.value == pytest.approx(mean - 1.96 * deviation, abs=1e-3 * deviation)
    assert found.upper.value == pytest.approx(mean + 1.96 * deviation, abs=1e-3 * deviation)
    half = 2.201 * np.sqrt(deviation**2 * (1 / 12 + 1.96**2 / (2 * 11)))  # t of 11 degrees
    assert found.upper.high - found.upper.value == pytest.approx(half, rel=1e-3)
    assert found.lower.value - found.lower.low == pytest.approx(half, rel=1e-3)
