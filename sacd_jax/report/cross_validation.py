"""The tables of a cross-validation, in which every subject is tested on once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import whole_file, write_json
from sacd_jax.metrics import json_ready
from sacd_jax.report import statistics, tables
from sacd_jax.report.runs import subject_counts
from sacd_jax.report.tables import Cell, Table
from sacd_jax.runs import predictions
from sacd_jax.runs.run_folder import RunFolder

MARKDOWN, JSON = "cross_validation.md", "cross_validation.json"
COLUMNS = ("accuracy", "macro_f1", "kappa")


def fold_folder(workdir: Path, fold: int, name: str) -> RunFolder:
    """The folder of a run in one fold."""
    return RunFolder(workdir / f"fold{fold:03d}" / name)


def write_tables(
    workdir: Path,
    names: Sequence[str],
    left_out: Sequence[str],
    classes: Sequence[str],
    resamples: int = 2000,
) -> tuple[Table, Table]:
    """Writes the tables of the folds that are there, as Markdown and JSON.

    Args:
        names: the runs of each fold.
        left_out: the subject of each fold.
        classes: names of the classes.

    Returns:
        all subjects together, with intervals over subjects; and every subject alone.

    Raises:
        UserError: no fold has predictions of every run, a file is broken, or a fold was tested on
            somebody else: it was trained before subjects came or went.
    """
    folds = len(left_out)
    done = [
        fold
        for fold in range(folds)
        if all(fold_folder(workdir, fold, name).finished for name in names)
    ]
    if not done:
        raise UserError(f"{workdir}: no fold is finished")
    subjects = [left_out[fold] for fold in done]
    counts: dict[str, np.ndarray] = {}
    for name in names:
        found = [
            subject_counts(
                predictions.read(name, fold_folder(workdir, fold, name).predictions("test"))
            )
            for fold in done
        ]
        for fold, (ids, _) in zip(done, found, strict=True):
            if ids.tolist() != [left_out[fold]]:
                raise UserError(
                    f"run {name!r} of fold {fold} was tested on other subjects than "
                    f"{left_out[fold]}, whom this fold leaves out now; delete "
                    f"{fold_folder(workdir, fold, name).path.parent} and train it again"
                )
        counts[name] = np.concatenate([each for _, each in found])
    notes = [f"Each of {len(done)} subjects was tested on once, by networks that never saw them."]
    if len(done) < folds:
        missing = ", ".join(str(fold) for fold in range(folds) if fold not in done)
        notes.append(f"Folds that are not finished: {missing} (of 0 to {folds - 1}).")
    draws = statistics.resample_subjects(len(subjects), resamples)
    pooled = {name: statistics.estimates(each, classes, draws) for name, each in counts.items()}
    alone = {name: statistics.figures(each, classes) for name, each in counts.items()}
    together = Table(
        "All subjects together",
        ("run", *map(tables.heading, COLUMNS)),
        tuple(
            (Cell(name), *(tables.estimate_cell(column, found[column]) for column in COLUMNS))
            for name, found in pooled.items()
        ),
        (*notes, "In brackets: 95 % interval over subjects. Percent, kappa as it is."),
    )
    apart = Table(
        "Accuracy on the subject left out, in percent",
        ("subject", *names),
        tuple(
            (
                Cell(f"{fold}: {subject}"),
                *(Cell(tables.number("accuracy", alone[name]["accuracy"][row])) for name in names),
            )
            for row, (fold, subject) in enumerate(zip(done, subjects, strict=True))
        ),
    )
    with whole_file(workdir / MARKDOWN) as temporary:
        temporary.write_text("\n".join(map(tables.markdown, (together, apart))), encoding="utf-8")
    write_json(
        workdir / JSON,
        json_ready(
            {
                "folds": done,
                "of": folds,
                "subjects": subjects,
                "runs": {
                    name: {column: vars(found[column]) for column in COLUMNS}
                    | {"subject_accuracy": alone[name]["accuracy"]}
                    for name, found in pooled.items()
                },
            }
        ),
    )
    return together, apart
