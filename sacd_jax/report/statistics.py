"""How sure a figure is: intervals and tests over subjects.

Clips of one sleeper are alike, so the unit that is resampled and tested is the subject, never the
clip. Everything works on confusion counts per subject, `[subjects, classes, classes]`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from sacd_jax.metrics import count_confusion, from_confusion

LEVEL = 0.95
"""Coverage of the intervals; a test is called significant below 1 - LEVEL."""

FEWEST_SUBJECTS = 6
"""Below this a two-sided signed-rank test cannot reach p < 0.05, whatever the differences are."""

_SCALARS = (
    "accuracy",
    "macro_f1",
    "kappa",
    "kappa_linear",
    "kappa_quadratic",
    "pabak",
    "balanced_accuracy",
    "mcc",
)
_PER_CLASS = ("recall", "precision", "f1")


@dataclass(frozen=True)
class Estimate:
    """A figure with its interval over subjects; low and high are nan where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference:
    """A figure of one run minus that of another on the same subjects."""

    value: float  # difference of the pooled figures
    low: float  # paired bootstrap interval
    high: float
    p: float  # Wilcoxon signed-rank over subjects, two-sided
    subjects: int  # subjects in which both figures are defined
    better: int  # … and in how many of them the figure is higher, lower
    worse: int
    verdict: str  # "better", "worse", "within noise" or "too few subjects"

    @property
    def within_noise(self) -> bool:
        """True unless the interval leaves out zero and the test agrees."""
        return self.verdict not in ("better", "worse")


def subject_confusion(
    truth: Int[np.ndarray, " clips"],
    predicted: Int[np.ndarray, " clips"],
    subject: Shaped[np.ndarray, " clips"],
    classes: int,
) -> tuple[Shaped[np.ndarray, " subjects"], Int[np.ndarray, "subjects classes classes"]]:
    """Subjects in sorted order and the counts of each; a subject without scored clips has zeros."""
    names, at = np.unique(subject, return_inverse=True)
    counts = [
        count_confusion(truth[at == row], predicted[at == row], classes)
        for row in range(len(names))
    ]
    return names, np.array(counts, dtype=np.int64).reshape(len(names), classes, classes)


def figures(
    counts: Shaped[np.ndarray, "*more classes classes"], names: Sequence[str]
) -> dict[str, Shaped[np.ndarray, "*more"]]:
    """All figures under flat names: `accuracy`, …, `recall/N1`, `precision/N1`, `f1/N1`, …"""
    found = from_confusion(counts)
    flat = {name: np.asarray(found[name]) for name in _SCALARS}
    for kind in _PER_CLASS:
        values = np.asarray(found[kind])
        flat |= {f"{kind}/{name}": values[..., at] for at, name in enumerate(names)}
    return flat


def resample_subjects(
    subjects: int, resamples: int = 2000, seed: int = 0
) -> Int[np.ndarray, "resamples subjects"]:
    """How often each subject is drawn in each bootstrap sample (drawn with replacement).

    Use the same draws for all runs on one test set: their differences are then paired.
    """
    rng = np.random.default_rng(seed)
    return rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples)


def interval(samples: Float[np.ndarray, " resamples"]) -> tuple[float, float]:
    """Percentile interval of the samples that are defined; nan where none is."""
    samples = samples[np.isfinite(samples)]  # a rare stage may be missing in a few samples
    if not samples.size:
        return float("nan"), float("nan")
    low, high = np.quantile(samples, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _resampled(
    counts: Int[np.ndarray, "subjects classes classes"],
    draws: Int[np.ndarray, "resamples subjects"],
    names: Sequence[str],
) -> dict[str, Float[np.ndarray, " resamples"]]:
    return figures(np.tensordot(draws, counts, axes=1), names)


def estimates(
    counts: Int[np.ndarray, "subjects classes classes"],
    names: Sequence[str],
    draws: Int[np.ndarray, "resamples subjects"],
) -> dict[str, Estimate]:
    """Each figure over all clips with its percentile bootstrap interval over subjects.

    With one subject there is nothing to resample: the interval is nan.
    """
    pooled = figures(counts.sum(0), names)
    samples = _resampled(counts, draws, names)
    nothing = (float("nan"), float("nan"))
    return {
        name: Estimate(float(value), *(interval(samples[name]) if len(counts) > 1 else nothing))
        for name, value in pooled.items()
    }


def differences(
    counts: Int[np.ndarray, "subjects classes classes"],
    reference: Int[np.ndarray, "subjects classes classes"],
    names: Sequence[str],
    draws: Int[np.ndarray, "resamples subjects"],
) -> dict[str, Difference]:
    """Each figure of a run minus that of a reference on the same subjects, judged over subjects.

    A difference is called better or worse only if the paired bootstrap interval leaves out zero
    and the Wilcoxon signed-rank test gives p < 0.05. Counts of several seeds may be summed
    before: what is judged is then their mean against the spread over subjects.
    """
    pooled, pooled_reference = figures(counts.sum(0), names), figures(reference.sum(0), names)
    samples, samples_reference = (_resampled(of, draws, names) for of in (counts, reference))
    alone, alone_reference = figures(counts, names), figures(reference, names)
    found = {}
    for name in pooled:
        low, high = interval(samples[name] - samples_reference[name])
        each = alone[name] - alone_reference[name]
        each = np.round(each[np.isfinite(each)], 12)  # equal differences are ties
        value = float(pooled[name] - pooled_reference[name])
        p = signed_rank_p(each)
        if len(each) < FEWEST_SUBJECTS:
            verdict = "too few subjects"
        elif p < 1 - LEVEL and (low > 0 or high < 0):
            verdict = "better" if value > 0 else "worse"
        else:
            verdict = "within noise"
        found[name] = Difference(
            value=value,
            low=low if len(counts) > 1 else float("nan"),
            high=high if len(counts) > 1 else float("nan"),
            p=p,
            subjects=len(each),
            better=int((each > 0).sum()),
            worse=int((each < 0).sum()),
            verdict=verdict,
        )
    return found


def signed_rank_p(differences: Float[np.ndarray, " subjects"]) -> float:
    """Two-sided p of Wilcoxon's signed-rank test without zero differences; 1 if all are zero."""
    moved = differences[differences != 0]
    if not moved.size:
        return 1.0
    from scipy import stats  # slow to import

    return float(stats.wilcoxon(moved).pvalue)
