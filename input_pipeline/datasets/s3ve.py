"""The TFDS builder of recorded nights: any manifest goes this way."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from input_pipeline.clip_arrays import Form
from input_pipeline.datasets.decode import DecodedNight
from input_pipeline.datasets.settings import VERSION
from input_pipeline.datasets.shards import PlainWriter, Records, clip_features, in_shards


@dataclass(frozen=True)
class Piece:
    """Clips of one night that belong to one split."""

    night: DecodedNight
    chosen: np.ndarray
    """Positions in the night, ascending."""


def _records(
    pieces: Sequence[Piece], inputs: Iterable[str], on_record: Callable[[], None]
) -> Records:
    key = 0
    for piece in pieces:
        for record in piece.night.records(piece.chosen, inputs):
            yield key, record
            on_record()
            key += 1


class S3ve(tfds.core.ShardBasedBuilder, skip_registration=True):
    """30-s clips of infrared video and EEG with their sleep stage, in the order of the nights.

    Shards are written one by one and in order (`ShardBasedBuilder`): the generator-based builder
    holds a split in memory and beyond 1 GB sorts it through TensorFlow's file system.
    """

    VERSION = tfds.core.Version(VERSION)
    url_infos = None  # nothing is downloaded; TFDS would look for checksums beside this file
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First form."}

    def __init__(
        self,
        *,
        parts: Mapping[str, Sequence[Piece]],
        inputs: Mapping[str, Form],
        on_record: Callable[[], None] = lambda: None,
        **kwargs: Any,
    ):
        """
        Args:
            parts: split -> pieces of nights in the order of the records.
            inputs: arrays that a record holds.
            on_record: called after each.
        """
        self._parts, self._inputs, self._on_record = parts, inputs, on_record
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="30-s clips of a sleeper's infrared video and EEG with the sleep stage.",
            features=clip_features(self._inputs),
            disable_shuffling=True,
        )

    def _example_writer(self) -> PlainWriter:
        return PlainWriter()

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Records]]]:
        forms = self._inputs.values()
        clip_bytes = sum(math.prod(form.shape) * np.dtype(form.dtype).itemsize for form in forms)

        def size(piece: Piece) -> int:
            return len(piece.chosen) * clip_bytes

        return {
            split: [
                partial(_records, shard, self._inputs, self._on_record)
                for shard in in_shards(pieces, size)
            ]
            for split, pieces in self._parts.items()
        }
