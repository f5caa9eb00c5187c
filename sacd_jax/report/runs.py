"""What a report knows of a run: the files of its run directory, read with suspicion."""

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped

from input_pipeline.errors import UserError
from sacd_jax.report.statistics import subject_confusion

PREDICTIONS = "predictions_test.npz"
METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Predictions:
    """What a run said of each clip of a split, in the split's order."""

    logits: Float[np.ndarray, "clips classes"]
    index: Int[np.ndarray, " clips"]  # row in the split
    stage: Int[np.ndarray, " clips"]  # the truth; -1 where nobody scored
    night_id: Shaped[np.ndarray, " clips"]
    subject_id: Shaped[np.ndarray, " clips"]
    clip_index: Int[np.ndarray, " clips"]  # position in the night, in clips
    ahi: Float[np.ndarray, " clips"]  # nan where not known

    @property
    def predicted(self) -> Int[np.ndarray, " clips"]:
        """The stage with the highest score."""
        return self.logits.argmax(-1)


@dataclass(frozen=True)
class Run:
    """One training, as its run directory tells it."""

    name: str
    config: dict[str, Any]
    versions: dict[str, Any]
    lines: tuple[dict[str, Any], ...]  # metrics.jsonl, the last line of each step and split
    unreadable_lines: int
    predictions: Predictions


def read_run(name: str, folder: Path) -> Run:
    """Reads a run directory.

    Raises:
        UserError: a file is missing, truncated or not what it should be; names run and file.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"run {name!r}: {folder} is not a folder (expected a run directory)")
    lines, unreadable = _read_lines(name, folder / METRICS)
    return Run(
        name=name,
        config=_read_object(name, folder / "config.json"),
        versions=_read_object(name, folder / "versions.json"),
        lines=tuple(lines),
        unreadable_lines=unreadable,
        predictions=read_predictions(name, folder / PREDICTIONS),
    )


def read_predictions(name: str, path: Path) -> Predictions:
    """Reads a file of predictions, sorted by row; unpickles nothing.

    Raises:
        UserError: as `read_run`.
    """
    where = f"run {name!r}: {path.name}"
    if not path.is_file():
        raise UserError(f"{where} is missing; evaluate the run first (looked in {path.parent})")
    fields = tuple(Predictions.__dataclass_fields__)
    try:
        # Opened here: NumPy would leave the file open when the archive is broken.
        with open(path, "rb") as stream, np.load(stream, allow_pickle=False) as file:
            absent = [field for field in fields if field not in file.files]
            if absent:
                raise UserError(f"{where} lacks {', '.join(absent)}")
            values = {field: file[field] for field in fields}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(
            f"{where} cannot be read ({error}); it is broken or truncated: evaluate the run again"
        ) from error
    logits = values["logits"]
    clips = len(logits) if logits.ndim == 2 else -1
    for field in fields[1:]:
        if values[field].shape != (clips,):
            raise UserError(
                f"{where}: {field} has shape {values[field].shape}, logits {logits.shape}; "
                "expected one row a clip in each"
            )
    if not clips:
        raise UserError(f"{where} holds no clips")
    bad = int((~np.isfinite(logits)).any(-1).sum())
    if bad:
        raise UserError(f"{where}: {bad} of {clips} clips have scores that are not finite")
    if values["stage"].max() >= logits.shape[1] or len(np.unique(values["index"])) != clips:
        raise UserError(f"{where}: a stage beyond the {logits.shape[1]} classes, or a row twice")
    order = np.argsort(values["index"])
    return Predictions(**{field: value[order] for field, value in values.items()})


def _read_object(name: str, path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise UserError(f"run {name!r}: {path.name} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise UserError(f"run {name!r}: {path.name} is not a JSON object")
    return found


def _read_lines(name: str, path: Path) -> tuple[list[dict[str, Any]], int]:
    # A run that was killed may leave half a line, and a resumed one repeats steps: neither is an
    # error. The last word on a step counts.
    if not path.is_file():
        return [], 0
    latest: dict[tuple[Any, Any], dict[str, Any]] = {}
    unreadable = 0
    for line in path.read_text(errors="replace").splitlines():
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            latest[float(entry["step"]), str(entry.get("split", "train"))] = entry
        except (ValueError, TypeError, KeyError, AttributeError):
            unreadable += 1
    if unreadable and not latest:
        raise UserError(f"run {name!r}: {path.name} has {unreadable} lines and none is a log line")
    return [latest[key] for key in sorted(latest)], unreadable


def series(
    lines: Sequence[dict[str, Any]], split: str, name: str
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Steps and values of one logged quantity; both empty if it was never logged.

    A value of a split is logged either in a line of that split or as `split/name` in any line.
    """
    points = []
    for entry in lines:
        value = entry.get(f"{split}/{name}")
        if value is None and entry.get("split", "train") == split:
            value = entry.get(name)
        if isinstance(value, int | float) and np.isfinite(value):
            points.append((float(entry["step"]), float(value)))
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    return steps, values


def subject_counts(
    predictions: Predictions,
) -> tuple[Shaped[np.ndarray, " subjects"], Int[np.ndarray, "subjects classes classes"]]:
    """Subjects in sorted order and the confusion counts of each, as `tables.MethodRow` asks."""
    classes = predictions.logits.shape[1]
    return subject_confusion(
        predictions.stage, predictions.predicted, predictions.subject_id, classes
    )


def check_same_clips(runs: Sequence[Run]) -> None:
    """Raises a UserError that names both runs if two runs were not tested on the same clips."""
    first = runs[0]
    for run in runs[1:]:
        ours, theirs = first.predictions, run.predictions
        if len(ours.index) != len(theirs.index):
            raise UserError(
                f"runs {first.name!r} and {run.name!r} have {len(ours.index)} and "
                f"{len(theirs.index)} test clips; expected one test set"
            )
        for field in ("index", "night_id", "subject_id", "clip_index", "stage"):
            differing = getattr(ours, field) != getattr(theirs, field)
            if differing.any():
                raise UserError(
                    f"runs {first.name!r} and {run.name!r} differ in {field} of "
                    f"{int(differing.sum())} test clips; expected one test set"
                )
