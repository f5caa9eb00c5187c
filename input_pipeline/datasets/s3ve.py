"""The TFDS builders of clip datasets: any manifest of nights goes this way, simulated or not."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from os import PathLike, fspath
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from input_pipeline.clips import ClipSettings
from input_pipeline.datasets.decode import DecodedNight
from input_pipeline.datasets.settings import VERSION

SHARD_BYTES = 256 * 2**20
"""A shard is closed when it holds this much: few files, and enough of them to copy in parallel."""

Records = Iterator[tuple[int, dict[str, Any]]]


@dataclass(frozen=True)
class Piece:
    """Clips of one night that belong to one split."""

    night: DecodedNight
    chosen: np.ndarray
    """Positions in the night, ascending."""


def clip_features(settings: ClipSettings) -> tfds.features.FeaturesDict:
    """The clip record. Plain bytes: TFDS reads them 16 times faster than its default tensors."""
    plain = tfds.features.Encoding.BYTES
    video = (settings.frames, settings.height, settings.width, 1)
    return tfds.features.FeaturesDict(
        {
            "video": tfds.features.Tensor(shape=video, dtype=np.uint8, encoding=plain),
            "eeg": tfds.features.Tensor(
                shape=(settings.samples,), dtype=np.float32, encoding=plain
            ),
            "stage": tfds.features.Scalar(dtype=np.int32),
            "subject_id": tfds.features.Text(),
            "night_id": tfds.features.Text(),
            "clip_index": tfds.features.Scalar(dtype=np.int32),
        }
    )


def _shards(pieces: Sequence[Piece], clip_bytes: int) -> list[list[Piece]]:
    shards: list[list[Piece]] = []
    size = SHARD_BYTES
    for piece in pieces:
        if size >= SHARD_BYTES:
            shards.append([])
            size = 0
        shards[-1].append(piece)
        size += len(piece.chosen) * clip_bytes
    return shards


def _records(pieces: Sequence[Piece], on_record: Callable[[], None]) -> Records:
    key = 0
    for piece in pieces:
        for record in piece.night.records(piece.chosen):
            yield key, record
            on_record()
            key += 1


class _PlainWriter(tfds.core.ExampleWriter):
    """Writes records as they are. TFDS has them compressed, which video noise hardly allows: files
    of a third less, and 8 times the work to write and 2.7 times the work to read them."""

    def __init__(self) -> None:
        super().__init__(tfds.core.FileFormat.ARRAY_RECORD)

    def write(self, path: PathLike[str], examples: Iterable[tuple[int, bytes]]) -> None:
        writer = ArrayRecordWriter(fspath(path), "group_size:1,uncompressed")
        for _, record in examples:
            writer.write(record)
        writer.close()


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
        clips: ClipSettings,
        on_record: Callable[[], None] = lambda: None,
        **kwargs: Any,
    ):
        """`parts`: split -> pieces of nights in the order of the records; `on_record`: progress."""
        self._parts, self._clips, self._on_record = parts, clips, on_record
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description="30-s clips of a sleeper's infrared video and EEG with the sleep stage.",
            features=clip_features(self._clips),
            disable_shuffling=True,
        )

    def _example_writer(self) -> _PlainWriter:
        return _PlainWriter()

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Records]]]:
        settings = self._clips
        clip_bytes = settings.frames * settings.height * settings.width + 4 * settings.samples
        return {
            split: [
                partial(_records, shard, self._on_record) for shard in _shards(pieces, clip_bytes)
            ]
            for split, pieces in self._parts.items()
        }


class Simulated(S3ve, skip_registration=True):
    """Clips of simulated nights, read back from EDF+ and MP4 like those of a hospital.

    A test bed: figures on it are no clinical results.
    """
