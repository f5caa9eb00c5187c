"""Figures of groups of test subjects: by severity of apnoea, by sex, by age; in all class views."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Shaped

from input_pipeline.stages import AHI_GROUPS, STAGES, VIEWS, ahi_group
from sacd_jax.metrics import collapse
from sacd_jax.report import statistics
from sacd_jax.report.statistics import Estimate
from sacd_jax.runs.predictions import Predictions, mean_over_nights

FEWEST_SUBJECTS = 5
"""Below this a group has no figures: its subjects say more about themselves than about a group."""

FIGURES = ("accuracy", "macro_f1", "kappa")

SEXES = ("female", "male")
_SEX = {"F": 0, "M": 1}
AGE_GROUPS = ("below 18", "18 to 39", "40 to 59", "60 and above")
_AGE_EDGES = (18, 40, 60)


@dataclass(frozen=True)
class Grouping:
    """A way to divide subjects.

    Attributes:
        title: what it is by.
        labels: of the groups.
        group: of each subject, an index into the labels; -1 where it is not known.
    """

    title: str
    labels: tuple[str, ...]
    group: Int[np.ndarray, " subjects"]

    @property
    def known(self) -> bool:
        """Whether anything is known of anybody."""
        return bool((self.group >= 0).any())


@dataclass(frozen=True)
class Stratum:
    """A group in one run.

    Attributes:
        subjects: in the group.
        clips: of them, scored.
        views: number of classes -> figure -> its value with an interval over the group's subjects;
            {} where there are fewer than `FEWEST_SUBJECTS`.
    """

    subjects: int
    clips: int
    views: dict[int, dict[str, Estimate]]


def groupings(
    predictions: Predictions, subjects: Shaped[np.ndarray, " subjects"]
) -> tuple[Grouping, ...]:
    """By AHI and age, the means over each subject's nights, and sex, the first that is known."""
    nights = predictions.night_id, predictions.subject_id, subjects
    ahi, age = (mean_over_nights(each, *nights) for each in (predictions.ahi, predictions.age))
    known = predictions.sex != ""
    sex = [predictions.sex[(predictions.subject_id == name) & known][:1] for name in subjects]
    severity = [ahi_group(each) if np.isfinite(each) and each >= 0 else -1 for each in ahi]
    years = np.where(np.isfinite(age), np.searchsorted(_AGE_EDGES, age, side="right"), -1)
    return (
        Grouping("severity of apnoea (AHI)", AHI_GROUPS, np.array(severity, int)),
        Grouping("sex", SEXES, np.array([_SEX.get("".join(each), -1) for each in sex], int)),
        Grouping("age", AGE_GROUPS, years),
    )


def strata(
    counts: Int[np.ndarray, "subjects classes classes"],
    grouping: Grouping,
    resamples: int,
    seed: int = 0,
) -> dict[str, Stratum]:
    """Figures of each group that has subjects, in the order of its labels.

    Args:
        counts: confusion counts of each subject.
        grouping: of the same subjects.
        resamples: bootstrap samples of each group's subjects.
        seed: of the bootstrap.
    """
    found = {}
    for at, label in enumerate(grouping.labels):
        chosen = counts[grouping.group == at]
        if not len(chosen):
            continue
        views = {}
        if len(chosen) >= FEWEST_SUBJECTS:
            draws = statistics.resample_subjects(len(chosen), resamples, seed)
            for view, (names, _) in VIEWS.items():
                seen = chosen if view == len(STAGES) else collapse(chosen, view)
                figures = statistics.estimates(seen, names, draws)
                views[view] = {name: figures[name] for name in FIGURES}
        found[label] = Stratum(len(chosen), int(chosen.sum()), views)
    return found
