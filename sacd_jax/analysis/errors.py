"""Clips that show where two networks go right and wrong (the paper's Figs. 11 to 13)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from sacd_jax.metrics import count_confusion

CORRECTED, BORDER, CONFUSED = "corrected", "stage border", "main confusion"
"""Why a clip is shown: only the second network is right (Fig. 11); both are wrong where the stage
changes (Fig. 12); the second makes the stage's most common error (Fig. 13)."""

KINDS = (CORRECTED, BORDER, CONFUSED)


@dataclass(frozen=True)
class Case:
    """A clip to show."""

    kind: str
    stage: int  # the truth
    row: int  # of the predictions


def neighbours(
    night_id: Shaped[np.ndarray, " clips"],
    clip_index: Int[np.ndarray, " clips"],
    stage: Int[np.ndarray, " clips"],
) -> tuple[Int[np.ndarray, " clips"], Int[np.ndarray, " clips"]]:
    """Stage of the clip right before and right after, -1 where the night has none or a gap."""
    order = np.lexsort((clip_index, night_id))
    night, index = night_id[order], clip_index[order]
    follows = np.flatnonzero((night[1:] == night[:-1]) & (np.diff(index) == 1))
    before, after = np.full((2, len(stage)), -1)
    before[order[follows + 1]] = stage[order[follows]]
    after[order[follows]] = stage[order[follows + 1]]
    return before, after


def stage_borders(
    stage: Int[np.ndarray, " clips"],
    before: Int[np.ndarray, " clips"],
    after: Int[np.ndarray, " clips"],
) -> Bool[np.ndarray, " clips"]:
    """Whether a neighbour has another stage; clips that nobody scored make no border."""
    differs = ((before >= 0) & (before != stage)) | ((after >= 0) & (after != stage))
    return (stage >= 0) & differs


def main_confusions(
    stage: Int[np.ndarray, " clips"], predicted: Int[np.ndarray, " clips"], classes: int
) -> Int[np.ndarray, " classes"]:
    """What each stage is most often taken for; -1 where it never is for another."""
    counts = np.array(count_confusion(stage, predicted, classes))
    np.fill_diagonal(counts, 0)
    return np.where(counts.sum(-1) > 0, counts.argmax(-1), -1)


def select(
    stage: Int[np.ndarray, " clips"],
    first: Float[np.ndarray, "clips classes"],
    second: Float[np.ndarray, "clips classes"],
    border: Bool[np.ndarray, " clips"],
) -> list[Case]:
    """One clip a stage and kind, where there is one: that of which the second network is surest.

    Args:
        stage: the truth; -1 where nobody scored.
        first, second: the two networks' probabilities.
        border: of `stage_borders`.
    """
    said_first, said_second = first.argmax(-1), second.argmax(-1)
    confusion = main_confusions(stage, said_second, second.shape[1])
    wrong = said_second != stage
    fits = {
        CORRECTED: (said_first != stage) & ~wrong,
        BORDER: (said_first != stage) & wrong & border,
        CONFUSED: wrong & (said_second == np.where(stage >= 0, confusion[stage], -1)),
    }
    sureness, cases = second.max(-1), []
    for kind in KINDS:
        for one in range(second.shape[1]):
            rows = np.flatnonzero(fits[kind] & (stage == one))
            if rows.size:
                cases.append(Case(kind, one, int(rows[np.argmax(sureness[rows])])))
    return cases
