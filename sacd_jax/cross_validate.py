"""Leaves every subject out once: trains an experiment anew for each, and tests on that subject.

For cohorts that are too small for a test set. Each fold has a data set of its own (the same clips,
divided otherwise) and a folder of its own; the same command goes on where an earlier one stopped.
"""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import jax

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets import DatasetSettings, prepare
from input_pipeline.datasets.building import folder_names
from input_pipeline.datasets.dataset_files import SPLITS_FILE, read_info
from input_pipeline.errors import UserError
from input_pipeline.files import only_results
from input_pipeline.splits import LEAVE_ONE_OUT, read_splits
from sacd_jax import parallel
from sacd_jax.command_line import Parser
from sacd_jax.config import Experiment, as_json
from sacd_jax.report import cross_validation, tables
from sacd_jax.runs import run_folder
from sacd_jax.training.loop import train

EXAMPLE = (
    "python -m sacd_jax.cross_validate --config configs/s3ve_teacher.py:teacher=attnsleep "
    "--workdir runs/folds --config.dataset.manifest=nights.csv"
)


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
    # Without those whom nobody scored; in the order of `splits.LEAVE_ONE_OUT`.
    left_out = sorted(subject for members in split.groups.values() for subject in members)
    folds = len(left_out)
    chosen = _numbers(values.folds, folds) if values.folds else range(folds)
    refuse_others(experiment, workdir, [fold for fold in range(folds) if fold not in chosen])
    for fold in chosen:
        last = fold == folds - 1
        dataset = _fold_data(experiment.dataset, fold, data, keep_decoded=not last)
        for name, run in experiment.runs.items():
            train(run, cross_validation.fold_folder(workdir, fold, name).path, dataset)
    if jax.process_index() == 0:
        names, classes = list(experiment.runs), read_info(dataset).classes
        with only_results(workdir):
            written = cross_validation.write_tables(workdir, names, left_out, classes)
        for each in written:
            tables.show(each)
        print(f"table: {workdir / cross_validation.MARKDOWN}")
    parallel.wait_for_all("table")


def _fold_settings(settings: DatasetSettings, fold: int) -> DatasetSettings:
    if settings.ucf51 is not None or settings.split_file is not None:
        raise UserError(
            f"dataset {settings.name}: its split is given; leaving subjects out needs nights and "
            "no split_file"
        )
    return replace(settings, split=replace(settings.split, mode=LEAVE_ONE_OUT, fold=fold))


def _fold_data(settings: DatasetSettings, fold: int, data: Path, keep_decoded: bool) -> Path:
    return prepare(_fold_settings(settings, fold), data, keep_decoded=keep_decoded)


def refuse_others(experiment: Experiment, workdir: Path, folds: Sequence[int]) -> None:
    """Refuses folds that were trained earlier with other settings or on other data: the table would
    pool them with those of now.

    Args:
        experiment: of now.
        workdir: folder of the folds.
        folds: that are not trained now; each may be there or not.

    Raises:
        UserError: names the fold and what differs.
    """
    known = [
        (fold, name, cross_validation.fold_folder(workdir, fold, name))
        for fold in folds
        for name in experiment.runs
    ]
    known = [(fold, name, folder) for fold, name, folder in known if folder.config.exists()]
    if not known:
        return
    variants = [_fold_settings(experiment.dataset, fold) for fold, _, _ in known]
    for (fold, name, folder), expected in zip(known, folder_names(variants), strict=True):
        run_folder.refuse_other(folder.path, {"run": as_json(experiment.runs[name])})
        if run_folder.read_run(folder.path)[1].name != expected:
            raise UserError(
                f"run {name!r} of fold {fold} was trained on other nights, or on clips made "
                f"otherwise; delete {folder.path.parent} and train it again"
            )


def _numbers(text: str, folds: int) -> list[int]:
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) < folds for part in parts):
        raise UserError(f"--folds is {text!r}, expected numbers from 0 to {folds - 1} with commas")
    return [int(part) for part in parts]


if __name__ == "__main__":
    with one_line_errors():
        main()
