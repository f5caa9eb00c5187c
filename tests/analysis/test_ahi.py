"""Correlations with the AHI: SciPy's numbers, and a channel that knows the AHI is found."""

import numpy as np
import pytest
from scipy import stats

from sacd_jax.analysis import ahi


def test_rho_and_p_are_scipys_with_ties_and_constant_columns() -> None:
    rng = np.random.default_rng(0)
    features = rng.integers(0, 4, size=(23, 6)).astype(float)  # many ties
    features[:, 1] = 2.0
    features[:, 2] = np.arange(23)
    target = np.column_stack([rng.integers(0, 4, 23), np.arange(23), -np.arange(23)]).astype(float)
    rho, p = ahi.spearman(features, target)
    for channel, other in np.ndindex(6, 3):
        if channel == 1:
            assert np.isnan(rho[channel, other]) and np.isnan(p[channel, other])
            continue
        expected = stats.spearmanr(features[:, channel], target[:, other])
        np.testing.assert_allclose(rho[channel, other], expected.statistic, atol=1e-12)
        np.testing.assert_allclose(p[channel, other], expected.pvalue, atol=1e-12)


def test_the_threshold_of_the_paper_at_its_number_of_subjects() -> None:
    """With 102 subjects, p < .05 begins at a rho of about .195."""
    rng = np.random.default_rng(1)
    rho, p = ahi.spearman(rng.normal(size=(102, 4000)), np.arange(102.0)[:, None])
    passing = p[:, 0] < 0.05
    assert abs(rho[passing]).min() == pytest.approx(0.195, abs=0.002)
    assert passing.mean() == pytest.approx(0.05, abs=0.015)


def test_benjamini_and_hochbergs_own_example() -> None:
    """The fifteen values of their paper of 1995: four are rejected at .05."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344]
    p += [0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0]
    adjusted = ahi.benjamini_hochberg(np.array([*p[:7], np.nan, *p[7:]]))
    assert (adjusted < 0.05).sum() == 4
    assert np.isnan(adjusted[7]) and adjusted[0] == pytest.approx(0.0015)
    assert np.isnan(ahi.benjamini_hochberg(np.array([np.nan]))).all()


def test_means_are_over_a_subjects_scored_clips_of_a_stage() -> None:
    embedding = np.array([[1.0, 2], [3, 4], [5, 6], [100, 100], [7, 8]])
    stage = np.array([0, 0, 2, -1, 0])
    subject = np.array(["b", "b", "b", "b", "a"])
    subjects, means = ahi.stage_means(embedding, stage, subject, 3)
    assert subjects.tolist() == ["a", "b"]
    np.testing.assert_array_equal(means[1], [[2, 3], [np.nan, np.nan], [5, 6]])
    np.testing.assert_array_equal(means[0, 0], [7, 8])


def test_levels_are_of_the_mean_ahi_over_nights_and_unknown_stays_unknown() -> None:
    subject = np.array(["a", "a", "a", "b", "c", "d", "d", "d"])
    night = np.array(["1", "1", "2", "3", "4", "5", "6", "7"])
    known = np.array([4.0, 4.0, 8.0, np.nan, 31.0, 3.0, 3.0, 8.0])
    levels = ahi.subject_levels(np.array(["a", "b", "c", "d"]), subject, night, known)
    # Nights of 4 and 8: the number of clips is no weight, that of nights with one AHI is.
    assert levels.tolist() == [1, -1, 3, 0]
    assert ahi.targets(np.array([1, 3])).tolist() == [[1, 0, 1, 0, 0], [3, 0, 0, 0, 1]]


def test_channels_that_know_the_ahi_pass_and_permuted_ones_do_not() -> None:
    rng = np.random.default_rng(3)
    level = np.tile([0, 1, 2, 3], 15)
    means = rng.normal(size=(60, 2, 40))
    means[:, 1, :10] += 2 * level[:, None]  # a quarter of the channels, in one stage alone
    means[::7, 0] = np.nan  # subjects without that stage
    level[5] = -1
    found = {(one.stage, one.target): one for one in ahi.correlate(means, level, 100)}
    told = found[1, "AHI level"]
    assert told.subjects == 59 and found[0, "AHI level"].subjects == 50
    assert (told.p[:10] < 0.05).all() and (told.rho[:10] > 0.5).all()
    assert told.passing_adjusted == pytest.approx(0.25, abs=0.03)
    assert told.permuted_passing.mean() == pytest.approx(0.05, abs=0.03)
    assert abs(told.permuted_rho).max() < 0.5
    assert found[0, "AHI level"].passing_adjusted == 0
    assert found[1, "severe"].rho[:10].min() > 0.4 and found[1, "normal"].rho[:10].max() < -0.4
    header, rows = ahi.summary_rows(list(found.values()), ("W", "N1"))
    assert len(rows) == 10 and all(len(row) == len(header) for row in rows)
    header, rows = ahi.correlation_rows([told], ("W", "N1"))
    assert len(rows) == 40 and all(len(row) == len(header) for row in rows)


def test_a_stage_of_three_subjects_is_left_out() -> None:
    means = np.random.default_rng(0).normal(size=(6, 2, 3))
    means[3:, 1] = np.nan
    assert {one.stage for one in ahi.correlate(means, np.arange(6) % 4, 5)} == {0}
