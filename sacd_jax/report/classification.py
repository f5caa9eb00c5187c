"""Runs on data of other classes than sleep stages: one short table."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from input_pipeline.files import whole_file, write_json
from sacd_jax.report.runs import check_same_clips, read_run, subject_counts
from sacd_jax.report.tables import MethodRow, method_table
from sacd_jax.runs.run_folder import ExperimentFolder

COLUMNS = ("accuracy", "macro_f1", "balanced_accuracy")


def write(
    runs: Mapping[str, Path], classes: Sequence[str], split_mode: str, folder: ExperimentFolder
) -> Path:
    """Compares finished runs on the test split they share; each against the one before the last.

    Prints the table and writes it as table.md and results.json; returns the path of the first.

    Args:
        runs: name -> run directory, in the order of the table.
        classes: names of the classes.
        split_mode: how the data were split; stands below the table.
        folder: of the experiment.

    Raises:
        UserError: a run's file is missing or broken, or runs were tested on different clips.
    """
    read = [read_run(name, path) for name, path in runs.items()]
    check_same_clips(read)
    rows = [MethodRow(run.name, {0: subject_counts(run.predictions)[1]}) for run in read]
    clips = len(read[0].predictions.index)
    markdown, value = method_table(
        rows,
        reference=read[-2].name if len(read) > 1 else None,
        title=f"Test split: {clips} clips of {len(classes)} classes",
        columns=COLUMNS,
        names=classes,
        notes=(f"Split: {split_mode}.",),
    )
    print(markdown)
    with whole_file(folder.table) as temporary:
        temporary.write_text(markdown, encoding="utf-8")
    write_json(folder.results, value)
    return folder.table
