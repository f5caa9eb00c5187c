"""Intervals and tests over subjects."""

import numpy as np
import pytest

from input_pipeline.stages import STAGES
from sacd_jax.report import statistics


def _counts(skill: np.ndarray, seed: int = 0, clips: int = 200) -> np.ndarray:
    """Counts of subjects whose stager is right with the given probabilities."""
    rng = np.random.default_rng(seed)
    matrices = []
    for each in skill:
        truth = rng.integers(0, 5, clips)
        predicted = np.where(rng.random(clips) < each, truth, (truth + 1) % 5)
        matrices.append(np.bincount(truth * 5 + predicted, minlength=25).reshape(5, 5))
    return np.array(matrices)


def test_counts_of_subjects_add_up_to_those_of_all_clips():
    truth = np.array([0, 0, 1, 2, -1, 4])
    predicted = np.array([0, 1, 1, 2, 3, 4])
    subject = np.array(["b", "a", "b", "a", "a", "c"])
    names, counts = statistics.subject_confusion(truth, predicted, subject, 5)
    assert names.tolist() == ["a", "b", "c"]
    assert counts.sum(axis=(1, 2)).tolist() == [2, 2, 1]  # the unscored clip of "a" is left out
    assert counts[0, 0, 1] == 1 and counts[1, 1, 1] == 1 and counts[2, 4, 4] == 1


def test_every_bootstrap_sample_draws_as_many_subjects_as_there_are():
    draws = statistics.resample_subjects(7, 300, seed=3)
    assert draws.shape == (300, 7)
    assert (draws.sum(1) == 7).all()
    np.testing.assert_array_equal(draws, statistics.resample_subjects(7, 300, seed=3))
    assert (draws != statistics.resample_subjects(7, 300, seed=4)).any()
    plain = statistics.resample_subjects(3)  # as reports draw
    np.testing.assert_array_equal(plain, statistics.resample_subjects(3, resamples=2000, seed=0))


def test_intervals_are_those_of_a_plain_loop_over_resampled_subjects():
    counts = _counts(np.linspace(0.4, 0.8, 9))
    draws = statistics.resample_subjects(9, 400, seed=1)
    found = statistics.estimates(counts, STAGES, draws)["accuracy"]
    looped = []
    for draw in draws:
        total = sum(count * times for count, times in zip(counts, draw, strict=True))
        looped.append(np.trace(total) / total.sum())
    assert found.low == pytest.approx(np.quantile(looped, 0.025))
    assert found.high == pytest.approx(np.quantile(looped, 0.975))
    assert found.low < found.value < found.high


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(150):
        skill = np.clip(0.6 + 0.1 * rng.normal(size=30), 0, 1)
        draws = statistics.resample_subjects(30, 300, seed=trial)
        found = statistics.estimates(_counts(skill, trial, 80), STAGES, draws)["accuracy"]
        covered += found.low <= 0.6 <= found.high
    assert 0.88 <= covered / 150 <= 0.99


def test_one_subject_has_no_interval():
    draws = statistics.resample_subjects(1, 100)
    found = statistics.estimates(_counts(np.array([0.5])), STAGES, draws)
    assert np.isnan(found["accuracy"].low) and np.isnan(found["accuracy"].high)
    assert found["accuracy"].value == pytest.approx(0.5, abs=0.15)
    run, reference = of_hundred([60]), of_hundred([50])
    found = statistics.differences(run, reference, STAGES, draws)["accuracy"]
    assert np.isnan(found.low) and np.isnan(found.high)
    assert (found.value, found.verdict) == (pytest.approx(0.1), "too few subjects")


def test_a_stage_that_some_resamples_lack_keeps_an_interval():
    counts = _counts(np.full(8, 0.7))
    counts[1:, 3] = 0  # N3 in one subject only
    found = statistics.estimates(counts, STAGES, statistics.resample_subjects(8, 500))
    assert np.isfinite(found["recall/N3"].low)
    counts[:, 3] = 0
    found = statistics.estimates(counts, STAGES, statistics.resample_subjects(8, 500))
    assert np.isnan(found["recall/N3"].value) and np.isnan(found["recall/N3"].low)


def test_a_run_does_not_differ_from_itself():
    counts = _counts(np.linspace(0.4, 0.8, 10))
    found = statistics.differences(counts, counts, STAGES, statistics.resample_subjects(10, 200))
    for each in found.values():
        assert each.value == 0 and each.low == 0 and each.high == 0
        assert each.p == 1 and each.verdict == "within noise" and each.within_noise


def test_a_gain_in_every_subject_is_beyond_noise_and_has_a_sign():
    worse, better = _counts(np.full(10, 0.5)), _counts(np.full(10, 0.7), seed=1)
    draws = statistics.resample_subjects(10, 500)
    up = statistics.differences(better, worse, STAGES, draws)["accuracy"]
    down = statistics.differences(worse, better, STAGES, draws)["accuracy"]
    assert up.verdict == "better" and not up.within_noise
    assert up.better == 10 and up.worse == 0
    assert up.p == pytest.approx(2 / 2**10)  # the exact signed-rank test at its end
    assert down.verdict == "worse" and down.value == -up.value
    assert down.better == 0 and down.worse == 10
    assert (down.low, down.high) == pytest.approx((-up.high, -up.low))


def test_five_subjects_are_too_few_however_clear_the_gain():
    worse, better = _counts(np.full(5, 0.3)), _counts(np.full(5, 0.9))
    draws = statistics.resample_subjects(5, 200)
    found = statistics.differences(better, worse, STAGES, draws)["accuracy"]
    assert found.low > 0
    assert found.verdict == "too few subjects" and found.within_noise


def of_hundred(right: list[int]) -> np.ndarray:
    """Counts of subjects with 100 clips of W each, so many of them right."""
    counts = np.zeros((len(right), 5, 5), int)
    counts[:, 0, 0], counts[:, 0, 1] = right, 100 - np.array(right)
    return counts


@pytest.mark.parametrize(
    ("gains", "verdict", "above_zero"),
    [
        ([30, 31, 32, 33, 34, 35], "better", True),  # six are enough
        ([30, 31, 32, 33, 34], "too few subjects", True),
        ([50] * 5 + [-1] * 5, "within noise", True),  # half the subjects lose: p = 0.2
        ([1] * 11 + [-50], "within noise", False),  # p = 0.03, but one subject turns the mean
        ([30, 31, 32, 33, 34, 35, 0], "better", True),
    ],
)
def test_both_the_test_and_the_interval_have_a_say(gains, verdict, above_zero):
    reference = of_hundred([50] * len(gains))
    draws = statistics.resample_subjects(len(gains), 1000)
    run = of_hundred([50 + gain for gain in gains])
    found = statistics.differences(run, reference, STAGES, draws)["accuracy"]
    assert (found.verdict, found.low > 0) == (verdict, above_zero)
    assert (found.better, found.worse) == (sum(g > 0 for g in gains), sum(g < 0 for g in gains))
    assert found.value == pytest.approx(np.mean(gains) / 100)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_interval_that_ends_at_zero_is_noise(sign):
    """In one sample of ten only the subject without a difference is drawn."""
    draws = np.ones((100, 7), int)
    draws[:10] = [7, 0, 0, 0, 0, 0, 0]
    reference = of_hundred([50] * 7)
    run = of_hundred([50 + sign * gain for gain in (0, 10, 11, 12, 13, 14, 15)])
    found = statistics.differences(run, reference, STAGES, draws)["accuracy"]
    assert found.p < 0.05 and (found.low if sign > 0 else found.high) == 0
    assert found.verdict == "within noise"


def test_two_subjects_have_an_interval():
    draws = statistics.resample_subjects(2, 1000)
    run, reference = of_hundred([60, 70]), of_hundred([50, 50])
    found = statistics.differences(run, reference, STAGES, draws)["accuracy"]
    assert (found.low, found.high) == pytest.approx((0.1, 0.2))
    alone = statistics.estimates(run, STAGES, draws)["accuracy"]
    assert (alone.low, alone.value, alone.high) == pytest.approx((0.6, 0.65, 0.7))


def test_signed_rank_by_hand():
    # ranks 1..6, the smallest is negative: W = 1; 2 of 64 sign patterns have W <= 1, two-sided 4/64
    differences = np.array([-0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    assert statistics.signed_rank_p(differences) == pytest.approx(4 / 64)
    assert statistics.signed_rank_p(np.ones(6)) == pytest.approx(2 / 64)
    assert statistics.signed_rank_p(np.zeros(8)) == 1.0
    assert statistics.signed_rank_p(np.array([])) == 1.0


def test_noise_alone_is_seldom_called_a_difference():
    rng = np.random.default_rng(0)
    draws = statistics.resample_subjects(12, 200)
    called = 0
    for trial in range(40):
        skill = np.clip(0.6 + 0.1 * rng.normal(size=12), 0, 1)
        one, other = (_counts(skill, 2 * trial + at, 60) for at in (0, 1))
        found = statistics.differences(one, other, STAGES, draws)["accuracy"]
        called += not found.within_noise
    assert called <= 6  # of 40; two are expected
