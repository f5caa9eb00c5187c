"""A difference judged over test subjects and seeds together.

A test over the subjects of one run knows nothing of the seed, and one over the seeds nothing of the
subjects. Here each subject's figure under each seed, method minus reference, is the sum of a mean,
an effect of the subject, one of the seed and a rest, all three random (a two-way mixed model
without replication), so the answer is for other subjects and other seeds.

On simulated studies without an effect, p is below 0.05 in 4 to 6 % with five seeds or more, in some
7 % with three, and in fewer than 2 % where neither subjects nor seeds have an effect of their own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

POWER = 0.8
"""Chance with which the detectable difference would be found."""


@dataclass(frozen=True)
class CrossedDifference:
    """The mean difference over subjects and seeds.

    Attributes:
        value: the mean over subjects, each with the same weight.
        low, high: its 95 % interval.
        p: two-sided, that the true mean is 0.
        detectable: the smallest true difference that a study of this size and spread finds at the
            5 % level in about `POWER` of all cases; as uncertain as the spread it comes from.
        subjects: that count: those in whom the figure is defined under every seed.
        seeds: that both have.
    """

    value: float
    low: float
    high: float
    p: float
    detectable: float
    subjects: int
    seeds: int


def crossed_difference(
    differences: Float[np.ndarray, "subjects seeds"], level: float = 0.95
) -> CrossedDifference | None:
    """Judges differences by the mean squares of the two-way layout.

    The variance of the mean is (subjects' + seeds' - rest's mean square) / cells, never less than
    by one of the first two alone; its degrees of freedom are Satterthwaite's (1946).

    Args:
        differences: nan where a subject has no such figure.
        level: coverage of the interval.

    Returns:
        None with fewer than two subjects or seeds, for which there is no such variance.
    """
    cells = differences[np.isfinite(differences).all(axis=1)]
    subjects, seeds = cells.shape
    if min(subjects, seeds) < 2:
        return None
    from scipy import stats  # slow to import

    value = float(cells.mean())
    by_subject, by_seed = cells.mean(axis=1), cells.mean(axis=0)
    rest = cells - by_subject[:, None] - by_seed + value
    freedom = np.array([subjects - 1, seeds - 1, (subjects - 1) * (seeds - 1)])
    squares = np.array(
        [
            seeds * np.sum((by_subject - value) ** 2),
            subjects * np.sum((by_seed - value) ** 2),
            np.sum(rest**2),
        ]
    )
    mean_squares = squares / freedom
    total = max(mean_squares[0] + mean_squares[1] - mean_squares[2], *mean_squares[:2])
    if total == 0:  # the same difference everywhere
        return CrossedDifference(value, value, value, float(value == 0), 0.0, subjects, seeds)
    error = float(np.sqrt(total / cells.size))
    df = total**2 / np.sum(mean_squares**2 / freedom)
    reach = float(stats.t.ppf(0.5 + level / 2, df)) * error
    return CrossedDifference(
        value=value,
        low=value - reach,
        high=value + reach,
        p=float(2 * stats.t.sf(abs(value) / error, df)),
        detectable=reach + float(stats.t.ppf(POWER, df)) * error,
        subjects=subjects,
        seeds=seeds,
    )


def holm(p: Sequence[float]) -> list[float]:
    """p values corrected for their number (Holm 1979), in their order; 1 at most.

    The chance that any true null hypothesis among them falls below a level is at most that level,
    whatever their dependence.
    """
    order = np.argsort(p, kind="stable")
    corrected, highest = [0.0] * len(p), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(p) - rank) * float(p[at])))
        corrected[at] = highest
    return corrected
