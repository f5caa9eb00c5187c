"""Frames of a long video by presentation time, in one pass and with bounded memory."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float64, UInt8

from input_pipeline.errors import UserError

if TYPE_CHECKING:
    from av import VideoFrame

MAX_PIXELS = 8192 * 8192
_DEMUXERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,mpeg,mpegts,mxf,flv,ogg,wtv,dv,nut"
"""Containers that hold a video themselves. Playlists (hls, concat, dash) are none: they open
further files."""

# Cover pictures stand among the video streams of a container.
_PICTURES = {"png", "bmp", "gif", "webp", "tiff", "ansi", "ppm"}


class VideoReader:
    """Reads a video from its first frame to its last; moments must be asked for in ascending order.

    Times are seconds after the first frame, as presentation time stamps say: a variable frame rate
    and lost frames shift nothing.

    Args:
        name: what errors call the recording (a night_id); neither the file's name nor FFmpeg's
            words are shown.
        kind: what stands before the name in errors.
        threads: decoding threads; one is best where several nights are read at once, 0 lets FFmpeg
            choose.

    Raises:
        UserError: the file is empty, cut off, no video, or has pictures of an impossible size.
    """

    def __init__(self, path: Path, *, name: str, threads: int = 1, kind: str = "night"):
        import av

        self._what = f"{kind} {name}"
        self.damaged_packets = 0
        self.end_s: float | None = None
        """Time of the last frame, once the end has been reached."""
        try:
            if path.stat().st_size == 0:
                raise UserError(f"{self._what}: the video file is empty")
            self._container = av.open(
                str(path.absolute()),
                options={"protocol_whitelist": "file", "format_whitelist": _DEMUXERS},
            )
        except av.FFmpegError as error:
            raise UserError(
                f"{self._what}: the video cannot be opened ({error.strerror}); it is cut off, "
                "damaged or not a video"
            ) from None
        except OSError as error:
            raise UserError(f"{self._what}: the video cannot be read ({error.strerror})") from None
        try:
            self._open_stream(threads)
        except BaseException:
            self._container.close()
            raise

    def _open_stream(self, threads: int) -> None:
        from av.stream import Disposition
        from av.video.reformatter import VideoReformatter

        streams = [
            stream
            for stream in self._container.streams.video
            if not stream.disposition & Disposition.attached_pic
            and stream.codec_context is not None
            and stream.codec_context.name not in _PICTURES
        ]
        if not streams:
            raise UserError(f"{self._what}: the file holds no video stream")
        stream = self._stream = streams[0]
        context = stream.codec_context
        if not 0 < context.width * context.height <= MAX_PIXELS:
            raise UserError(
                f"{self._what}: pictures of {context.width}x{context.height}; expected at "
                f"most {MAX_PIXELS} pixels"
            )
        context.options = {**context.options, "max_pixels": str(MAX_PIXELS)}
        context.thread_count = threads
        context.thread_type = "AUTO" if threads != 1 else "SLICE"
        self.width, self.height = context.width, context.height
        self.frame_rate = float(stream.average_rate) if stream.average_rate else None
        """Frames a second on average, as the container says."""
        self._reformatter = VideoReformatter()
        self._first_stamp: int | None = None
        self._frames = self._decode()
        self._before: tuple[float, VideoFrame] | None = None
        self._after = next(self._frames, None)
        self._last_asked = -np.inf
        if self._after is None:
            raise UserError(f"{self._what}: the video holds no frame that can be decoded")

    @property
    def declared_s(self) -> float | None:
        """Length in seconds as the container says, without decoding; None if it does not say."""
        if self._stream.duration is not None and self._stream.time_base is not None:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / 1e6 if self._container.duration else None

    @property
    def creation_time(self) -> datetime | None:
        """When the container says it was made; its zone is dropped (`sync.video_start` says
        why)."""
        text = self._stream.metadata.get("creation_time") or self._container.metadata.get(
            "creation_time"
        )
        try:
            return datetime.fromisoformat(text).replace(tzinfo=None) if text else None
        except ValueError:
            return None

    def _decode(self) -> Iterator[tuple[float, "VideoFrame"]]:
        """(seconds after the first frame, frame) in presentation order; damaged packets are passed
        over."""
        import av

        last = None
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
                frames = packet.decode()
            except StopIteration:
                return
            except av.error.InvalidDataError:
                self.damaged_packets += 1
                if self.damaged_packets > 100_000:
                    return
                continue
            except av.FFmpegError:  # the file ends inside a packet
                return
            for frame in frames:
                stamp = frame.pts if frame.pts is not None else frame.dts
                if stamp is None or frame.time_base is None:
                    raise UserError(
                        f"{self._what}: a frame of the video has no time stamp; remux the file"
                    )
                if self._first_stamp is None:
                    self._first_stamp = stamp
                if last is not None and stamp <= last:
                    continue
                last = stamp
                yield float((stamp - self._first_stamp) * frame.time_base), frame

    def frames(self) -> Iterator["VideoFrame"]:
        """Every frame that has not been passed yet, in order, as it is stored."""
        while self._after is not None:
            yield self._after[1]
            self._advance()

    def _advance(self) -> None:
        self._before = self._after
        self._after = next(self._frames, None)
        if self._after is None and self._before is not None:
            self.end_s = self._before[0]

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
            times_s: ascending moments in seconds after the first frame, none before those of an
                earlier call.
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
        # FFmpeg averages over areas when it shrinks and interpolates when it enlarges, and widens
        # the range of television levels (16 … 235) to 0 … 255.
        grey = self._reformatter.reformat(frame, width, height, "gray", interpolation="AREA")
        return grey.to_ndarray()

    def seek_end(self) -> float:
        """Time of the last frame that is really there, found without decoding all; ends the
        reading.

        A container's own word on its length is no proof: a recording may have been cut off.
        """
        import av

        last = self._after[0] if self._after else 0.0
        if self.declared_s is not None and self._stream.time_base:
            stamp = (self._first_stamp or 0) + round(self.declared_s / self._stream.time_base)
            with contextlib.suppress(av.FFmpegError):  # no index: go through the file
                self._container.seek(stamp, stream=self._stream)
        for seconds, _ in self._decode():
            last = seconds
        self._before = self._after = None
        self.end_s = last
        return last

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
