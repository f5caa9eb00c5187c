import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax.tasks.class_weights import class_weights, logit_offsets

COUNTS = np.array([55878, 5909, 40522, 20237, 12290])


@pytest.mark.parametrize(
    ("counts", "weights"),
    [
        (COUNTS, (0.30, 0.88, 0.30, 0.20, 0.36)),
        ((8285, 2804, 17799, 5703, 7717), (0.30, 0.72, 0.30, 0.20, 0.30)),
        ((65951, 21522, 69132, 13039, 25835), (0.30, 0.52, 0.30, 0.22, 0.30)),
        ((46319, 10304, 142125, 60153, 65953), (0.30, 1.01, 0.30, 0.20, 0.30)),
    ],
)
def test_attnsleep_rule_gives_the_published_weights(counts, weights):
    assert class_weights("attnsleep", np.array(counts)) == weights


def test_none_is_none():
    assert class_weights("none", COUNTS) is None


def test_inverse_weights_give_every_class_the_same_share():
    shares = np.array(class_weights("inverse", COUNTS)) * COUNTS
    np.testing.assert_allclose(shares, COUNTS.sum() / 5)


def test_effective_number_of_many_and_of_few():
    few = np.array(class_weights("effective_number", np.array([10, 20, 40])))
    np.testing.assert_allclose(few[0] / few[2], 4, rtol=0.01)  # few clips: like inverse
    many = np.array(class_weights("effective_number", np.array([10**6, 10**7, 10**8])))
    np.testing.assert_allclose(many, 1, rtol=1e-6)  # so many that all count alike
    assert few.mean() == pytest.approx(1)


def test_absent_class_has_no_weight_and_a_single_clip_counts():
    counts, there = np.array([1, 0, 30, 20, 5]), [0, 2, 3, 4]
    present = counts[there]
    effective = 1 / (1 - 0.9999**present)
    importance = np.array([0.3, 0.4, 0.3, 0.2, 0.3])[there]
    score = np.maximum(np.log(importance * 56 / present), 1)
    for rule, expected in {
        "inverse": 56 / (4 * present),
        "effective_number": effective / effective.mean(),
        "attnsleep": np.round(score * importance, 2),
    }.items():
        weights = class_weights(rule, counts)
        assert weights[1] == 0
        np.testing.assert_allclose(np.array(weights)[there], expected, rtol=1e-9)


def test_mistakes_are_named():
    with pytest.raises(UserError, match="did you mean 'inverse'"):
        class_weights("invers", COUNTS)
    with pytest.raises(UserError, match="no training clip"):
        class_weights("inverse", np.zeros(5, int))
    with pytest.raises(UserError, match="3 classes"):
        class_weights("attnsleep", np.array([1, 2, 3]))


def test_logit_offsets_are_tau_times_the_logarithm_of_the_shares():
    assert logit_offsets(0.0, COUNTS) is None
    np.testing.assert_allclose(np.exp(logit_offsets(1.0, COUNTS)), COUNTS / COUNTS.sum())
    np.testing.assert_allclose(logit_offsets(0.5, np.array([30, 0, 10])), [
        0.5 * np.log(0.75), 0.5 * np.log(0.0125), 0.5 * np.log(0.25)
    ])  # fmt: skip
    assert logit_offsets(1.0, np.zeros(5, int)) is None
