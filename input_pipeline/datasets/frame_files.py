"""Video frames in flat files, so that a clip's reader pays for the frames it takes and no others.

A record is read whole: 60 stored frames to use 16. Here the frames of a split lie one after the
other, in the order of its clips, without headers; `frame_sums` holds a checksum of each, and is
itself named with its digest in `dataset.json`. No frame is believed unchecked.
"""

import bisect
import os
import weakref
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import xxhash
from jaxtyping import Int, UInt8, UInt64

SHARD_BYTES = 4 * 2**30
"""A file is closed when it holds this much: few are open at once, several can be copied at once."""


def sums_path(folder: Path, split: str) -> Path:
    """Where the checksums of a split's frames lie."""
    return folder / f"{split}.frame_sums.npy"


def frame_paths(folder: Path, split: str) -> list[Path]:
    """The files with the frames of a split, in order."""
    return sorted(folder.glob(f"{split}.frames-*"))


def write_frames(
    folder: Path, split: str, videos: Iterable[UInt8[np.ndarray, "frames height width channels"]]
) -> None:
    """Writes the videos of a split's clips, all of one shape, and the checksums of their frames."""
    sums: list[list[int]] = []
    file, filled, number = None, 0, 0
    try:
        for video in videos:
            if file is None or filled + video.nbytes > SHARD_BYTES:
                if file is not None:
                    file.close()
                file = open(folder / f"{split}.frames-{number:05d}", "wb")  # noqa: SIM115
                filled, number = 0, number + 1
            video = np.ascontiguousarray(video)
            file.write(video.data)
            filled += video.nbytes
            sums.append([xxhash.xxh3_64_intdigest(frame) for frame in video])
    finally:
        if file is not None:
            file.close()
    np.save(sums_path(folder, split), np.asarray(sums, np.uint64))


class FrameFiles:
    """The frames of a split's clips; safe to read from in several threads."""

    def __init__(
        self, folder: Path, split: str, frame_bytes: int, sums: UInt64[np.ndarray, "clips frames"]
    ):
        """
        Args:
            folder: of the data set.
            split: of the data set.
            frame_bytes: bytes of one frame.
            sums: what `write_frames` wrote.

        Raises:
            ValueError: the files do not hold so many frames.
        """
        self._paths, self._sums, self._frame_bytes = frame_paths(folder, split), sums, frame_bytes
        clip_bytes = sums.shape[1] * frame_bytes
        self._files: list[int] = []
        # Closed with the last reader; a file object would warn of it.
        weakref.finalize(self, _close, self._files)
        self._files += [os.open(path, os.O_RDONLY) for path in self._paths]
        sizes = [os.fstat(file).st_size for file in self._files]
        clips = [size // clip_bytes for size in sizes]
        if any(size % clip_bytes for size in sizes) or sum(clips) != len(sums):
            raise ValueError(f"{sum(sizes)} bytes of frames for {len(sums)} clips")
        self._first = np.cumsum([0, *clips]).tolist()

    def read(
        self,
        row: int,
        frames: Int[np.ndarray, " taken"],
        out: UInt8[np.ndarray, "taken height width channels"],
    ) -> None:
        """Reads these frames of a clip into `out`.

        Raises:
            ValueError: a frame is not what was written; names the file.
        """
        shard = bisect.bisect_right(self._first, row) - 1
        first = (row - self._first[shard]) * self._sums.shape[1]
        file, size, sums = self._files[shard], self._frame_bytes, self._sums[row][frames].tolist()
        for target, frame, expected in zip(out, frames.tolist(), sums, strict=True):
            # preadv copies once, waits without the GIL and cannot be killed by a file that shrinks.
            read = os.preadv(file, [target], (first + frame) * size)
            if read != size or xxhash.xxh3_64_intdigest(target) != expected:
                raise ValueError(f"{self._paths[shard].name}: frame {frame} of row {row}")


def _close(files: list[int]) -> None:
    for file in files:
        os.close(file)
