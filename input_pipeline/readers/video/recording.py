"""A recording of many files, such as a recorder's hourly ones, read as one video."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from input_pipeline.errors import UserError
from input_pipeline.readers.video.placement import place
from input_pipeline.readers.video.reader import VideoReader
from input_pipeline.readers.video.start_times import start_from_digits, start_from_name

_MOST_NOTES = 6  # of single files


@dataclass(frozen=True)
class _Piece:
    """One file, as its two ends show it."""

    path: Path
    length_s: float
    """From its start to the end of its last picture that can be placed."""
    creation_time: datetime | None
    frame_rate: float | None
    restart_s: float | None
    notes: list[str]


def _numbered(path: Path) -> list[str | int]:
    """Sorts names by the numbers in them: 9 before 10."""
    parts = re.split(r"([0-9]+)", str(path))
    return [int(part) if k % 2 else part for k, part in enumerate(parts)]


class VideoRecording:
    """Several files read as one video, with the interface of `VideoReader`.

    Times are seconds since the first file began. The files are put in the order of their starts,
    which come from `starts`, else from their names, else from what the containers say; gaps between
    them stay gaps.

    Args:
        name: what errors call the recording (a night_id).
        starts: when each of `paths` began, by the recorder's clock.
        stretch: seconds by the recorder's clock of one second of each file; not 1 where the frame
            rate in their headers is wrong.

    Raises:
        UserError: a file cannot be used, nothing says when it began, or the starts and lengths
            contradict each other.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        name: str,
        starts: Sequence[datetime] = (),
        stretch: float = 1.0,
        threads: int = 1,
        kind: str = "night",
    ):
        self._what = f"{kind} {name}"
        self._name, self._kind, self._threads, self._stretch = name, kind, threads, stretch
        if len(starts) not in (0, len(paths)):
            raise UserError(
                f"{self._what}: {len(starts)} starts for {len(paths)} videos; expected one each"
            )
        self._count = len(paths)
        pieces = [self._survey(path, number) for number, path in enumerate(paths, 1)]
        begun, resolution_s = self._begun(pieces, starts)
        order = sorted(range(len(paths)), key=lambda k: begun[k])
        self._pieces = [pieces[k] for k in order]
        placement = place(
            [begun[k] for k in order],
            [piece.length_s * stretch for piece in self._pieces],
            resolution_s=resolution_s,
            what=self._what,
        )
        self._placement = placement
        self._starts_s = np.array(placement.starts_s)
        self.creation_time = self._pieces[0].creation_time
        self.frame_rate = self._pieces[0].frame_rate
        """Frames a second on average in the first file, as its container says."""
        self.declared_s: float = placement.starts_s[-1] + self._pieces[-1].length_s * stretch
        """When the last file ends."""
        self._reader: VideoReader | None = None
        self._current = -1
        self._last_asked = -np.inf
        self._found: dict[int, list[str]] = {}

    def _open(self, path: Path, number: int) -> VideoReader:
        which = f"{self._name}, video {number} of {self._count}"
        return VideoReader(path, name=which, threads=self._threads, kind=self._kind)

    def _survey(self, path: Path, number: int) -> _Piece:
        with self._open(path, number) as reader:
            rate = reader.frame_rate
            interval = 1 / rate if rate else 0.0
            length = reader.seek_end() + interval
            declared = reader.declared_s
            if declared is not None and abs(declared - length) < 2 * interval:
                length = declared
            return _Piece(
                path, length, reader.creation_time, rate, reader.clock.restart_s, reader.notes
            )

    def _begun(
        self, pieces: Sequence[_Piece], starts: Sequence[datetime]
    ) -> tuple[Sequence[datetime], float]:
        """When each file began, and how exactly that is known, in seconds."""
        if starts:
            self._check_order([piece.path for piece in pieces], starts)
            return starts, 0.0
        for told in (
            [start_from_name(piece.path) or start_from_digits(piece.path) for piece in pieces],
            [piece.creation_time for piece in pieces],
        ):
            known = [moment for moment in told if moment is not None]
            if len(known) == len(pieces):
                whole = all(moment.microsecond == 0 for moment in known)
                return known, 1.0 if whole else 0.01
            if known:
                break
        raise UserError(
            f"{self._what}: nothing says when video {1 + told.index(None)} of {self._count} began; "
            "expected names such as cam1_20240305_225740.mp4 for all of them, or a start for each: "
            "in a manifest video_start with '|' between them, with a command --start"
        )

    def _check_order(self, paths: Sequence[Path], starts: Sequence[datetime]) -> None:
        """Refuses starts in the order of time for files in the order of letters, 10 before 9."""
        by_start = [path for _, path in sorted(zip(starts, paths, strict=True))]
        if by_start == sorted(paths) != sorted(paths, key=_numbered):
            raise UserError(
                f"{self._what}: the given starts rise with the names of its videos as text, where "
                "10 comes before 9, and not with the numbers in them; name the videos one by one, "
                "each at the place of its start"
            )

    @property
    def notes(self) -> list[str]:
        """What is odd about the files and how they follow one another, one line each."""
        single = [
            f"video {number} of {self._count}: {note}"
            for number, piece in enumerate(self._pieces, 1)
            for note in self._found.get(number - 1, piece.notes)
        ]
        if len(single) > _MOST_NOTES:
            more = len(single) - _MOST_NOTES
            single = [*single[:_MOST_NOTES], f"{more} more such lines on others of its files"]
        return [*self._placement.notes, *single]

    one_clock = False
    """The clock of the container starts anew with each file."""

    @property
    def end_s(self) -> float | None:
        """Time of the last frame, once the end has been reached."""
        if self._reader is None or self._current < self._count - 1 or self._reader.end_s is None:
            return None
        return float(self._starts_s[-1] + self._reader.end_s * self._stretch)

    def read_frames(
        self,
        times_s: Float64[np.ndarray, " n"],
        height: int,
        width: int,
        *,
        tolerance_s: float | None = None,
        not_before_s: float = -np.inf,
    ) -> tuple[UInt8[np.ndarray, "n {height} {width} 1"], Bool[np.ndarray, " n"]]:
        """The frame nearest to each moment, grey and scaled; see `VideoReader.read_frames`.

        Where two files overlap, the later one is read.

        Raises:
            ValueError: moments are not in ascending order.
        """
        times = np.asarray(times_s, np.float64)
        frames = np.zeros((len(times), height, width, 1), np.uint8)
        present = np.zeros(len(times), bool)
        if len(times) and (np.diff(times, prepend=self._last_asked) < 0).any():
            raise ValueError("moments of a video must be asked for in ascending order")
        # The first moment of a file may lie a rounding before it.
        owner = np.searchsorted(self._starts_s, times + 1e-6, side="right") - 1
        for k in np.unique(owner[owner >= 0]).tolist():
            mine = owner == k
            begin = self._starts_s[k]
            frames[mine], present[mine] = self._turn_to(k).read_frames(
                (times[mine] - begin) / self._stretch,
                height,
                width,
                tolerance_s=None if tolerance_s is None else tolerance_s / self._stretch,
                not_before_s=(not_before_s - begin) / self._stretch,
            )
        if len(times):
            self._last_asked = float(times[-1])
        return frames, present

    def pictures(
        self, height: int, width: int, *, step_s: float = 0.0
    ) -> Iterator[tuple[float, UInt8[np.ndarray, "{height} {width}"] | None]]:
        """Every frame's time, and pictures `step_s` apart; see `VideoReader.pictures`.

        Where two files overlap, the later one is read.
        """
        ends = [*self._starts_s[1:].tolist(), np.inf]
        for k, (begin, end) in enumerate(zip(self._starts_s.tolist(), ends, strict=True)):
            reader = self._turn_to(k)
            for seconds, picture in reader.pictures(height, width, step_s=step_s / self._stretch):
                moment = begin + seconds * self._stretch
                if moment >= end - 1e-6:
                    break
                yield moment, picture

    def _turn_to(self, k: int) -> VideoReader:
        if self._reader is None or k != self._current:
            self._leave()
            self._reader, self._current = self._open(self._pieces[k].path, k + 1), k
        return self._reader

    def _leave(self) -> None:
        if self._reader is not None:
            # Damage between the two ends shows only where the file was read.
            self._found[self._current] = list(
                dict.fromkeys(self._pieces[self._current].notes + self._reader.notes)
            )
            self._reader.close()
            self._reader = None

    def why_absent(self, begin_s: float, end_s: float) -> str:
        """Why there is no picture from `begin_s` to `end_s`; see `VideoReader.why_absent`."""
        k = int(np.searchsorted(self._starts_s, begin_s, side="right")) - 1
        if k < 0 or begin_s > self.declared_s:
            return "outside video"
        piece = self._pieces[k]
        inside = (begin_s - self._starts_s[k]) / self._stretch
        if piece.restart_s is not None and inside > piece.restart_s:
            return "behind a restart of the video"
        following = self._starts_s[k + 1] if k + 1 < self._count else np.inf
        if inside >= piece.length_s and end_s <= following:
            return "between videos"
        return "missing frames"

    def seek_end(self) -> float:
        """Time of the end; ends the reading."""
        self.close()
        return self.declared_s

    def close(self) -> None:
        """Closes the open file; frames can no longer be read."""
        self._leave()

    def __enter__(self) -> "VideoRecording":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
