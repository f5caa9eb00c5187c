"""Two dimensions keep groups apart, and the same seed gives the same picture."""

import numpy as np
import pytest

from sacd_jax.analysis import tsne


def test_groups_stay_apart_and_a_seed_repeats() -> None:
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 20)
    features = rng.normal(size=(40, 60)) + 8 * group[:, None]  # more than the 50 components
    points = tsne.embed(features)
    assert points.shape == (40, 2)
    np.testing.assert_array_equal(points, tsne.embed(features))
    near = ((points[:, None] - points) ** 2).sum(-1) + np.diag(np.full(40, np.inf))
    assert (group[near.argmin(1)] == group).all()


@pytest.mark.parametrize("shape", [(3, 5), (10, 1)])
def test_too_little_to_draw(shape: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="too few for t-SNE"):
        tsne.embed(np.zeros(shape))


def test_few_points_of_many_channels() -> None:
    assert tsne.embed(np.random.default_rng(0).normal(size=(4, 512))).shape == (4, 2)


def test_channels_above_the_papers_threshold() -> None:
    level = np.tile([0, 1, 2, 3], 6)
    noise = np.random.default_rng(0).normal(size=24)
    features = np.column_stack([level, -level, level + 0.1 * noise, np.ones(24)]).astype(float)
    assert tsne.channels_of_the_ahi(features, level).tolist() == [True, False, True, False]


def test_one_subject_of_each_group_with_clips_of_both_stages() -> None:
    subject = np.repeat(["a", "b", "c", "d"], 4)
    stage = np.array([2, 2, 2, 2, 2, 3, 2, 3, 0, 0, 2, 3, 3, 3, 2, 2])
    level = np.repeat([0, 0, 2, -1], 4)
    assert tsne.subjects_to_show(subject, stage, level, np.array([2, 3])) == ["b", "c"]


def test_a_sample_is_repeatable_and_no_row_comes_twice() -> None:
    assert tsne.sample(5, 10).tolist() == [0, 1, 2, 3, 4]
    rows = tsne.sample(100, 30, seed=1)
    assert len(set(rows.tolist())) == 30 and (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, tsne.sample(100, 30, seed=1))
