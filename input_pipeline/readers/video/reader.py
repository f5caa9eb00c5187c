"""Frames of a long video by presentation time, in one pass and with bounded memory."""

import contextlib
import itertools
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from input_pipeline.errors import UserError
from input_pipeline.readers.video.container import (
    creation_time,
    open_container,
    picture_stream,
    start_seconds,
    wrap_seconds,
)
from input_pipeline.readers.video.packets import (
    ClockReport,
    PacketClock,
    in_order_of_showing,
    without_strays,
)

if TYPE_CHECKING:
    from av import VideoFrame

# Decoders of these begin at a picture that stands alone; others show what they guess before it.
_SURE_TO_BEGIN_WHOLE = {"h264", "hevc"}

LATE_S = 1.0
"""A first picture that comes later than this is worth a word."""


class VideoReader:
    """Reads a video from its first frame to its last; moments must be asked for in ascending order.

    Times are seconds of the file's own clock since its first packet, be it of picture or of sound:
    where a file begins inside a group of pictures, or with sound, the first frame comes later. A
    variable frame rate and lost frames shift nothing. Where the clock starts anew (a recorder that
    restarted), the reading ends; see `clock`.

    Args:
        name: what errors call the recording (a night_id); neither the file's name nor FFmpeg's
            words are shown.
        kind: what stands before the name in errors.
        threads: decoding threads; one is best where several nights are read at once, 0 lets FFmpeg
            choose.

    Raises:
        UserError: the file is empty, cut off, no video, has no time stamps, or has pictures of an
            impossible size.
    """

    def __init__(self, path: Path, *, name: str, threads: int = 1, kind: str = "night"):
        self._what = f"{kind} {name}"
        self._container = open_container(path, self._what)
        try:
            self._open_stream(path, threads)
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self, path: Path, threads: int) -> None:
        from av.video.reformatter import VideoReformatter

        stream = self._stream = picture_stream(self._container, self._what)
        context = stream.codec_context
        context.thread_count = threads
        context.thread_type = "AUTO" if threads != 1 else "SLICE"
        self.frame_rate = float(stream.average_rate) if stream.average_rate else None
        """Frames a second on average, as the container says."""
        wrap_s = wrap_seconds(self._container)
        self._start_s = start_seconds(path, self._container, stream)
        self._packets = PacketClock(self._container, stream, self._start_s, wrap_s)
        if not self._packets.stamped:
            raise UserError(
                f"{self._what}: the pictures of the video have no time stamps; remux the file with "
                "the camera's frame rate"
            )
        self._reformatter = VideoReformatter()
        self._frames = self._decode()
        self._before: tuple[float, VideoFrame] | None = None
        self._after = next(self._frames, None)
        self._last_asked = -np.inf
        if self._after is None:
            raise UserError(f"{self._what}: the video holds no frame that can be decoded")
        self.first_s = self._after[0]
        """Time of the first frame."""
        frame = self._after[1]
        self.width, self.height = frame.width, frame.height
        if _quarter_turns(frame) % 2:
            self.width, self.height = frame.height, frame.width

    @property
    def clock(self) -> ClockReport:
        """What is known of the video's clock up to where it has been read."""
        return self._packets.report

    @property
    def end_s(self) -> float | None:
        """Time of the last frame, once the end has been reached."""
        return self.clock.end_s if self._after is None else None

    @property
    def declared_s(self) -> float | None:
        """When the video ends, as the container says; None if it does not say (a transport stream,
        or an AVI file that was never finished, only lets guess)."""
        if wrap_seconds(self._container) < np.inf:
            return None
        if self._is_avi:  # without an index FFmpeg guesses from the size
            unit = self._stream.time_base
            return float(self._stream.frames * unit) if self._has_index and unit else None
        if self._stream.duration is not None and self._stream.time_base is not None:
            end = (self._stream.start_time or 0) + self._stream.duration
            return float(end * self._stream.time_base) - self._start_s
        if not self._container.duration or self._start_s > LATE_S:
            return None  # some writers count from 0, some from the start
        return self._container.duration / 1e6

    @property
    def notes(self) -> list[str]:
        """What is odd about the video's clock or could not be read, one line each, up to where it
        has been read."""
        late = []
        if self.first_s > LATE_S:
            late = [
                f"its first picture comes {self.first_s:.1f} s after the file's clock begins (with "
                "sound, or inside a group of pictures)"
            ]
        return late + self.clock.notes()

    @property
    def one_clock(self) -> bool:
        """Whether one clock ran from the start of the video to its end, as far as it was read."""
        return self.clock.restart_s is None

    @property
    def creation_time(self) -> datetime | None:
        """When the container says it was made, without a zone."""
        return creation_time(self._container, self._stream)

    def _decode(self) -> Iterator[tuple[float, "VideoFrame"]]:
        """(time, frame) in ascending order; what cannot be decoded or placed is passed over."""
        frames = self._stamped_frames()
        if self._packets.by_decoding:
            frames = in_order_of_showing(frames, self._stream.codec_context.has_b_frames)
        seconds = self._packets.seconds
        timed = ((seconds(stamp), frame) for stamp, frame in frames)
        return without_strays(timed, self.clock)

    def _stamped_frames(self) -> Iterator[tuple[int, "VideoFrame"]]:
        import av

        context = self._stream.codec_context
        whole = context.name in _SURE_TO_BEGIN_WHOLE
        for packet in itertools.chain(self._packets.packets(), [None]):
            try:
                frames = context.decode(packet)
            except av.error.InvalidDataError:
                self.clock.damaged_packets += 1
                continue
            except (av.FFmpegError, ValueError):  # the latter: the codec could not be opened
                return
            for frame in frames:
                whole = whole or bool(frame.key_frame)
                if whole and frame.pts is not None:
                    yield frame.pts, frame

    def frames(self) -> Iterator["VideoFrame"]:
        """Every frame that has not been passed yet, in order, as it is stored."""
        while self._after is not None:
            yield self._after[1]
            self._advance()

    def pictures(
        self, height: int, width: int, *, step_s: float = 0.0
    ) -> Iterator[tuple[float, UInt8[np.ndarray, "{height} {width}"] | None]]:
        """The time of every frame that has not been passed yet, and its picture, grey and scaled;
        None where less than `step_s` seconds have passed since the last picture."""
        shown = -np.inf
        while self._after is not None:
            seconds, frame = self._after
            if seconds - shown >= step_s:
                yield seconds, self._grey(frame, height, width)
                shown = seconds
            else:
                yield seconds, None
            self._advance()

    def _advance(self) -> None:
        self._before = self._after
        self._after = next(self._frames, None)

    def read_frames(
        self,
        times_s: Float64[np.ndarray, " n"],
        height: int,
        width: int,
        *,
        tolerance_s: float | None = None,
        not_before_s: float = -np.inf,
    ) -> tuple[UInt8[np.ndarray, "n {height} {width} 1"], Bool[np.ndarray, " n"]]:
        """The frame nearest to each moment, grey and scaled.

        Args:
            times_s: ascending moments in seconds since the start of the video, none before those of
                an earlier call.
            tolerance_s: a frame further away is no frame of that moment; by default half the step
                between moments or between frames, whichever is longer.
            not_before_s: frames before it belong to somebody else (the clip before) and are not
                used.

        Returns:
            frames (0 where there is none) and which moments have one.

        Raises:
            ValueError: moments are not in ascending order.
        """
        times = np.asarray(times_s, np.float64)
        frames = np.zeros((len(times), height, width, 1), np.uint8)
        present = np.zeros(len(times), bool)
        if not len(times):
            return frames, present
        steps = np.diff(times, prepend=self._last_asked)
        if (steps < 0).any():
            raise ValueError("moments of a video must be asked for in ascending order")
        self._last_asked = float(times[-1])
        if tolerance_s is None:
            interval = 1 / self.frame_rate if self.frame_rate else 0.0
            tolerance_s = (
                max(interval, float(steps[1:].min(initial=np.inf)) if len(times) > 1 else 0.0) / 2
            )
        tolerance_s += 1e-6  # a moment half way between two frames has a frame
        shown = None  # the frame converted last
        for i, moment in enumerate(times.tolist()):
            while self._after is not None and self._after[0] < moment:
                self._advance()
            nearest = None
            for candidate in (self._before, self._after):
                if candidate is None or candidate[0] < not_before_s - 1e-6:
                    continue
                if nearest is None or abs(candidate[0] - moment) < abs(nearest[0] - moment):
                    nearest = candidate
            if nearest is None or abs(nearest[0] - moment) > tolerance_s:
                continue
            if shown is not None and shown[0] is nearest[1]:
                frames[i] = frames[shown[1]]
            else:
                frames[i, :, :, 0] = self._grey(nearest[1], height, width)
                shown = (nearest[1], i)
            present[i] = True
        return frames, present

    def _grey(
        self, frame: "VideoFrame", height: int, width: int
    ) -> UInt8[np.ndarray, "{height} {width}"]:
        turns = _quarter_turns(frame)
        if turns % 2:
            height, width = width, height
        # FFmpeg averages over areas when it shrinks and interpolates when it enlarges, and widens
        # the range of television levels (16 … 235) to 0 … 255.
        grey = self._reformatter.reformat(frame, width, height, "gray", interpolation="AREA")
        return np.rot90(grey.to_ndarray(), turns)

    def why_absent(self, begin_s: float, end_s: float) -> str:
        """Why there is no picture from `begin_s` to `end_s`, where it has been read: a key of
        `Clips.counts`."""
        if end_s < 0:
            return "outside video"
        if self.end_s is None or begin_s <= self.end_s:
            return "missing frames"
        return "outside video" if self.one_clock else "behind a restart of the video"

    def seek_end(self) -> float:
        """Time of the last frame that is really there and can be placed, found without decoding
        all; ends the reading.

        A container's own word on its length is no proof: a recording may have been cut off. MP4 and
        AVI are read from near their end; of other containers all packets are looked at, since only
        that shows whether their clock goes through.
        """
        import av

        read = self.clock.end_s if self._after is None else None
        latest = self._after[0] if self._after else self.first_s
        self._frames.close()
        self._before = self._after = None
        end = read
        if end is None and self._has_index and self.declared_s is not None:
            unit = self._stream.time_base
            assert unit is not None
            for back_s in (0.0, 10.0, 60.0, 600.0):
                stamp = round((self._start_s + self.declared_s - back_s) / unit)
                with contextlib.suppress(av.FFmpegError):  # nothing there
                    self._container.seek(stamp, stream=self._stream)
                    end = self._walk()
                if end is not None or self.declared_s <= back_s:
                    break
            else:
                with contextlib.suppress(av.FFmpegError):
                    self._container.seek(self._stream.start_time or 0, stream=self._stream)
                    end = self._walk()
        elif end is None:
            for _ in self._packets.packets():
                pass
            end = self.clock.end_s
        self.clock.end_s = latest if end is None else max(end, latest)
        return self.clock.end_s

    @property
    def _is_avi(self) -> bool:
        return self._container.format.name == "avi"

    @property
    def _has_index(self) -> bool:
        # 0 where a film comes in fragments, each with its own clock, or was never finished.
        frames = self._stream.frames
        entries = len(self._stream.index_entries)
        return (self._is_avi or self._container.format.name.startswith("mov")) and (
            0 < frames <= entries
        )

    def _walk(self) -> float | None:
        """Time of the last packet from here on."""
        self._packets.rewound(self._container.demux(self._stream))
        for _ in self._packets.packets():
            pass
        return self.clock.end_s

    def close(self) -> None:
        """Closes the file; frames can no longer be read."""
        self._frames.close()
        self._before = self._after = None
        self._container.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _quarter_turns(frame: "VideoFrame") -> int:
    """Against the clock, from the picture as a phone stores it to the one that players show."""
    degrees = frame.rotation
    if not -180 <= degrees <= 180:  # a matrix that says nothing, such as zeros
        return 0
    return round(degrees / 90) % 4
