"""Batches of clips for one process of a training: Grain from the records to the device.

The position in the data is the step: what step n reads depends on the seed and n alone. P processes
together read the rows that one process would read, in the same order; process p holds the p-th part
of each batch. So no iterator state needs to be saved, and a run may go on with another number of
processes.

Batches are dicts of NumPy arrays: `video` uint8 [B, T, H, W, C], `eeg` float32 [B, samples] in
microvolt, `audio_embedding` float32 [B, dim] (those that `keys` names), `stage` int32 [B] (-1
unknown), `index` int32 [B] (row in the split), `mask` bool [B] (False: padding, whose index is the
length of the split), and the rows of the arrays given as `extra`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grain
import numpy as np
from jaxtyping import Int

from input_pipeline.datasets.jpeg import JpegFrames
from input_pipeline.errors import UserError
from input_pipeline.groups import (
    BATCH_MODES,
    Groups,
    SequenceSchedule,
    balanced,
    labelled_clips,
    neighbours,
)
from input_pipeline.sampling import Sampling
from input_pipeline.source import ClipSource
from input_pipeline.stages import UNKNOWN

Batch = dict[str, np.ndarray]
ToDevice = Callable[[Batch], Any]

INPUTS = ("video", "eeg")
"""Keys that a batch of recorded nights holds unless others are asked for."""

_ON_DEVICE = 2  # batches held ready on the device


class Batches(Iterator[Any]):
    """An iterator over batches that owns threads: close it, or use it as a context manager."""

    def __init__(self, dataset: grain.IterDataset):
        self._iterator = iter(dataset)

    def __next__(self) -> Any:
        return next(self._iterator)

    def close(self) -> None:
        """Ends the reading threads; may be called twice."""
        self._iterator.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class _Group:
    """Clips that were read together, not copied yet."""

    rows: np.ndarray
    clips: list[dict[str, Any] | None]
    """None: padding."""
    frames: list[np.ndarray]
    """Stored frames to take of each clip."""
    is_first: bool


@dataclass(frozen=True)
class _Reader:
    """From rows to groups of clips, and from groups to the arrays of a batch."""

    source: ClipSource
    sampling: Sampling
    keys: tuple[str, ...]
    extra: Mapping[str, np.ndarray]
    sequences: bool = False
    windows: int | None = None
    """Windows of a clip to look at in test; None for all that cover it."""

    def read(self, element: Any, offsets: np.ndarray | None = None) -> _Group:
        """Reads the clips of one group; `offsets` are places of the moments, the middle if None."""
        rows, is_first = element if self.sequences else (element, False)
        info, end = self.source.info, len(self.source)
        offsets = np.full(len(rows), 0.5) if offsets is None else offsets
        clips = [self.source[row] if row < end else None for row in rows.tolist()]
        frames = [
            np.zeros(0, np.int64)  # padding, or no frames are wanted
            if clip is None or "video" not in self.keys
            else self.sampling.indices(len(clip["video"]), info.frame_rate, offset)
            for clip, offset in zip(clips, offsets, strict=True)
        ]
        return _Group(rows, clips, frames, is_first)

    def read_window(self, element: Int[np.ndarray, "2"]) -> _Group:
        """Reads one clip with the frames of one of its windows; `element` is row and window."""
        row, window = element.tolist()
        clip = self.source[row] if row < len(self.source) else None
        taken = np.zeros(0, np.int64)  # padding, or no frames are wanted
        if clip is not None and "video" in self.keys:
            info, stored = self.source.info, len(clip["video"])
            taken = self.sampling.windows(stored, info.frame_rate, self.windows)[window]
        return _Group(element[:1], [clip], [taken], False)

    def all_windows(self) -> Int[np.ndarray, "windows 2"]:
        """Row and number of every window of the split."""
        counts = np.ones(len(self.source), np.int64)
        if "video" in self.keys and self.sampling.mode == "consecutive":
            rate = self.source.info.frame_rate
            stored = self.source.stored_frames
            counts = np.array([len(self.sampling.windows(n, rate, self.windows)) for n in stored])
        rows = np.repeat(np.arange(len(counts)), counts)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([rows, np.arange(len(rows)) - firsts], axis=1)

    def read_randomly(self, element: Any, rng: np.random.Generator) -> _Group:
        """Reads with a random offset for each clip; `rng` depends on the seed and the position
        alone."""
        length = len(element[0]) if self.sequences else len(element)
        return self.read(element, rng.random(length))

    def assemble(self, groups: Sequence[_Group]) -> Batch:
        """Copies every clip once, into its place in the batch."""
        rows = np.concatenate([group.rows for group in groups])
        clips = [clip for group in groups for clip in group.clips]
        frames = [taken for group in groups for taken in group.frames]
        mask = rows < len(self.source)
        batch: Batch = {}
        if "video" in self.keys:
            video = np.empty(
                (len(rows), self.sampling.frames, *self.source.info.video_shape[1:]), np.uint8
            )
            for out, clip, taken in zip(video, clips, frames, strict=True):
                if clip is None:
                    out[:] = 0
                elif isinstance(clip["video"], JpegFrames):
                    clip["video"].take(taken, out)
                else:
                    np.take(
                        clip["video"], taken, axis=0, out=out, mode="clip"
                    )  # "raise" would copy twice
            batch["video"] = video
        lengths = {"eeg": self.source.info.samples, "audio_embedding": self.source.info.audio_dim}
        for key in self.keys:
            if key == "video":
                continue
            vectors = np.zeros((len(rows), lengths[key]), np.float32)
            for out, clip in zip(vectors, clips, strict=True):
                if clip is not None:
                    out[:] = clip[key]
            batch[key] = vectors
        stages = [UNKNOWN if clip is None else clip["stage"] for clip in clips]
        batch |= {
            "stage": np.asarray(stages, np.int32),
            "index": rows.astype(np.int32),
            "mask": mask,
        }
        for name, array in self.extra.items():
            joined = np.asarray(array[np.where(mask, rows, 0)])
            joined[~mask] = 0
            batch[name] = joined
        if self.sequences:
            batch = {
                key: value.reshape(len(groups), -1, *value.shape[1:])
                for key, value in batch.items()
            }
            batch["is_first"] = np.asarray([group.is_first for group in groups])
        return batch


def _reader(
    source: ClipSource,
    sampling: Sampling,
    keys: Sequence[str],
    extra: Mapping[str, np.ndarray] | None,
    sequences: bool = False,
    windows: int | None = None,
) -> _Reader:
    extra = dict(extra or {})
    for key in keys:
        if key not in source.info.inputs:
            raise UserError(f"batch key {key!r}: clips hold {', '.join(source.info.inputs)}")
    for name, array in extra.items():
        if len(array) != len(source):
            raise UserError(
                f"{name}: {len(array)} rows for a split of {len(source)} clips; expected one a clip"
            )
    if "video" in keys:
        sampling.check(source.info.frames, source.info.frame_rate)
    return _Reader(source, sampling, tuple(keys), extra, sequences, windows)


def _share(groups_a_batch: int, process_index: int, process_count: int) -> int:
    if not 0 <= process_index < process_count:
        raise ValueError(f"process {process_index} of {process_count}")
    if groups_a_batch < 1 or groups_a_batch % process_count:
        raise UserError(
            f"a batch of {groups_a_batch} groups of clips cannot be divided evenly among "
            f"{process_count} processes"
        )
    return groups_a_batch // process_count


def _batches(dataset: grain.MapDataset, to_device: ToDevice | None, read_threads: int) -> Batches:
    # Few threads and a short buffer: the default (16 threads, 500 elements) was measured to be
    # slower, and an element here is a whole batch.
    options = grain.ReadOptions(num_threads=read_threads, prefetch_buffer_size=2 * read_threads)
    batches = dataset.to_iter_dataset(options)
    if to_device is not None:
        batches = grain.experimental.ThreadPrefetchIterDataset(
            batches.map(to_device), prefetch_buffer_size=_ON_DEVICE
        )
    return Batches(batches)


def _groups(source: ClipSource, batch_mode: str, group_size: int) -> Groups:
    """What is shuffled in a mode that shuffles."""
    if batch_mode == "contiguous":
        return neighbours(source.table, group_size)
    return (balanced if batch_mode == "balanced" else labelled_clips)(source.table)


def steps_per_pass(
    source: ClipSource, batch_size: int, batch_mode: str = "shuffled", group_size: int = 16
) -> float:
    """Training batches in one pass over the split."""
    if batch_mode == "sequences":
        lanes = max(1, batch_size // group_size)
        return SequenceSchedule(source.table, group_size, lanes, seed=0).sequences / lanes
    return _groups(source, batch_mode, group_size).size / batch_size


def train_batches(
    source: ClipSource,
    *,
    batch_size: int,
    seed: int,
    sampling: Sampling,
    keys: Sequence[str] = INPUTS,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    batch_mode: str = "shuffled",
    group_size: int = 16,
    to_device: ToDevice | None = None,
    read_threads: int = 2,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Batches:
    """Endless batches in a new random order every pass, from `start_step` on.

    Args:
        batch_size: clips of all processes together; each yields its `batch_size / process_count`.
        batch_mode: one of `BATCH_MODES`; in `sequences` the arrays are [sequences, clips, …] and
            `is_first` is there, see `sequences`.
        group_size: clips of a group (`contiguous`) or of a sequence.
        to_device: is called on each host batch ahead of time, in a thread of its own.
        extra: arrays over the rows of the split that are joined to the batch (a teacher cache).

    Raises:
        UserError: the split has no such clips, or the sizes do not fit each other.
    """
    if batch_mode not in BATCH_MODES:
        raise UserError(f"batch_mode {batch_mode!r}: expected one of {', '.join(BATCH_MODES)}")
    length = group_size if batch_mode in ("contiguous", "sequences") else 1
    if batch_size % length:
        raise UserError(f"batch_size {batch_size}: expected a multiple of the group size {length}")
    if batch_mode == "sequences":
        return sequences(
            source,
            length,
            batch_size=batch_size // length,
            sampling=sampling,
            seed=seed,
            keys=keys,
            start_step=start_step,
            process_index=process_index,
            process_count=process_count,
            to_device=to_device,
            read_threads=read_threads,
            extra=extra,
        )
    groups = _groups(source, batch_mode, group_size)
    if len(groups) * length < batch_size:
        raise UserError(
            f"split {source.split} has {len(groups)} groups of {length} labelled clips for "
            f"{batch_mode} batches; expected at least one batch of {batch_size} clips"
        )
    local = _share(batch_size // length, process_index, process_count)
    reader = _reader(source, sampling, keys, extra)
    dataset = (
        grain.MapDataset.source(groups)
        .seed(seed)
        .shuffle()
        .repeat()
        .random_map(reader.read_randomly)  # after repeat: new offsets every pass
        .batch(local, drop_remainder=True, batch_fn=reader.assemble)
    )
    first = start_step * process_count + process_index
    return _batches(dataset[first::process_count], to_device, read_threads)


def eval_batches(
    source: ClipSource,
    *,
    batch_size: int,
    sampling: Sampling,
    keys: Sequence[str] = INPUTS,
    process_index: int = 0,
    process_count: int = 1,
    to_device: ToDevice | None = None,
    read_threads: int = 2,
    extra: Mapping[str, np.ndarray] | None = None,
    windows: int | None = None,
) -> Batches:
    """Every clip of the split once, in order, with centred frames; the last batch is padded.

    With consecutive frames a clip comes once for each of its windows (`Sampling.windows`), at most
    `windows` times. Clips of unknown stage are there too (a hypnogram has no holes); metrics leave
    them out.
    """
    local = _share(batch_size, process_index, process_count)
    reader = _reader(source, sampling, keys, extra, windows=windows)
    elements = reader.all_windows()
    padding = np.full((-len(elements) % batch_size, 2), (len(source), 0))
    dataset = (
        grain.MapDataset.source(np.concatenate([elements, padding]))
        .map(reader.read_window)
        .batch(local, batch_fn=reader.assemble)
    )
    return _batches(dataset[process_index::process_count], to_device, read_threads)


def sequences(
    source: ClipSource,
    length: int,
    *,
    batch_size: int,
    sampling: Sampling,
    seed: int | None,
    keys: Sequence[str] = INPUTS,
    start_step: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    to_device: ToDevice | None = None,
    read_threads: int = 2,
    extra: Mapping[str, np.ndarray] | None = None,
) -> Batches:
    """Batches of `batch_size` sequences of `length` clips in the order of the night, for networks
    with a state.

    All arrays are [B, L, ...]; `is_first` bool [B] says that a lane begins a new night (or goes on
    after a gap) and its state is to be reset. A lane reads a night to its end; the last sequence of
    a night is padded (`mask`). Clips of unknown stage stay in their place.

    Args:
        seed: endless, nights in a new random order every pass, random frame offsets. None: one pass
            in order with centred frames.
    """
    local = _share(batch_size, process_index, process_count)
    reader = _reader(source, sampling, keys, extra, sequences=True)
    if length < 1:
        raise UserError(f"sequences of {length} clips: expected 1 or more")
    schedule = grain.MapDataset.source(SequenceSchedule(source.table, length, batch_size, seed))
    if seed is None:
        read = schedule.map(reader.read)
    else:
        read = schedule.seed(seed).random_map(reader.read_randomly)
    dataset = read.batch(local, drop_remainder=True, batch_fn=reader.assemble)
    first = start_step * process_count + process_index
    return _batches(dataset[first::process_count], to_device, read_threads)
