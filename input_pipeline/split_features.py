"""The features of `picture_features` for every clip of a split, and their means over neighbours."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.picture_features import FEWEST_FRAMES, picture_features
from input_pipeline.processes import parallel_map
from input_pipeline.progress import Progress
from input_pipeline.source import open_split

_PIECE = 128
"""Clips that a process describes at a time."""

Rows = tuple[Path, str, int, int]


def split_features(
    dataset: Path, split: str, jobs: int | None = None, then: Callable[[], None] = lambda: None
) -> Float[np.ndarray, "clips features"]:
    """Features of all clips of a split, float64, in its order; from all stored frames of each.

    Args:
        dataset: folder of a built data set.
        split: of it.
        jobs: processes; all cores by default.
        then: called whenever a piece of the work is done.

    Raises:
        UserError: clips without a grey video, or of too few frames; a damaged data set.
    """
    source = open_split(dataset, split)
    info = source.info
    if info.channels != 1 or info.frames < FEWEST_FRAMES:
        raise UserError(
            f"{dataset.name} has clips of {info.frames} frames with {info.channels} channels; "
            f"breathing needs {FEWEST_FRAMES} frames or more of one channel"
        )
    starts = range(0, len(source), _PIECE)
    pieces = [(dataset, split, at, min(at + _PIECE, len(source))) for at in starts]
    found: list[np.ndarray] = [np.zeros(0)] * len(pieces)
    with Progress(f"describe {split}", len(source), "clip") as progress:
        for position, features in parallel_map(_describe, pieces, jobs):
            found[position] = features
            progress.advance(len(features))
            then()
    return np.concatenate(found)


def _describe(rows: Rows) -> Float[np.ndarray, "clips features"]:
    dataset, split, start, stop = rows
    source = _source(dataset, split)
    rate = source.info.frame_rate
    return np.stack([picture_features(source[row]["video"], rate) for row in range(start, stop)])


_source = functools.cache(open_split)


def with_neighbours(
    features: Float[np.ndarray, "clips features"], table: ClipTable, lengths: Sequence[int]
) -> Float[np.ndarray, "clips more_features"]:
    """The features, and beside them their means over so many clips with triangular weights.

    The clip itself is in the middle. Only clips of the same unbroken piece of a night count: the
    means never reach across a gap or into another night.

    Args:
        features: one row a clip of the table.
        table: whose clips they are.
        lengths: odd numbers of clips.
    """
    columns = [features]
    for length in lengths:
        weights = np.bartlett(length + 2)[1:-1]
        means = np.empty_like(features)
        for piece in table.runs():
            centre = np.arange(len(piece))
            apart = np.abs(centre[:, None] - centre)
            near = np.where(
                apart <= length // 2, weights[np.minimum(length // 2 + apart, length - 1)], 0.0
            )
            means[piece] = near @ features[piece] / near.sum(axis=1, keepdims=True)
        columns.append(means)
    return np.concatenate(columns, axis=1)
