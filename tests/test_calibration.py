"""Calibration against scikit-learn, hand-made bins and a temperature that is known."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from sacd_jax import calibration


def clips(number: int = 3000, temperature: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores, and truths drawn from the probabilities of the scores divided by a temperature."""
    rng = np.random.default_rng(0)
    logits = 2.5 * rng.normal(size=(number, 5))
    shares = calibration.softmax(logits, temperature)
    return logits.astype(np.float32), (rng.random((number, 1)) > shares.cumsum(-1)).sum(-1)


def test_brier_and_the_reliability_curve_are_those_of_scikit_learn() -> None:
    logits, truth = clips()
    probabilities = calibration.softmax(logits)
    errors = calibration.squared_errors(probabilities, truth)
    expected = brier_score_loss(truth, probabilities)
    assert errors.mean() == pytest.approx(expected, rel=1e-6)
    binned = calibration.confidence_bins(probabilities, truth)
    filled = binned[:, 0] > 0
    right = probabilities.argmax(-1) == truth
    share, confidence = calibration_curve(right, probabilities.max(-1), n_bins=calibration.BINS)
    np.testing.assert_allclose(binned[filled, 2] / binned[filled, 0], share)
    np.testing.assert_allclose(binned[filled, 1] / binned[filled, 0], confidence)
    gap = np.average(np.abs(share - confidence), weights=binned[filled, 0])
    assert calibration.calibration_error(binned) == pytest.approx(gap)


def test_error_by_hand_edges_and_no_clips() -> None:
    # Two bins: 0.4 and 0.5 (an edge counts below) of which one is right, 0.9 wrong.
    probabilities = np.array([[0.4, 0.3, 0.3], [0.5, 0.25, 0.25], [0.9, 0.05, 0.05]])
    binned = calibration.confidence_bins(probabilities, np.array([0, 1, 2]), bins=2)
    np.testing.assert_allclose(binned, [[2, 0.9, 1], [1, 0.9, 0]])
    assert calibration.calibration_error(binned) == pytest.approx((0.1 + 0.9) / 3)
    assert np.isnan(calibration.calibration_error(np.zeros((2, 3))))
    sure = np.eye(3)
    assert calibration.squared_errors(sure, np.array([0, 1, 0])).tolist() == [0, 0, 2]


@pytest.mark.parametrize("known", [0.5, 1.0, 3.0])
def test_the_temperature_behind_the_truth_is_found(known: float) -> None:
    logits, truth = clips(20000, known)
    truth[::10] = -1  # nobody scored
    found = calibration.fit_temperature(logits, truth)
    assert found == pytest.approx(known, rel=0.04)
    scored = truth >= 0

    def loss(temperature: float) -> float:
        return log_loss(truth[scored], calibration.softmax(logits[scored], temperature))

    assert loss(found) <= min(loss(0.98 * found), loss(1.02 * found), loss(1.0) + 1e-9)
    scaled = calibration.softmax(logits, found)
    assert (scaled.argmax(-1) == logits.argmax(-1)).all()


def test_nothing_to_fit_and_nothing_wrong_stay_in_bounds() -> None:
    logits, truth = clips(50)
    assert calibration.fit_temperature(logits, np.full(50, -1)) == 1.0
    assert calibration.fit_temperature(logits, logits.argmax(-1)) == pytest.approx(
        calibration.LEAST, rel=1e-3
    )
    assert truth.max() < 5
