"""Compares runs on one test set: figures with intervals, and differences beyond noise.

Read from the folders of the runs alone; shown and stored by `comparison_files`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped

from input_pipeline.errors import UserError
from input_pipeline.stages import STAGES
from sacd_jax.report import statistics, wording
from sacd_jax.report.night_agreement import NightAgreement, night_agreement
from sacd_jax.report.reliability import Reliability, reliability
from sacd_jax.report.runs import Run, check_same_clips, read_run
from sacd_jax.report.statistics import Difference, Estimate
from sacd_jax.report.strata import Grouping, Stratum, groupings, strata

JUDGED = ("accuracy", "macro_f1", "kappa", *(f"recall/{name}" for name in STAGES))


@dataclass(frozen=True)
class Row:
    """One line of the comparison.

    Attributes:
        name: as given by the caller.
        kind: "majority", "ceiling" or "run".
        explanation: one sentence for a newcomer, or "".
        counts: confusion counts of each test subject.
        figures: every figure of `statistics.figures` with its interval over subjects.
    """

    name: str
    kind: str
    explanation: str
    counts: Int[np.ndarray, "subjects classes classes"]
    figures: dict[str, Estimate]


@dataclass(frozen=True)
class Results:
    """What `compare` found."""

    rows: tuple[Row, ...]
    differences: dict[tuple[str, str], dict[str, Difference]]  # (run, reference) -> figure -> …
    subjects: Shaped[np.ndarray, " subjects"]
    groupings: tuple[Grouping, ...]
    strata: dict[str, dict[str, dict[str, Stratum]]]  # row -> title of a grouping -> group -> …
    runs: tuple[Run, ...]
    reliability: dict[str, Reliability]  # of each run
    nights: dict[str, NightAgreement]  # of each run
    dataset_info: dict[str, Any]

    def row(self, name: str) -> Row:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    @property
    def simulated(self) -> bool:
        """Whether the nights are simulated."""
        return bool(self.dataset_info.get("simulated", False))

    @property
    def leaks(self) -> bool:
        """Whether training and validation share subjects (split mode `paper_val`)."""
        return self.dataset_info.get("split_mode", "subject") != "subject"

    @property
    def caution(self) -> tuple[str, ...]:
        """Sentences that must accompany the figures."""
        return wording.cautions(self.dataset_info)


CEILING_EXPLANATIONS = {
    "hidden signals": "a plain classifier that is handed the simulator's true breathing and "
    "movement, complete: about the most a video could tell",
    "hidden signals at frame times": "the same, but only at the moments of the frames that the "
    "video network is shown",
}


def compare(
    runs: Mapping[str, Path],
    ceiling: Mapping[str, Int[np.ndarray, " clips"]],
    dataset_info: Mapping[str, Any],
    *,
    differences: Sequence[tuple[str, str]] | None = None,
    explanations: Mapping[str, str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Results:
    """Compares finished runs on the test set they share.

    Args:
        runs: name -> run directory, in the order of the table; names are free.
        ceiling: name -> predicted stage of each test row, in the split's order.
        dataset_info: what is known of the data; `simulated` and `split_mode` are looked at.
        differences: pairs (run, reference) to judge; by default the last run against the one
            before it.
        explanations: name of a row -> one sentence about it.
        resamples: bootstrap samples of subjects.
        seed: of the bootstrap.

    Raises:
        UserError: a run's file is missing or broken, or runs were tested on different clips.
    """
    if not runs:
        raise UserError("no runs to compare; expected at least one run directory")
    read = tuple(read_run(name, Path(folder)) for name, folder in runs.items())
    check_same_clips(read)
    first = read[0].predictions
    classes = first.logits.shape[1]
    if any(run.predictions.logits.shape[1] != classes for run in read) or classes != len(STAGES):
        found = {run.name: run.predictions.logits.shape[1] for run in read}
        raise UserError(f"runs predict {found} classes; expected {len(STAGES)} sleep stages")
    if not (first.stage >= 0).any():
        raise UserError("no test clip has a stage: there is nothing to compare")

    said = CEILING_EXPLANATIONS | dict(explanations or {})
    predicted: list[tuple[str, str, np.ndarray]] = []
    shares = np.bincount(first.stage[first.stage >= 0], minlength=classes)
    most = int(shares.argmax())
    constant = f"always {STAGES[most]}"
    said.setdefault(constant, "the most frequent stage of the test clips, whatever is seen")
    predicted.append((constant, "majority", np.full_like(first.stage, most)))
    for name, stages in ceiling.items():
        predicted.append((name, "ceiling", _ceiling_rows(name, np.asarray(stages), read[0])))
    predicted += [(run.name, "run", run.predictions.predicted) for run in read]

    subjects = np.unique(first.subject_id)
    draws = statistics.resample_subjects(len(subjects), resamples, seed)
    rows = []
    for name, kind, stages in predicted:
        _, counts = statistics.subject_confusion(first.stage, stages, first.subject_id, classes)
        figures = statistics.estimates(counts, STAGES, draws)
        rows.append(Row(name, kind, said.get(name, ""), counts, figures))
    by_name = {row.name: row for row in rows if row.kind != "majority"}
    if differences is None:
        names = [run.name for run in read]
        differences = [(names[-1], names[-2])] if len(names) > 1 else []
    judged = {}
    for pair in differences:
        for name in pair:
            if name not in by_name:
                raise UserError(f"no run {name!r} to compare; there are {', '.join(by_name)}")
        ours, theirs = (by_name[name].counts for name in pair)
        found = statistics.differences(ours, theirs, STAGES, draws)
        judged[pair] = {name: found[name] for name in JUDGED}
    divided = tuple(by for by in groupings(first, subjects) if by.known)
    return Results(
        rows=tuple(rows),
        differences=judged,
        subjects=subjects,
        groupings=divided,
        strata={
            row.name: {by.title: strata(row.counts, by, resamples, seed) for by in divided}
            for row in rows
            if row.kind != "majority"
        },
        runs=read,
        reliability={
            run.name: reliability(run.predictions, run.temperature, draws) for run in read
        },
        nights={run.name: night_agreement(run.predictions) for run in read},
        dataset_info=dict(dataset_info),
    )


def _ceiling_rows(name: str, stages: np.ndarray, run: Run) -> np.ndarray:
    """The ceiling's stages of the clips that the run was tested on."""
    index = run.predictions.index
    if stages.ndim != 1 or len(stages) <= index.max():
        raise UserError(
            f"ceiling {name!r} has shape {stages.shape}; expected one stage for each of the "
            f"{int(index.max()) + 1} test rows"
        )
    return stages[index]
