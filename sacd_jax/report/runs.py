"""What a report knows of a run: the files of its run directory, read with suspicion."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from input_pipeline.errors import UserError
from sacd_jax.report.statistics import subject_confusion
from sacd_jax.runs import goodput, log, predictions, run_folder, temperature
from sacd_jax.runs.goodput import Start
from sacd_jax.runs.predictions import Predictions
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.runs.temperature import Temperature


@dataclass(frozen=True)
class Run:
    """One training, as its run directory tells it."""

    name: str
    config: dict[str, Any]
    versions: dict[str, Any]
    lines: tuple[dict[str, Any], ...]  # metrics.jsonl, the last line of each step and split
    unreadable_lines: int
    predictions: Predictions
    starts: tuple[Start, ...] = ()  # where its time went; none noted by earlier versions
    temperature: Temperature | None = None


def read_run(name: str, folder: Path) -> Run:
    """Reads a run directory.

    Raises:
        UserError: a file is missing, truncated or not what it should be; names run and file.
    """
    if not folder.is_dir():
        raise UserError(f"run {name!r}: {folder} is not a folder (expected a run directory)")
    layout, stored = RunFolder(folder), log.read(folder)
    if stored.unreadable and not stored.lines:
        raise UserError(
            f"run {name!r}: {layout.metrics.name} has {stored.unreadable} lines and none is a log "
            "line"
        )
    said = predictions.read(name, layout.predictions("test"))
    weights = predictions.read_origin(name, layout.predictions("test")).get("weights", "")
    return Run(
        name=name,
        config=_read_stored(name, layout.config),
        versions=_read_stored(name, layout.versions),
        lines=tuple(stored.latest()),
        unreadable_lines=stored.unreadable,
        predictions=said,
        starts=_of_run(name, lambda: tuple(goodput.read(folder))),
        temperature=_of_run(name, lambda: temperature.read(layout, weights)),
    )


def _read_stored(name: str, path: Path) -> dict[str, Any]:
    return _of_run(name, lambda: run_folder.read_stored(path)) if path.is_file() else {}


def _of_run[Value](name: str, read: Callable[[], Value]) -> Value:
    """What is read; an error names the run."""
    try:
        return read()
    except UserError as error:
        raise UserError(f"run {name!r}: {error}") from error


def series(
    lines: Sequence[dict[str, Any]], split: str, name: str
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Steps and values of one logged quantity of a split; both empty if it was never logged."""
    points = []
    for entry in lines:
        value = entry.get(name)
        if entry["split"] == split and isinstance(value, int | float) and np.isfinite(value):
            points.append((float(entry["step"]), float(value)))
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    return steps, values


def subject_counts(
    predicted: Predictions,
) -> tuple[Shaped[np.ndarray, " subjects"], Int[np.ndarray, "subjects classes classes"]]:
    """Subjects in sorted order and the confusion counts of each, as `tables.MethodRow` asks."""
    classes = predicted.logits.shape[1]
    return subject_confusion(predicted.stage, predicted.predicted, predicted.subject_id, classes)


def check_same_clips(runs: Sequence[Run]) -> None:
    """Raises a UserError that names both runs if two runs were not tested on the same clips."""
    predictions.check_same_clips([(run.name, run.predictions) for run in runs])
