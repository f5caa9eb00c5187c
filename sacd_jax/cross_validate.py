"""Leaves every subject out once: trains an experiment anew for each, and tests on that subject.

For cohorts that are too small for a test set. Each fold has a data set of its own (the same clips,
divided otherwise) and a folder of its own; the same command goes on where an earlier one stopped.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets import DatasetSettings, prepare
from input_pipeline.datasets.dataset_files import SPLITS_FILE, read_info
from input_pipeline.errors import UserError
from input_pipeline.files import whole_file, write_json
from input_pipeline.splits import LEAVE_ONE_OUT, SPLITS, read_splits
from sacd_jax import parallel
from sacd_jax.command_line import Parser
from sacd_jax.config import Experiment
from sacd_jax.evaluate import predictions_file
from sacd_jax.metrics import json_ready
from sacd_jax.report import statistics, tables
from sacd_jax.report.runs import read_predictions, subject_counts
from sacd_jax.report.tables import Cell, Table
from sacd_jax.train import train

EXAMPLE = (
    "python -m sacd_jax.cross_validate --config configs/s3ve_teacher.py:teacher=sen "
    "--workdir runs/folds --config.dataset.manifest=nights.csv"
)
TABLE = "cross_validation"
COLUMNS = ("accuracy", "macro_f1", "kappa")


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = Parser(__doc__, EXAMPLE)
    parser.add_argument("--data_dir", help="where data sets are built; <workdir>/data by default")
    parser.add_argument(
        "--folds", help="numbers of the folds to train here, with commas; all by default"
    )
    values = parser.parse(sys.argv[1:] if argv is None else argv, Experiment)
    workdir, experiment = Path(values.workdir), values.config
    data = Path(values.data_dir or workdir / "data")
    dataset = _fold_data(experiment.dataset, 0, data, keep_decoded=True)
    parallel.initialize()
    split = read_splits(dataset / SPLITS_FILE)
    folds = sum(len(getattr(split, part)) for part in SPLITS)
    chosen = _numbers(values.folds, folds) if values.folds else range(folds)
    for fold in chosen:
        last = fold == folds - 1
        dataset = _fold_data(experiment.dataset, fold, data, keep_decoded=not last)
        for name, run in experiment.runs.items():
            train(run, _folder(workdir, fold, name), dataset)
    if jax.process_index() == 0:
        for each in write_tables(workdir, list(experiment.runs), folds, read_info(dataset).classes):
            tables.show(each)
        print(f"table: {workdir / f'{TABLE}.md'}")
    parallel.wait_for_all("table")


def _fold_data(settings: DatasetSettings, fold: int, data: Path, keep_decoded: bool) -> Path:
    if settings.ucf51 is not None or settings.split_file is not None:
        raise UserError(
            f"dataset {settings.name}: its split is given; leaving subjects out needs nights and "
            "no split_file"
        )
    split = replace(settings.split, mode=LEAVE_ONE_OUT, fold=fold)
    return prepare(replace(settings, split=split), data, keep_decoded=keep_decoded)


def _numbers(text: str, folds: int) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) < folds for part in parts):
        raise UserError(f"--folds is {text!r}, expected numbers from 0 to {folds - 1} with commas")
    return [int(part) for part in parts]


def write_tables(
    workdir: Path, names: Sequence[str], folds: int, classes: Sequence[str], resamples: int = 2000
) -> tuple[Table, Table]:
    """Writes the tables of the folds that are there, as Markdown and JSON.

    Args:
        names: the runs of each fold.
        classes: names of the classes.

    Returns:
        all subjects together, with intervals over subjects; and every subject alone.

    Raises:
        UserError: no fold has predictions of every run, or a file is broken.
    """
    done = [
        fold
        for fold in range(folds)
        if all(predictions_file(_folder(workdir, fold, name), "test").exists() for name in names)
    ]
    if not done:
        raise UserError(f"{workdir}: no fold is finished")
    subjects: list[str] = []
    counts: dict[str, np.ndarray] = {}
    for name in names:
        found = [
            subject_counts(
                read_predictions(name, predictions_file(_folder(workdir, fold, name), "test"))
            )
            for fold in done
        ]
        subjects = [str(subject) for ids, _ in found for subject in ids]
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
    with whole_file(workdir / f"{TABLE}.md") as temporary:
        temporary.write_text("\n".join(map(tables.markdown, (together, apart))))
    write_json(
        workdir / f"{TABLE}.json",
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


def _folder(workdir: Path, fold: int, name: str) -> Path:
    return workdir / f"fold{fold:03d}" / name


if __name__ == "__main__":
    with one_line_errors():
        main()
