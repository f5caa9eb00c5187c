"""Fast random access to the clips of a built dataset, reading no more of them than is wanted.

TFDS reads its own records through a protobuf parser and a copy. Here the same shards are read with
a walk over the wire format of `tf.train.Example` that returns views of the record's bytes.
"""

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from array_record.python.array_record_data_source import ArrayRecordDataSource
from array_record.python.array_record_module import ArrayRecordReader
from jaxtyping import Int

from input_pipeline.clip_arrays import input_forms
from input_pipeline.datasets.dataset_files import (
    ClipTable,
    DatasetInfo,
    read_info,
    read_share,
    read_sums,
    read_table,
    rebuild,
)
from input_pipeline.datasets.frame_files import FrameFiles
from input_pipeline.datasets.jpeg import JpegFrames
from input_pipeline.errors import UserError
from input_pipeline.labels import labelled_rows
from input_pipeline.splits import SPLITS
from input_pipeline.stages import UNKNOWN

Clip = dict[str, Any]
"""`video` uint8 [frames, height, width, channels] (or `JpegFrames`), `eeg` float32 [samples] µV,
`audio_embedding` float32 [dim], as `DatasetInfo.inputs` says; `stage` and `index` int."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # wire types of protocol buffers


def _varint(buffer: memoryview, at: int) -> tuple[int, int]:
    value = buffer[at]
    at += 1
    if value < 0x80:
        return value, at
    value, shift = value & 0x7F, 7
    while True:
        byte = buffer[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def _fields(buffer: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Field numbers and values of one message: bytes as views, varints as integers."""
    at, end = 0, len(buffer)
    while at < end:
        key, at = _varint(buffer, at)
        number, wire = key >> 3, key & 7
        if wire == _BYTES:
            size, at = _varint(buffer, at)
            if at + size > end:
                raise ValueError("a field is longer than its message")
            yield number, buffer[at : at + size]
            at += size
        elif wire == _VARINT:
            value, at = _varint(buffer, at)
            yield number, value
        elif wire in (_FIXED64, _FIXED32):
            at += 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire} is not used by tf.train.Example")


def _feature(buffer: memoryview) -> memoryview | int | None:
    """The first value of a `Feature`: bytes (field 1) as a view, int64 (field 3) as an integer."""
    for kind, values in _fields(buffer):
        for _, value in _fields(values):
            if kind == 1:
                return value
            if kind == 3:
                integer = _varint(value, 0)[0] if isinstance(value, memoryview) else value
                return integer - (1 << 64) if integer >> 63 else integer  # two's complement
    return None


def parse_example(record: bytes) -> dict[str, memoryview | int | None]:
    """The features of a serialised `tf.train.Example`, byte strings as views of `record`."""
    example = {}
    for _, features in _fields(memoryview(record)):  # Example.features
        for _, entry in _fields(features):  # Features.feature, a map
            name, value = "", None
            for number, content in _fields(entry):
                if number == 1:
                    name = bytes(content).decode()
                else:
                    value = _feature(content)
            example[name] = value
    return example


class ClipSource(Sequence[Clip]):
    """The clips of one split by their row; safe to read from several threads."""

    def __init__(
        self,
        info: DatasetInfo,
        split: str,
        table: ClipTable,
        shards: Sequence[Path],
        frame_files: FrameFiles | None = None,
        held: range | None = None,
    ):
        """Opens the shards; raises RuntimeError or ValueError for what is no such file.

        `held` are the rows whose frames are there, where not all are.
        """
        self.info, self.split, self.table = info, split, table
        self._recorded = table.stage
        self._places = np.arange(len(table))  # where in the shards each row's record is
        self._left_out: tuple[str, ...] = ()
        self._frame_files = frame_files
        self._held = range(len(table)) if held is None else held
        self._records = ArrayRecordDataSource([str(path) for path in shards])
        self._shards, self._forms = shards, input_forms(info)
        self._folder = shards[0].parent
        self.stored_frames: Int[np.ndarray, " clips"] = (
            np.full(len(table), info.frames) if table.frames is None else table.frames
        )
        """Frames stored of each clip."""

    @property
    def fingerprint(self) -> str:
        """Changes with the data, the settings they were made with and the split; not with the
        place."""
        return self.info.split_fingerprint(self.split, self._left_out)

    def with_labels_of(self, fraction: float, seed: int) -> Self:
        """The same clips, without the labels of all but a share of the subjects.

        Args:
            fraction: share of the subjects, see `labels.labelled_subjects`; 1 hides none.
            seed: of the choice.
        """
        if fraction == 1:
            return self
        seen = copy.copy(self)
        kept = labelled_rows(self.table, fraction, seed)
        seen.table = dataclasses.replace(
            self.table, stage=np.where(kept, self.table.stage, np.int32(UNKNOWN))
        )
        return seen

    def without_subjects(self, subjects: Iterable[str]) -> Self:
        """The split as if these subjects were not in it: no clip of theirs can be read.

        Rows count the clips that are left, and the fingerprint is that of other data. Subjects
        whom the split does not have change nothing.
        """
        left_out = np.isin(self.table.subject_id, list(subjects))
        if not left_out.any():
            return self
        seen, rows = copy.copy(self), np.flatnonzero(~left_out)
        names = np.unique(self.table.subject_id[left_out]).tolist()
        seen._left_out = tuple(sorted({*self._left_out, *names}))
        seen.table = ClipTable(
            **{
                name: None if column is None else column[rows]
                for name, column in vars(self.table).items()
            }
        )
        seen._places, seen._recorded = self._places[rows], self._recorded[rows]
        seen.stored_frames = self.stored_frames[rows]
        return seen

    @property
    def whole(self) -> bool:
        """Whether there is a record for every row."""
        return len(self._records) == len(self.table)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Clip:  # type: ignore[override]
        """The whole clip; arrays of its record are read-only views.

        Raises:
            UserError: it is damaged, or is not the clip that the table says.
        """
        index = range(len(self))[index]
        recorded = [name for name in self._forms if name != "video" or self._frame_files is None]
        clip = self._arrays(index, recorded)
        if self._frame_files is not None:
            form = self._forms["video"]
            clip["video"] = np.empty(form.shape, form.dtype)
            self._read_frames(index, np.arange(self.info.frames), clip["video"])
        return {**clip, "stage": int(self.table.stage[index]), "index": index}

    def read(
        self, row: int, out: Mapping[str, np.ndarray], frames: Int[np.ndarray, " taken"]
    ) -> None:
        """Copies arrays of one clip, each once, to where they are wanted.

        Args:
            row: of the split.
            out: name of an input -> where it goes, of its shape in a clip.
            frames: which of the stored frames `out["video"]` takes.

        Raises:
            UserError: it is damaged, or is not the clip that the table says.
        """
        recorded = dict(out)
        if self._frame_files is not None and "video" in recorded:
            self._read_frames(row, frames, recorded.pop("video"))
        if not recorded:
            return
        for name, stored in self._arrays(row, recorded).items():
            if isinstance(stored, JpegFrames):
                stored.take(frames, out[name])
            elif name == "video":
                # "raise" would copy twice.
                np.take(stored, frames, axis=0, out=out[name], mode="clip")
            else:
                out[name][:] = stored

    def _read_frames(self, row: int, frames: np.ndarray, out: np.ndarray) -> None:
        assert self._frame_files is not None
        if row not in self._held:
            held = self._held
            raise UserError(
                f"{self._folder}: row {row} of split {self.split} is not in this machine's share "
                f"of the data, rows {held.start} to {held.stop - 1}; expected data_shares as in "
                "`python -m input_pipeline.copy_share`, or a whole copy"
            )
        try:
            self._frame_files.read(int(self._places[row]), frames, out)
        except ValueError as error:
            raise UserError(
                f"{error} is damaged (its checksum differs); {rebuild(self._folder)}"
            ) from None

    def _arrays(self, row: int, names: Iterable[str]) -> Clip:
        try:
            example = parse_example(self._records[int(self._places[row])])
            arrays = {name: self._view(name, example) for name in names}
            stage = example["stage"]
        except (RuntimeError, ValueError, IndexError, KeyError, TypeError):
            # What the record reader says of a wrong checksum, and the parsing of foreign bytes.
            raise UserError(self._damage(row, "cannot be read")) from None
        if stage != self._recorded[row]:
            raise UserError(self._damage(row, "has another stage than the table"))
        return arrays

    def _view(self, name: str, example: Mapping[str, Any]) -> Any:
        if name == "video" and not self.info.frames:
            return JpegFrames(example["jpeg"], np.frombuffer(example["frame_ends"], np.int64))
        form = self._forms[name]
        return np.frombuffer(example[name], form.dtype).reshape(form.shape)

    def _damage(self, index: int, what: str) -> str:
        """The line about a record: which one of which shard, and what to do."""
        name, record = "", int(self._places[index])
        for shard in self._shards:
            count = ArrayRecordReader(str(shard)).num_records()
            name = shard.name
            if record < count:
                break
            record -= count
        return f"shard {name}: record {record} is damaged ({what}); {rebuild(self._folder)}"


def open_split(dataset_dir: str | Path, split: str) -> ClipSource:
    """Opens `train`, `validation` or `test` of a built dataset.

    Raises:
        UserError: no finished dataset, no such split, or shards that do not fit their table.
    """
    folder = Path(dataset_dir)
    info = read_info(folder)
    if split not in SPLITS:
        raise UserError(f"split {split!r}: expected one of {', '.join(SPLITS)}")
    stored = info.shared_splits.get(split, split)
    shards = sorted(folder.glob(f"[!.]*-{stored}.array_record-*"))  # a Mac's copies add ._ files
    table = read_table(folder, info, stored)
    damaged = UserError(f"{folder}: the shards of split {split} are damaged; {rebuild(folder)}")
    try:
        frame_files, held = None, None
        if info.frame_storage == "files":
            sums = read_sums(folder, info, stored)
            frame_bytes = info.height * info.width * info.channels
            frame_files = FrameFiles(folder, stored, frame_bytes, sums)
            held = read_share(folder, len(sums)) if stored == "train" else None
        source = ClipSource(info, split, table, shards, frame_files, held)
    except (RuntimeError, ValueError):  # what the readers say of a cut or foreign file
        raise damaged from None
    if not source.whole:
        raise damaged
    return source
