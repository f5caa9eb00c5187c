"""How well stages are predicted: confusion counts, and figures from them.

Everything is computed from confusion counts, rows truth and columns prediction: figures of a batch,
a subject, a resampled test set or a coarser view of the stages are then one piece of arithmetic.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from jaxtyping import Int, Shaped
from numpy.typing import ArrayLike

from input_pipeline.stages import VIEWS


class Metrics(TypedDict):
    """Figures of one confusion matrix; shares are in [0, 1].

    With counts of shape `[..., classes, classes]` each scalar is an array `[...]` and each figure
    per class an array `[..., classes]`.
    """

    clips: Any  # number of scored clips
    accuracy: Any
    macro_f1: Any  # mean F1 of all classes; a class in neither truth nor prediction counts as 0
    kappa: Any  # Cohen's kappa (paper Eq. 16); nan where chance agreement is already complete
    kappa_linear: Any  # weighted by the distance of the classes' indices; nan as kappa
    kappa_quadratic: Any  # … by its square (Cohen 1968, as scikit-learn's cohen_kappa_score)
    pabak: Any  # kappa with every class equally likely by chance (Byrt 1993)
    balanced_accuracy: Any  # mean recall of the classes that are there
    mcc: Any  # Matthews correlation (Gorodkin's R_K); 0 where truth or prediction is constant
    recall: Any  # the paper's "per-class accuracy"; nan for a class without clips
    precision: Any  # nan for a class that is never predicted
    f1: Any  # 0 for a class in neither; nan without any clip
    support: Any  # clips of each class


def count_confusion(
    truth: Int[np.ndarray, " clips"], predicted: Int[np.ndarray, " clips"], classes: int
) -> Int[np.ndarray, "classes classes"]:
    """Counts int64 of (truth, prediction) on the host; clips with a negative truth are left out."""
    scored = truth >= 0
    cells = truth[scored].astype(np.int64) * classes + predicted[scored]
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def collapse(
    counts: Shaped[np.ndarray, "*more classes classes"], view: int
) -> Shaped[np.ndarray, "*more view view"]:
    """Counts of the five stages seen as 4 (W, light, deep, REM), 3 (W, NREM, REM) or 2 (W, sleep).

    Args:
        counts: counts of the five stages, any leading axes.
        view: a key of `input_pipeline.stages.VIEWS`.
    """
    names, new_label = VIEWS[view]
    member = np.eye(len(names), dtype=np.asarray(counts).dtype)[list(new_label)]
    return np.einsum("...tp,ta,pb->...ab", counts, member, member)


def _divide(numerator: ArrayLike, denominator: ArrayLike, otherwise: float) -> np.ndarray:
    denominator = np.asarray(denominator)
    empty = denominator == 0
    return np.where(empty, otherwise, numerator / np.where(empty, 1, denominator))


def _weighted_kappa(counts: np.ndarray, power: int) -> np.ndarray:
    at = np.arange(counts.shape[-1], dtype=np.float64)
    weight = np.abs(at[:, None] - at) ** power
    chance = np.einsum("...t,tp,...p->...", counts.sum(-1), weight, counts.sum(-2))
    disagreement = (weight * counts).sum((-2, -1)) * counts.sum((-2, -1))
    return 1 - _divide(disagreement, chance, np.nan)


def from_confusion(counts: Shaped[np.ndarray, "*more classes classes"]) -> Metrics:
    """Figures of confusion counts, for one matrix or for a stack of them at once.

    Args:
        counts: rows truth, columns prediction; any leading axes.

    Returns:
        One matrix gives Python floats and lists, a stack gives arrays. A figure that is not defined
        (recall of a class without clips, kappa of a single class) is nan: `json_ready` writes null.
    """
    counts = np.asarray(counts, dtype=np.float64)
    truth, predicted = counts.sum(-1), counts.sum(-2)
    correct = np.diagonal(counts, axis1=-2, axis2=-1)
    clips, hits = truth.sum(-1), correct.sum(-1)
    classes = counts.shape[-1]
    recall = _divide(correct, truth, np.nan)
    present = truth > 0
    chance = (truth * predicted).sum(-1)  # clips^2 times the agreement expected by chance
    spread = (clips**2 - (truth**2).sum(-1)) * (clips**2 - (predicted**2).sum(-1))
    f1 = _divide(2 * correct, truth + predicted, 0.0)
    f1 = np.where(clips[..., None] == 0, np.nan, f1)
    values: dict[str, np.ndarray] = {
        "clips": clips.astype(np.int64),
        "accuracy": _divide(hits, clips, np.nan),
        "macro_f1": f1.mean(-1),
        "kappa": _divide(hits * clips - chance, clips**2 - chance, np.nan),
        "kappa_linear": _weighted_kappa(counts, 1),
        "kappa_quadratic": _weighted_kappa(counts, 2),
        "pabak": _divide(hits * classes - clips, clips * (classes - 1), np.nan),
        "balanced_accuracy": _divide(
            np.where(present, recall, 0.0).sum(-1), present.sum(-1), np.nan
        ),
        "mcc": np.where(clips == 0, np.nan, _divide(hits * clips - chance, np.sqrt(spread), 0.0)),
        "recall": recall,
        "precision": _divide(correct, predicted, np.nan),
        "f1": f1,
        "support": truth.astype(np.int64),
    }
    if counts.ndim == 2:
        return Metrics(**{name: value.tolist() for name, value in values.items()})
    return Metrics(**values)


def json_ready(value: Any) -> Any:
    """`value` in plain Python numbers and lists, with None for what is not a finite number."""
    if isinstance(value, Mapping):
        return {str(key): json_ready(item) for key, item in value.items()}
    if isinstance(value, str) or value is None:
        return value
    if hasattr(value, "tolist"):
        return json_ready(value.tolist())
    if isinstance(value, Sequence):
        return [json_ready(item) for item in value]
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value
