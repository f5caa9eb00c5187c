"""Runs on one test set side by side: what was tested, how well, and what differs beyond noise.

Read from run directories alone; written as results.json, table.md and one HTML page.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from jaxtyping import Int, Shaped

from input_pipeline.errors import UserError
from input_pipeline.files import whole_file, write_json
from input_pipeline.stages import AHI_GROUPS, STAGES, VIEWS, ahi_group
from sacd_jax.metrics import collapse, from_confusion, json_ready
from sacd_jax.report import statistics, tables
from sacd_jax.report.runs import Run, check_same_clips, read_run
from sacd_jax.report.statistics import Difference, Estimate
from sacd_jax.report.tables import Cell, Table

COLUMNS = tables.DEFAULT_COLUMNS
JUDGED = ("accuracy", "macro_f1", "kappa", *(f"recall/{name}" for name in STAGES))

RESULTS_FILE, TABLE_FILE, PAGE_FILE = "results.json", "table.md", "report.html"


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
    ahi_group: Int[np.ndarray, " subjects"]  # index into AHI_GROUPS, -1 unknown
    runs: tuple[Run, ...]
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
        """Sentences without which the figures must not be shown."""
        return cautions(self.dataset_info)


def cautions(dataset_info: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences without which figures on such data must not be shown."""
    said = []
    if dataset_info.get("simulated", False):
        said.append(
            "Simulated nights: these figures test the software and the method's mechanics. "
            "They say nothing about patients."
        )
    split_mode = dataset_info.get("split_mode", "subject")
    if split_mode != "subject":
        said.append(
            f"Split mode {split_mode}: validation clips come from training subjects (a leak kept "
            "for comparison with the paper)."
        )
    return tuple(said)


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
    return Results(
        rows=tuple(rows),
        differences=judged,
        subjects=subjects,
        ahi_group=_ahi_groups(subjects, first.subject_id, first.ahi),
        runs=read,
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


def _ahi_groups(subjects: np.ndarray, subject: np.ndarray, ahi: np.ndarray) -> np.ndarray:
    first_clip = [int(np.argmax(subject == name)) for name in subjects]
    known = [float(ahi[at]) for at in first_clip]
    return np.array(
        [ahi_group(value) if np.isfinite(value) and value >= 0 else -1 for value in known]
    )


def main_table(results: Results) -> Table:
    """All rows with all columns, intervals as details."""
    subjects = counted(len(results.subjects), "test subject")
    clips = int(results.rows[0].counts.sum())
    body = tuple(
        (
            Cell(row.name),
            *(tables.estimate_cell(column, row.figures[column]) for column in COLUMNS),
        )
        for row in results.rows
    )
    header = ("", *(tables.heading(column) for column in COLUMNS))
    notes = [
        f"{subjects}, {clips} scored clips of 30 s. Percent, kappa as it is. W to REM: recall, the "
        "share of the stage's clips that are found.",
        "Under each value: its 95 % interval over subjects (bootstrap of whole subjects)."
        if len(results.subjects) > 1
        else "One test subject: there are no intervals over subjects.",
        *results.caution,
    ]
    return Table("Sleep staging of the test subjects", header, body, tuple(notes))


def counted(number: int, thing: str) -> str:
    """1 subject, 2 subjects."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def difference_table(results: Results, pair: tuple[str, str]) -> Table:
    """One run minus another: each figure with interval, test and verdict."""
    body = tuple(
        (
            Cell(
                f"recall of {name.removeprefix('recall/')}" if "/" in name else tables.heading(name)
            ),
            *tables.difference_cells(name, found),
        )
        for name, found in results.differences[pair].items()
    )
    header = ("", "difference", "95 % interval", "p", "subjects better", "verdict")
    note = (
        "Points of percent, kappa as it is. Interval: paired bootstrap of subjects; p: Wilcoxon "
        "signed-rank over subjects. Better or worse only where both agree; one training of each, "
        "so the spread over seeds is not in it."
    )
    return Table(f"{pair[0]} − {pair[1]}", header, body, (note,))


def views_table(results: Results) -> Table:
    """Accuracy and kappa when stages are merged to 4, 3 and 2 classes."""
    header = [""]
    for view, (names, _) in VIEWS.items():
        header += [f"{view}: {', '.join(names)}" if view != len(STAGES) else f"{view} stages", "κ"]
    body = []
    for row in results.rows:
        cells = [Cell(row.name)]
        for view in VIEWS:
            found = from_confusion(collapse(row.counts.sum(0), view))
            cells += [Cell(tables.number(name, found[name])) for name in ("accuracy", "kappa")]
        body.append(tuple(cells))
    return Table("Coarser views: accuracy and kappa", tuple(header), tuple(body))


def strata_table(results: Results) -> Table:
    """Accuracy of each row by the subjects' severity of apnoea."""
    sizes = {
        label: int((results.ahi_group == at).sum())
        for at, label in enumerate(AHI_GROUPS)
        if (results.ahi_group == at).any()
    }
    body = []
    for row in results.rows:
        parts = statistics.by_group(row.counts, results.ahi_group, AHI_GROUPS)
        accuracies = (from_confusion(parts[label].sum(0))["accuracy"] for label in sizes)
        body.append(
            (Cell(row.name), *(Cell(tables.number("accuracy", value)) for value in accuracies))
        )
    header = ("", *(f"{label} ({counted(size, 'subject')})" for label, size in sizes.items()))
    return Table("Accuracy by severity of apnoea (AHI group)", header, tuple(body))


def as_json(results: Results) -> dict[str, Any]:
    """Everything in the results but the networks' raw outputs, as a value for JSON."""
    value = {
        "caution": results.caution,
        "simulated": results.simulated,
        "dataset": results.dataset_info,
        "stages": STAGES,
        "subjects": results.subjects,
        "interval_level": statistics.LEVEL,
        "rows": {
            row.name: {
                "kind": row.kind,
                "explanation": row.explanation,
                "figures": {name: asdict(found) for name, found in row.figures.items()},
                "confusion": row.counts.sum(0),
                "confusion_by_subject": row.counts,
                "views": {
                    view: from_confusion(collapse(row.counts.sum(0), view)) for view in (4, 3, 2)
                },
                "by_ahi_group": {
                    label: from_confusion(counts.sum(0))
                    for label, counts in statistics.by_group(
                        row.counts, results.ahi_group, AHI_GROUPS
                    ).items()
                },
            }
            for row in results.rows
        },
        "differences": [
            {
                "run": run,
                "reference": reference,
                "figures": {
                    name: asdict(found) | {"within_noise": found.within_noise}
                    for name, found in judged.items()
                },
            }
            for (run, reference), judged in results.differences.items()
        ],
        "unreadable_log_lines": {run.name: run.unreadable_lines for run in results.runs},
    }
    return json_ready(value)


def show(results: Results, stream: TextIO | None = None) -> None:
    """Prints the tables: drawn on a terminal, plain text elsewhere."""
    tables.show(main_table(results), stream)
    for pair in results.differences:
        tables.show(difference_table(results, pair), stream)


def write(results: Results, folder: Path) -> Path:
    """Writes results.json, table.md and report.html into `folder`; returns the page's path."""
    from sacd_jax.report.comparison_page import comparison_page  # imports matplotlib: slow

    folder = Path(folder)
    write_json(folder / RESULTS_FILE, as_json(results))
    parts = [main_table(results), *(difference_table(results, p) for p in results.differences)]
    with whole_file(folder / TABLE_FILE) as temporary:
        temporary.write_text("\n".join(tables.markdown(part) for part in parts))
    with whole_file(folder / PAGE_FILE) as temporary:
        temporary.write_text(comparison_page(results))
    return folder / PAGE_FILE
