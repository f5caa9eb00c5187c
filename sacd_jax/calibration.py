"""How far probabilities can be believed, and the one number that makes them more believable.

Calibration error and temperature: Guo et al. 2017, "On Calibration of Modern Neural Networks".
"""

import numpy as np
from jaxtyping import Float, Int

BINS = 15
"""Of equal width, over the probability of the predicted class (Guo et al.)."""

LEAST, MOST = 0.1, 10.0
"""Temperatures that are tried: validation clips that are all right would ask for none at all."""


def softmax(
    logits: Float[np.ndarray, "*more classes"], temperature: float = 1.0
) -> Float[np.ndarray, "*more classes"]:
    """Probabilities f64 of scores that are divided by a temperature; the likeliest class stays."""
    scaled = np.asarray(logits, np.float64) / temperature
    shares = np.exp(scaled - scaled.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def fit_temperature(
    logits: Float[np.ndarray, "clips classes"], truth: Int[np.ndarray, " clips"]
) -> float:
    """The temperature with the least mean cross-entropy, from `LEAST` to `MOST`.

    Clips with a negative truth are left out; without any others the temperature is 1.
    """
    scored = truth >= 0
    if not scored.any():
        return 1.0
    from scipy import optimize, special  # slow to import

    given, wanted = logits[scored].astype(np.float64), truth[scored][:, None]

    def cross_entropy(log_temperature: float) -> float:
        scores = special.log_softmax(given / np.exp(log_temperature), axis=-1)
        return -float(np.take_along_axis(scores, wanted, axis=-1).mean())

    bounds = (np.log(LEAST), np.log(MOST))
    found = optimize.minimize_scalar(
        cross_entropy, bounds=bounds, method="bounded", options={"xatol": 1e-6}
    )
    return float(np.exp(found.x))


def squared_errors(
    probabilities: Float[np.ndarray, "clips classes"], truth: Int[np.ndarray, " clips"]
) -> Float[np.ndarray, " clips"]:
    """Each clip's part of the Brier score, from 0 (sure and right) to 2 (sure and wrong).

    Their mean is the score of several classes (Brier 1950; scikit-learn's `brier_score_loss` with
    `scale_by_half=False`).
    """
    wanted = np.eye(probabilities.shape[-1])[truth]
    return ((probabilities - wanted) ** 2).sum(-1)


def confidence_bins(
    probabilities: Float[np.ndarray, "clips classes"],
    truth: Int[np.ndarray, " clips"],
    bins: int = BINS,
) -> Float[np.ndarray, "bins 3"]:
    """Number of clips, sum of their confidences and number of right ones, in bins of confidence.

    Confidence is the probability of the predicted class; a value on an edge counts below it, as in
    scikit-learn's `calibration_curve`.
    """
    confidence = probabilities.max(-1)
    place = np.searchsorted(np.linspace(0, 1, bins + 1)[1:-1], confidence)
    right = (probabilities.argmax(-1) == truth).astype(np.float64)
    columns = (np.ones_like(confidence), confidence, right)
    return np.stack([np.bincount(place, each, minlength=bins) for each in columns], axis=-1)


def calibration_error(
    binned: Float[np.ndarray, "*more bins 3"],
) -> Float[np.ndarray, "*more"]:
    """Expected calibration error: |share right − mean confidence|, each bin by its clips.

    Args:
        binned: of `confidence_bins`, or sums of several; without clips the error is nan.
    """
    clips = binned[..., 0].sum(-1)
    gaps = np.abs(binned[..., 2] - binned[..., 1]).sum(-1)
    return np.where(clips > 0, gaps / np.where(clips > 0, clips, 1), np.nan)
