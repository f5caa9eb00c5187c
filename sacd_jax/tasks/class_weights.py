"""What the cross-entropy makes of rare classes, from the frequencies in the train split."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.errors import UserError, suggestion

_IMPORTANCE = np.array([1.5, 2.0, 1.5, 1.0, 1.5]) / 5
_BETA = 0.9999


def class_aware_weights(counts: Int[np.ndarray, " classes"]) -> Float[np.ndarray, " classes"]:
    """AttnSleep's rule for the five stages (emadeldeen24/AttnSleep, utils/util.py).

    Its authors set the importance of each stage by hand, for Sleep-EDF.
    """
    if len(counts) != len(_IMPORTANCE):
        raise UserError(
            f"class_weights: attnsleep's rule is for {len(_IMPORTANCE)} stages, "
            f"the data have {len(counts)} classes; expected inverse or effective_number"
        )
    score = np.log(_IMPORTANCE * counts.sum() / np.maximum(counts, 1))
    return np.round(np.maximum(score, 1) * _IMPORTANCE, 2)


def inverse_weights(counts: Int[np.ndarray, " classes"]) -> Float[np.ndarray, " classes"]:
    """Inverse frequency, scaled so that the mean weight of a clip is 1."""
    present = np.count_nonzero(counts)
    return counts.sum() / (present * np.maximum(counts, 1))


def effective_number_weights(counts: Int[np.ndarray, " classes"]) -> Float[np.ndarray, " classes"]:
    """Inverse effective number of samples (Cui et al. 2019), beta 0.9999, mean of classes 1."""
    weights = np.reciprocal(1 - _BETA ** np.maximum(counts, 1))
    return weights / weights[counts > 0].mean()


_RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "attnsleep": class_aware_weights,
    "inverse": inverse_weights,
    "effective_number": effective_number_weights,
}


def class_weights(rule: str, counts: Int[np.ndarray, " classes"]) -> tuple[float, ...] | None:
    """Weights by the rule's name: none, inverse, attnsleep or effective_number.

    Args:
        rule: its name.
        counts: clips of each class in the train split. A class without any gets weight 0.

    Returns:
        One weight a class; None for the rule `none`.

    Raises:
        UserError: no rule has that name, or no clip has a stage.
    """
    if rule == "none":
        return None
    if rule not in _RULES:
        hint = suggestion(rule, ("none", *_RULES))
        raise UserError(f"class_weights {rule!r} is not known: {hint}")
    counts = np.asarray(counts)
    if not counts.any():
        raise UserError("class_weights: no training clip has a known stage, expected at least one")
    weights = np.where(counts > 0, _RULES[rule](counts), 0.0)
    return tuple(float(weight) for weight in weights)


def logit_offsets(tau: float, counts: Int[np.ndarray, " classes"]) -> tuple[float, ...] | None:
    """tau log(share) of each class among the labels; None for tau 0 or where there is no label.

    Args:
        tau: of logit adjustment (Menon et al. 2021, Eq. 10); 1 is theirs.
        counts: clips of each class in the train split. One without any counts as half a clip.
    """
    counts = np.asarray(counts)
    if not tau or not counts.any():
        return None
    shares = np.maximum(counts, 0.5) / counts.sum()
    return tuple(float(offset) for offset in tau * np.log(shares))
