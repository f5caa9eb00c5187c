"""The test over subjects and seeds, on studies whose truth is known."""

import numpy as np
import pytest
from scipy import stats

from sacd_jax.report.crossed import crossed_difference, holm


def studies(effect, of_subjects, of_seeds, rest, number=1200, subjects=25, seeds=5):
    """Judged studies with normal effects of these standard deviations."""
    rng = np.random.default_rng(0)
    for _ in range(number):
        yield crossed_difference(
            effect
            + of_subjects * rng.normal(size=(subjects, 1))
            + of_seeds * rng.normal(size=(1, seeds))
            + rest * rng.normal(size=(subjects, seeds))
        )


@pytest.mark.parametrize(
    ("spreads", "sizes"),
    [
        ((0.05, 0.02, 0.05), {}),
        ((0.05, 0.0, 0.05), {}),
        ((0.02, 0.04, 0.05), {}),
        ((0.05, 0.03, 0.05), {"subjects": 8}),
        ((0.05, 0.03, 0.05), {"seeds": 10}),
    ],
)
def test_without_an_effect_one_study_in_twenty_finds_one(spreads, sizes):
    found = np.mean([study.p < 0.05 for study in studies(0, *spreads, **sizes)])
    assert found == pytest.approx(0.05, abs=0.015)


def test_two_subjects_and_two_seeds_are_the_fewest():
    found = crossed_difference(np.array([[0.0, 0.1], [0.2, 0.3]]))
    assert found is not None and found.low < found.value == pytest.approx(0.15)
    for size in ((2, 1), (1, 2)):
        assert crossed_difference(np.ones(size)) is None


def test_where_there_is_rest_alone_it_errs_on_the_careful_side():
    assert np.mean([study.p < 0.05 for study in studies(0, 0, 0, 0.05)]) < 0.05


def test_the_detectable_difference_is_found_in_four_of_five_studies():
    spreads = (0.05, 0.02, 0.05)
    detectable = np.mean([study.detectable for study in studies(0, *spreads, number=300)])
    found = np.mean([study.p < 0.05 for study in studies(detectable, *spreads)])
    assert found == pytest.approx(0.8, abs=0.05)


def test_the_interval_and_p_say_the_same_and_undefined_subjects_do_not_count():
    differences = np.random.default_rng(1).normal(0.02, 0.05, (9, 4))
    found = crossed_difference(np.vstack([differences, [[np.nan, 0.1, 0.1, 0.1]]]))
    assert found == crossed_difference(differences) and (found.subjects, found.seeds) == (9, 4)
    assert found.value == pytest.approx(differences.mean())
    moved = crossed_difference(differences - found.low)  # the interval's end is 0
    assert moved.p == pytest.approx(0.05)


CELLS = 0.1 * np.array([[0.0, 5.0, 1.0], [2.0, 9.0, 4.0], [1.0, 9.0, 2.0], [4.0, 8.0, 5.0]])
CROSSING = 0.1 * np.array([[0.0, 9.0, 1.0], [8.0, 0.0, 7.0], [1.0, 8.0, 0.0], [9.0, 1.0, 8.0]])
"""The rest's mean square is more than the seeds', and than the subjects'."""


@pytest.mark.parametrize("level", [0.95, 0.8])
@pytest.mark.parametrize("cells", [CELLS, CELLS.T, CROSSING, CROSSING.T])
def test_the_interval_is_that_of_the_variance_components(cells, level):
    """The variance of the mean from those of subjects' and seeds' means, less what both share."""
    subjects, seeds = cells.shape
    rest = cells - cells.mean(1, keepdims=True) - cells.mean(0) + cells.mean()
    shared = np.sum(rest**2) / ((subjects - 1) * (seeds - 1) * cells.size)
    parts = np.array([cells.mean(1).var(ddof=1) / subjects, cells.mean(0).var(ddof=1) / seeds])
    variance = max(parts.sum() - shared, parts[0], parts[1])
    assert (variance == parts.max()) == (shared > parts.min())
    df = variance**2 / (
        parts[0] ** 2 / (subjects - 1)
        + parts[1] ** 2 / (seeds - 1)
        + shared**2 / ((subjects - 1) * (seeds - 1))
    )
    found = crossed_difference(cells, level)
    error = np.sqrt(variance)
    low, high = stats.t.interval(level, df, loc=cells.mean(), scale=error)
    np.testing.assert_allclose((found.low, found.high), (low, high), rtol=1e-12)
    assert found.p == pytest.approx(2 * stats.t.sf(cells.mean() / error, df))
    # What is found where the true mean is: the half width, and as much again as 4 of 5 lie above.
    assert found.detectable == pytest.approx((high - low) / 2 + stats.t.ppf(0.8, df) * error)
    assert crossed_difference(cells) == crossed_difference(cells, 0.95)
    assert crossed_difference(-cells).p == found.p


def test_what_cannot_be_judged_or_does_not_vary():
    assert crossed_difference(np.zeros((5, 1))) is crossed_difference(np.zeros((1, 5))) is None
    same = crossed_difference(np.full((4, 3), 0.25))
    assert (same.low, same.p, same.detectable) == (0.25, 0.0, 0.0)
    assert crossed_difference(np.zeros((4, 3))).p == 1.0


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []
