"""How TFDS shards are written, whatever is in them."""

import contextlib
import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds
from array_record.python.array_record_module import ArrayRecordWriter

from input_pipeline.clip_arrays import LABELS, Form

SHARD_BYTES = 256 * 2**20
"""A shard is closed when it holds this much: few files, and enough of them to copy in parallel."""

Records = Iterator[tuple[int, dict[str, Any]]]
"""Keys that count up, and features."""


def clip_features(arrays: Mapping[str, Form]) -> tfds.features.FeaturesDict:
    """The features of a clip's record: its arrays, its labels and whose it is.

    Arrays are plain bytes: TFDS reads them 16 times faster than its default tensors.
    """
    plain = tfds.features.Encoding.BYTES
    return tfds.features.FeaturesDict(
        {
            **{
                name: tfds.features.Tensor(shape=form.shape, dtype=form.dtype, encoding=plain)
                for name, form in arrays.items()
            },
            **{name: tfds.features.Scalar(dtype=form.dtype) for name, form in LABELS.items()},
            "subject_id": tfds.features.Text(),
            "night_id": tfds.features.Text(),
        }
    )


class PlainWriter(tfds.core.ExampleWriter):
    """Writes records as they are. TFDS has them compressed, which video noise hardly allows: files
    of a third less, and 8 times the work to write and 2.7 times the work to read them."""

    def __init__(self) -> None:
        super().__init__(tfds.core.FileFormat.ARRAY_RECORD)

    def write(self, path: PathLike[str], examples: Iterable[tuple[int, bytes]]) -> None:
        writer = ArrayRecordWriter(fspath(path), "group_size:1,uncompressed")
        for _, record in examples:
            writer.write(record)
        writer.close()


def in_shards[Item](items: Sequence[Item], size: Callable[[Item], int]) -> list[list[Item]]:
    """Divides items, in their order, into the shards they go to; `size` is in bytes."""
    shards: list[list[Item]] = []
    filled = SHARD_BYTES
    for item in items:
        if filled >= SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(item)
        filled += size(item)
    return shards


def write_shards(make_builder: Callable[..., tfds.core.DatasetBuilder], folder: Path) -> None:
    """Runs the builder that `make_builder(data_dir=…)` makes; its files come directly into
    `folder`."""
    tfds.disable_progress_bar()
    builder = make_builder(data_dir=folder / "tfds")
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS says that it is downloading
        builder.download_and_prepare()
    for path in Path(builder.data_dir).iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(folder / "tfds")
