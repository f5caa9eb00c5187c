"""Batches of clips for one process of a training: Grain from the stored clips to the device.

The position in the data is the step: what step n reads depends on the seed and n alone. P processes
together read the rows that one process would read, in the same order; process p holds the p-th part
of each batch. So no iterator state needs to be saved, and a run may go on with another number of
processes.

Batches are dicts of NumPy arrays: the inputs that `keys` names (`clip_arrays.INPUTS`) as [B, …],
the video [B, T, H, W, C] with the frames that `sampling` takes; `stage` int32 [B] (-1 unknown),
`index` int32 [B] (row in the split), `mask` bool [B] (False: padding, whose index is the length of
the split), and the rows of the arrays given as `extra`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

import grain
import numpy as np
from jaxtyping import Int

from input_pipeline.clip_arrays import Form, input_forms
from input_pipeline.errors import UserError
from input_pipeline.groups import BATCH_MODES, SequenceSchedule, groups_of_shares
from input_pipeline.sampling import Sampling
from input_pipeline.source import ClipSource
from input_pipeline.stages import UNKNOWN

Batch = dict[str, np.ndarray]

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


class _Group(NamedTuple):
    """Clips that belong together in a batch, not read yet."""

    rows: np.ndarray
    offsets: np.ndarray
    """Places of the moments, see `Sampling.indices`."""
    is_first: bool = False


class _InTurn(Sequence[Any]):
    """The next `of_each` elements of each of several endless datasets, then again of the first."""

    def __init__(self, datasets: Sequence[grain.MapDataset], of_each: int):
        self._datasets, self._of_each = datasets, of_each
        self._all = of_each * len(datasets)

    def __len__(self) -> int:
        return sys.maxsize // self._all * self._all

    def __getitem__(self, index: int) -> Any:  # type: ignore[override]
        turn, place = divmod(index, self._all)
        number, offset = divmod(place, self._of_each)
        return self._datasets[number][turn * self._of_each + offset]


_NO_FRAMES = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Loader:
    """Reads batches of one split, for one of the processes that train together.

    Attributes:
        source: the split.
        sampling: which frames a network sees.
        keys: the inputs that a batch holds; those that `extra` has are not read from the clips.
        extra: arrays over the rows of the split that are joined to the batch (a teacher cache).
        process_index: of this process.
        process_count: processes that share each batch.
        to_device: is called on each host batch ahead of time, in a thread of its own.
        read_threads: threads that read; 0 reads in the caller's. Batches do not depend on it.
        extra_rows: name in `extra` -> the row of it that each clip is joined with; its own, where
            the name is not here (`controls`).

    Raises:
        UserError: clips do not hold such inputs or so many frames, or `extra` is of other rows.
    """

    source: ClipSource
    sampling: Sampling
    keys: Sequence[str]
    extra: Mapping[str, np.ndarray] = field(default_factory=dict)
    process_index: int = 0
    process_count: int = 1
    to_device: Callable[[Batch], Any] | None = None
    read_threads: int = 2
    extra_rows: Mapping[str, Int[np.ndarray, " clips"]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        info = self.source.info
        if not 0 <= self.process_index < self.process_count:
            raise ValueError(f"process {self.process_index} of {self.process_count}")
        for key in self._read_keys:
            if key not in info.inputs:
                raise UserError(f"batch key {key!r}: clips hold {', '.join(info.inputs)}")
        for name, array in self.extra.items():
            if len(array) != len(self.source):
                raise UserError(
                    f"{name}: {len(array)} rows for a split of {len(self.source)} clips; "
                    "expected one a clip"
                )
        if "video" in self._read_keys:
            self.sampling.check(info.frames, info.frame_rate)

    @property
    def _read_keys(self) -> list[str]:
        return [key for key in self.keys if key not in self.extra]

    def train(
        self,
        batch_size: int,
        seed: int,
        *,
        start_step: int = 0,
        batch_mode: str = "shuffled",
        consecutive_clips: int = 16,
        unlabelled: bool = False,
        shares: int = 1,
    ) -> Batches:
        """Endless batches in a new random order every pass, from `start_step` on.

        Args:
            batch_size: clips of all processes together; each yields its share.
            seed: of the order and of the frames' offsets.
            start_step: the step whose batch comes first.
            batch_mode: one of `groups.BATCH_MODES`; in `sequences` the arrays are
                [sequences, clips, …], see `sequences`.
            consecutive_clips: clips of a group (`contiguous`) or of a sequence.
            unlabelled: clips without a stage come too (-1), in `shuffled` and `contiguous` batches.
            shares: parts of the split, each shuffled by itself, from which a batch takes equally
                many clips in turn: of as many processes each reads from one part alone.

        Raises:
            UserError: the split has no such clips, or the sizes do not fit each other.
        """
        if batch_mode not in BATCH_MODES:
            raise UserError(f"batch_mode {batch_mode!r}: expected one of {', '.join(BATCH_MODES)}")
        length = consecutive_clips if batch_mode in ("contiguous", "sequences") else 1
        if batch_size % length:
            raise UserError(
                f"batch_size {batch_size}: expected a multiple of consecutive_clips {length}"
            )
        if batch_mode == "sequences":
            return self.sequences(length, batch_size // length, seed, start_step=start_step)
        groups = groups_of_shares(
            self.source.table, shares, batch_mode, consecutive_clips, unlabelled
        )
        if (batch_size // length) % shares:
            raise UserError(
                f"a batch of {batch_size // length} groups of clips cannot be divided evenly among "
                f"{shares} data_shares"
            )
        of_each = batch_size // length // shares
        fewest = min(len(share) for share in groups)
        if fewest < of_each:
            raise UserError(
                f"split {self.source.split} has {fewest} groups of {length} "
                f"{'' if unlabelled else 'labelled '}clips for {batch_mode} batches"
                f"{' in one of its shares' if shares > 1 else ''}; expected at least one batch of "
                f"{of_each * length} clips"
            )
        shuffled = [
            grain.MapDataset.source(share).seed(seed + number).shuffle().repeat()
            for number, share in enumerate(groups)
        ]
        dataset = shuffled[0]
        if shares > 1:
            dataset = grain.MapDataset.source(_InTurn(shuffled, of_each)).seed(seed)
        dataset = dataset.random_map(self._random_group).batch(  # after repeat: new offsets a pass
            self._share(batch_size // length), drop_remainder=True, batch_fn=self._read
        )
        return self._batches(dataset, start_step)

    def evaluate(self, batch_size: int, windows: int | None = None) -> Batches:
        """Every clip of the split once, in order, with centred frames; the last batch is padded.

        With consecutive frames a clip comes once for each of its windows (`Sampling.windows`), at
        most `windows` times. Clips of unknown stage are there too (a hypnogram has no holes);
        metrics leave them out.
        """
        share = self._share(batch_size)
        elements = self._all_windows(windows)
        padding = np.full((-len(elements) % batch_size, 2), (len(self.source), 0))

        def read(elements: Sequence[Int[np.ndarray, "2"]]) -> Batch:
            rows, numbers = np.stack(elements).T
            places = zip(rows.tolist(), numbers.tolist(), strict=True)
            return self._gather(
                rows, [self._windows(row, windows)[number] for row, number in places]
            )

        dataset = grain.MapDataset.source(np.concatenate([elements, padding])).batch(
            share, batch_fn=read
        )
        return self._batches(dataset)

    def sequences(
        self, length: int, batch_size: int, seed: int | None = None, *, start_step: int = 0
    ) -> Batches:
        """Batches of `batch_size` sequences of `length` clips in the order of the night, for
        networks with a state.

        All arrays are [B, L, …]; `is_first` bool [B] says that a lane begins a new night (or goes
        on after a gap) and its state is to be reset. A lane reads a night to its end; the last
        sequence of a night is padded (`mask`). Clips of unknown stage stay in their place.

        Args:
            seed: endless, nights in a new random order every pass, random frame offsets. None: one
                pass in order with centred frames.
        """
        if length < 1:
            raise UserError(f"sequences of {length} clips: expected 1 or more")
        share = self._share(batch_size)
        schedule = grain.MapDataset.source(
            SequenceSchedule(self.source.table, length, batch_size, seed)
        )
        if seed is None:
            groups = schedule.map(self._centred_sequence)
        else:
            groups = schedule.seed(seed).random_map(self._random_sequence)
        dataset = groups.batch(share, drop_remainder=True, batch_fn=self._read_sequences)
        return self._batches(dataset, start_step)

    def padding(self) -> Batch:
        """One clip of padding: the forms of a batch, of which nothing is read."""
        return self._gather(np.array([len(self.source)]), [_NO_FRAMES])

    # What of each clip is read

    def _random_group(self, rows: np.ndarray, rng: np.random.Generator) -> _Group:
        # `rng` depends on the seed and the position alone.
        return _Group(rows, rng.random(len(rows)))

    def _random_sequence(
        self, element: tuple[np.ndarray, bool], rng: np.random.Generator
    ) -> _Group:
        rows, is_first = element
        return _Group(rows, rng.random(len(rows)), is_first)

    def _centred_sequence(self, element: tuple[np.ndarray, bool]) -> _Group:
        rows, is_first = element
        return _Group(rows, np.full(len(rows), 0.5), is_first)

    def _frames(self, rows: np.ndarray, offsets: np.ndarray) -> Sequence[np.ndarray]:
        """The stored frames to take of each clip; of padding, any."""
        if "video" not in self._read_keys:
            return [_NO_FRAMES] * len(rows)
        rate, stored = self.source.info.frame_rate, self.source.stored_frames
        if self.sampling.mode == "spread":  # clips are of one length; all at once is faster
            return self.sampling.indices(self.source.info.frames, rate, offsets)
        return [
            _NO_FRAMES
            if row >= len(stored)
            else self.sampling.indices(int(stored[row]), rate, offset)
            for row, offset in zip(rows.tolist(), offsets, strict=True)
        ]

    def _windows(self, row: int, most: int | None) -> list[np.ndarray]:
        """Frames of the windows that a test looks at."""
        if "video" not in self._read_keys or row >= len(self.source):
            return [_NO_FRAMES]
        stored = int(self.source.stored_frames[row])
        return self.sampling.windows(stored, self.source.info.frame_rate, most)

    def _all_windows(self, most: int | None) -> Int[np.ndarray, "windows 2"]:
        """Row and number of every window of the split."""
        counts = np.ones(len(self.source), np.int64)
        if "video" in self._read_keys and self.sampling.mode == "consecutive":
            counts = np.array([len(self._windows(row, most)) for row in range(len(counts))])
        rows = np.repeat(np.arange(len(counts)), counts)
        firsts = np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([rows, np.arange(len(rows)) - firsts], axis=1)

    # From groups to the arrays of a batch

    def _read(self, groups: Sequence[_Group]) -> Batch:
        rows = np.concatenate([group.rows for group in groups])
        offsets = np.concatenate([group.offsets for group in groups])
        return self._gather(rows, self._frames(rows, offsets))

    def _gather(self, rows: np.ndarray, frames: Sequence[np.ndarray]) -> Batch:
        """Reads every clip once, into its place in the batch."""
        mask = rows < len(self.source)
        batch: Batch = {
            key: np.empty((len(rows), *form.shape), form.dtype)
            for key, form in self._forms().items()
        }
        for place, row in enumerate(rows.tolist()):
            out = {key: batch[key][place] for key in self._read_keys}
            if mask[place]:
                self.source.read(row, out, frames[place])
            else:
                for array in out.values():
                    array[:] = 0
        clipped = np.where(mask, rows, 0)
        batch["stage"] = np.where(mask, self.source.table.stage[clipped], UNKNOWN).astype(np.int32)
        batch |= {"index": rows.astype(np.int32), "mask": mask}
        for name, array in self.extra.items():
            moved = self.extra_rows.get(name)
            joined = np.asarray(array[clipped if moved is None else moved[clipped]])
            joined[~mask] = 0
            batch[name] = joined
        return batch

    def _forms(self) -> dict[str, Form]:
        """How the inputs lie in one clip of a batch."""
        forms = input_forms(self.source.info)
        if "video" in forms:
            dtype, (_, *frame) = forms["video"]
            forms["video"] = Form(dtype, (self.sampling.frames, *frame))
        return {key: forms[key] for key in self._read_keys}

    def _read_sequences(self, groups: Sequence[_Group]) -> Batch:
        batch = {
            key: value.reshape(len(groups), -1, *value.shape[1:])
            for key, value in self._read(groups).items()
        }
        return {**batch, "is_first": np.asarray([group.is_first for group in groups])}

    # This process's share

    def _share(self, groups_a_batch: int) -> int:
        if groups_a_batch < 1 or groups_a_batch % self.process_count:
            raise UserError(
                f"a batch of {groups_a_batch} groups of clips cannot be divided evenly among "
                f"{self.process_count} processes"
            )
        return groups_a_batch // self.process_count

    def _batches(self, dataset: grain.MapDataset, start_step: int = 0) -> Batches:
        first = start_step * self.process_count + self.process_index
        # Few threads and a short buffer: the default (16 threads, 500 elements) was measured to be
        # slower, and an element here is a whole batch.
        options = grain.ReadOptions(
            num_threads=self.read_threads, prefetch_buffer_size=2 * self.read_threads
        )
        batches = dataset[first :: self.process_count].to_iter_dataset(options)
        if self.to_device is not None:
            batches = grain.experimental.ThreadPrefetchIterDataset(
                batches.map(self.to_device), prefetch_buffer_size=_ON_DEVICE
            )
        return Batches(batches)
