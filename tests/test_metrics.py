"""Metrics against hand-made values and scikit-learn."""

import json
import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from sacd_jax import metrics

# 10 clips: W 4 (3 right, 1 as N1), N1 2 (1 right, 1 as N2), N2 4 (all right); no N3, no REM in the
# truth, and REM predicted never.
HAND = np.array(
    [[3, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 4, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]
)


def _labels(seed: int, clips: int = 400, classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.choice(classes, clips, p=rng.dirichlet(np.ones(classes)))
    predicted = np.where(rng.random(clips) < 0.6, truth, rng.integers(0, classes, clips))
    return truth, predicted


def test_hand_made_matrix_with_absent_classes():
    found = metrics.from_confusion(HAND)
    assert found["clips"] == 10
    assert found["accuracy"] == pytest.approx(0.8)
    # F1: W 2*3/(4+3), N1 2*1/(2+2), N2 2*4/(4+5), N3 and REM 0.
    assert found["macro_f1"] == pytest.approx((6 / 7 + 0.5 + 8 / 9) / 5)
    # p_e = (4*3 + 2*2 + 4*5) / 100 = 0.36
    assert found["kappa"] == pytest.approx((0.8 - 0.36) / (1 - 0.36))
    assert found["pabak"] == pytest.approx((0.8 - 1 / 5) / (1 - 1 / 5))
    assert found["balanced_accuracy"] == pytest.approx((0.75 + 0.5 + 1) / 3)
    # Gorodkin: (c s - sum t p) / sqrt((s^2 - sum p^2)(s^2 - sum t^2))
    assert found["mcc"] == pytest.approx((80 - 36) / math.sqrt((100 - 38) * (100 - 36)))
    assert found["recall"][:3] == pytest.approx([0.75, 0.5, 1.0])
    assert math.isnan(found["recall"][3]) and math.isnan(found["recall"][4])
    assert found["precision"][:3] == pytest.approx([1.0, 0.5, 0.8])
    assert found["f1"][3:] == [0.0, 0.0]
    assert found["support"] == [4, 2, 4, 0, 0]
    assert metrics.json_ready(found)["recall"] == [0.75, 0.5, 1.0, None, None]
    json.dumps(metrics.json_ready(found), allow_nan=False)
    assert metrics.json_ready({"a": "b", "c": [None, "d"]}) == {"a": "b", "c": [None, "d"]}


def test_kappa_as_printed_in_the_paper_is_out_of_reach():
    # The data set's stage mix with accuracy .644 spread evenly gives kappa near .50, not .60.
    share = np.array([55878, 5909, 40522, 20237, 12290], float)
    off = share[:, None] * share[None, :] * (1 - np.eye(5))
    counts = np.diag(0.644 * share) + off / off.sum(1, keepdims=True) * 0.356 * share[:, None]
    found = metrics.from_confusion(counts)
    assert found["accuracy"] == pytest.approx(0.644)
    assert found["kappa"] == pytest.approx(0.50, abs=0.02)


@pytest.mark.parametrize("seed", range(5))
def test_agrees_with_scikit_learn(seed: int):
    truth, predicted = _labels(seed)
    counts = metrics.count_confusion(truth, predicted, 5)
    everything = list(range(5))
    np.testing.assert_array_equal(
        counts, sklearn.metrics.confusion_matrix(truth, predicted, labels=everything)
    )
    found = metrics.from_confusion(counts)
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(truth, predicted))
    assert found["kappa"] == pytest.approx(sklearn.metrics.cohen_kappa_score(truth, predicted))
    for weights in ("linear", "quadratic"):
        assert found[f"kappa_{weights}"] == pytest.approx(
            sklearn.metrics.cohen_kappa_score(truth, predicted, labels=everything, weights=weights)
        )
    assert found["mcc"] == pytest.approx(sklearn.metrics.matthews_corrcoef(truth, predicted))
    assert found["balanced_accuracy"] == pytest.approx(
        sklearn.metrics.balanced_accuracy_score(truth, predicted)
    )
    precision, recall, f1, support = sklearn.metrics.precision_recall_fscore_support(
        truth, predicted, labels=everything, zero_division=np.nan
    )
    np.testing.assert_allclose(found["recall"], recall)
    np.testing.assert_allclose(found["precision"], precision)
    np.testing.assert_allclose(found["f1"], np.nan_to_num(f1))
    np.testing.assert_array_equal(found["support"], support)
    assert found["macro_f1"] == pytest.approx(
        sklearn.metrics.f1_score(
            truth, predicted, labels=everything, average="macro", zero_division=0
        )
    )


def test_a_stack_of_matrices_equals_one_at_a_time():
    stack = np.stack([metrics.count_confusion(*_labels(seed), 5) for seed in range(6)])
    together = metrics.from_confusion(stack.reshape(2, 3, 5, 5))
    for at in range(6):
        alone = metrics.from_confusion(stack[at])
        for name, value in alone.items():
            np.testing.assert_allclose(np.asarray(together[name])[at // 3, at % 3], value)


def test_degenerate_matrices():
    nothing = metrics.from_confusion(np.zeros((5, 5), int))
    assert nothing["clips"] == 0
    assert all(math.isnan(nothing[name]) for name in ("accuracy", "macro_f1", "kappa", "mcc"))
    assert np.isnan(nothing["f1"]).all()
    single = metrics.from_confusion(np.diag([7, 0, 0, 0, 0]))
    assert single["accuracy"] == 1.0
    assert math.isnan(single["kappa_quadratic"]) and single["pabak"] == 1.0
    assert math.isnan(single["kappa"])  # chance agreement is already complete
    assert single["mcc"] == 0.0
    constant = metrics.from_confusion(np.array([[5, 0], [5, 0]]))
    assert constant["kappa"] == 0.0 and constant["mcc"] == 0.0
    one = metrics.from_confusion(np.array([[1, 0], [0, 0]]))
    assert (one["f1"], one["macro_f1"], one["support"]) == ([1.0, 0.0], 0.5, [1, 0])
    of_one_clip = metrics.from_confusion(np.array([[4, 0], [1, 0]]))
    assert of_one_clip["balanced_accuracy"] == 0.5


def test_clips_without_a_stage_are_left_out():
    truth, predicted = _labels(0)
    unscored = np.arange(len(truth)) % 3 == 0
    counts = metrics.count_confusion(np.where(unscored, -1, truth), predicted, 5)
    expected = metrics.count_confusion(truth[~unscored], predicted[~unscored], 5)
    np.testing.assert_array_equal(counts, expected)


def test_views_collapse_counts():
    counts = np.arange(25).reshape(5, 5)
    np.testing.assert_array_equal(metrics.collapse(counts, 5), counts)
    two = metrics.collapse(counts, 2)
    np.testing.assert_array_equal(two, [[0, 1 + 2 + 3 + 4], [50, counts[1:, 1:].sum()]])
    assert metrics.collapse(counts[None], 4).shape == (1, 4, 4)
    # light sleep is N1 and N2 together
    assert metrics.collapse(counts, 4)[1, 1] == counts[1:3, 1:3].sum()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), view=st.sampled_from([4, 3, 2]))
def test_a_coarser_view_is_never_less_accurate(seed: int, view: int):
    counts = metrics.count_confusion(*_labels(seed, clips=60), 5)
    coarse = metrics.collapse(counts, view)
    assert coarse.sum() == counts.sum()
    assert (
        metrics.from_confusion(coarse)["accuracy"]
        >= metrics.from_confusion(counts)["accuracy"] - 1e-12
    )
