"""How far a run's probabilities can be believed on the test subjects, with and without temperature.

The temperature comes from validation subjects (`runs.temperature`); nothing here is fitted.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from sacd_jax import calibration
from sacd_jax.report.statistics import Estimate, interval
from sacd_jax.runs.predictions import Predictions
from sacd_jax.runs.temperature import Temperature

FIGURES = ("calibration_error", "brier")


@dataclass(frozen=True)
class Believed:
    """Calibration of one set of probabilities.

    Attributes:
        figures: `calibration_error` and `brier` with intervals over subjects.
        bins: of confidence: clips, mean confidence and share right; nan in an empty bin.
    """

    figures: dict[str, Estimate]
    bins: Float[np.ndarray, "bins 3"]


@dataclass(frozen=True)
class Reliability:
    """Calibration of a run as its network says it, and after its temperature where it has one."""

    temperature: Temperature | None
    plain: Believed
    scaled: Believed | None


def reliability(
    predictions: Predictions,
    temperature: Temperature | None,
    draws: Int[np.ndarray, "resamples subjects"],
) -> Reliability:
    """Calibration on the scored clips of a split.

    Args:
        predictions: of the split.
        temperature: fitted on other subjects, or None.
        draws: `statistics.resample_subjects`, of the subjects in sorted order.
    """
    scaled = _believed(predictions, temperature.value, draws) if temperature else None
    return Reliability(temperature, _believed(predictions, 1.0, draws), scaled)


def _believed(predictions: Predictions, temperature: float, draws: np.ndarray) -> Believed:
    scored = predictions.stage >= 0
    truth = predictions.stage[scored]
    probabilities = calibration.softmax(predictions.logits[scored], temperature)
    names, everyone = np.unique(predictions.subject_id, return_inverse=True)
    subject = everyone[scored]
    binned = np.stack(
        [
            calibration.confidence_bins(probabilities[subject == at], truth[subject == at])
            for at in range(len(names))
        ]
    )
    errors = calibration.squared_errors(probabilities, truth)
    squared = np.bincount(subject, errors, minlength=len(names))
    clips = binned[..., 0].sum(-1)

    def figures(weight: np.ndarray) -> dict[str, np.ndarray]:
        """Of each row of weights of subjects."""
        gap = calibration.calibration_error(np.tensordot(weight, binned, axes=1))
        total = weight @ clips
        brier = np.where(total > 0, weight @ squared / np.where(total > 0, total, 1), np.nan)
        return {"calibration_error": gap, "brier": brier}

    whole, drawn = figures(np.ones((1, len(names)))), figures(draws)
    nothing = (np.nan, np.nan)
    found = {
        name: Estimate(
            float(whole[name][0]), *(interval(drawn[name]) if len(names) > 1 else nothing)
        )
        for name in FIGURES
    }
    total = binned.sum(0)
    with np.errstate(invalid="ignore"):
        shares = total[:, 1:] / total[:, :1]
    return Believed(found, np.concatenate([total[:, :1], shares], axis=1))
