"""The clock of the PSG and the clock of the camera."""

from dataclasses import dataclass
from datetime import datetime
from typing import overload

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.video import VideoReader, VideoRecording, open_video
from input_pipeline.readers.video.start_times import (
    start_from_digits,
    start_from_name,
    states_zone,
)

FRAME_RATE_PPM = 500.0
"""No clock of a camera drifts by more; beyond it, the frame rate in a video's header is wrong."""

_DAY_S = 86400.0


@dataclass(frozen=True)
class Clock:
    """Where moments of the video lie in the PSG. Both count seconds from their own first sample or
    frame."""

    offset_s: float
    """Seconds of the PSG at the video's first moment."""
    drift_ppm: float = 0.0
    """Seconds the PSG gains on the video, per million seconds of video."""

    @overload
    def psg_seconds(self, video_seconds: float) -> float: ...
    @overload
    def psg_seconds(self, video_seconds: np.ndarray) -> np.ndarray: ...
    def psg_seconds(self, video_seconds):
        """Seconds since the PSG began, at `video_seconds` of the video."""
        return self.offset_s + video_seconds * (1 + self.drift_ppm * 1e-6)

    @overload
    def video_seconds(self, psg_seconds: float) -> float: ...
    @overload
    def video_seconds(self, psg_seconds: np.ndarray) -> np.ndarray: ...
    def video_seconds(self, psg_seconds):
        """Seconds since the video began, at `psg_seconds` of the PSG."""
        return (psg_seconds - self.offset_s) / (1 + self.drift_ppm * 1e-6)


def video_start(night: Night, creation_time: datetime | None) -> tuple[datetime, str]:
    """When the video began by the local clock, and where that is known from.

    Args:
        creation_time: what the container says of itself. Its digits are taken for local time:
            cameras write them so, whatever zone the container states.

    Raises:
        UserError: nothing says when the video began, or its name says it in UTC.
    """
    if night.video_start is not None:
        return min(night.video_starts), "manifest"
    for source, read in (
        ("file name", start_from_name),
        ("digits in the file name", start_from_digits),
    ):
        named = [read(path) for path in night.video_files]
        known = [moment for moment in named if moment is not None]
        if known and len(known) == len(named):
            if source != "file name" and any(map(states_zone, night.video_files)):
                raise UserError(
                    f"night {night.night_id}: the name of the video gives its start in UTC or "
                    "another zone; expected video_start in the manifest, by the clock of the PSG"
                )
            return min(known), source
    if creation_time is not None:
        return creation_time, "container"
    raise UserError(
        f"night {night.night_id}: nothing says when the video began; expected video_start in the "
        "manifest, a file name such as ID_31-JAN-2024_22h15m03.250s_Video.mp4 or "
        "cam1_20240131_221503.mp4, or a creation time in the file"
    )


def rate_note(clock: Clock, video_end_s: float | None, psg_s: float) -> str | None:
    """A line if the video ends before or after the PSG by a share of its length that a wrong frame
    rate in its header would explain.

    A camera of 4.8 frames a second whose file says 5 plays too fast: after half an hour its picture
    is 72 s ahead. Nothing but the two lengths shows it.
    """
    if video_end_s is None or video_end_s <= 0:
        return None
    short_s = psg_s - clock.psg_seconds(video_end_s)
    ppm = clock.drift_ppm + short_s / video_end_s * 1e6
    if abs(short_s) < 30 or not 2000 <= abs(ppm - clock.drift_ppm) <= 100_000:
        return None
    return (
        f"the video ends {abs(short_s):.0f} s {'before' if short_s > 0 else 'after'} the PSG; if "
        "both were stopped together, its frame rate is not what its header says: compare a late "
        f"event, and state sync_drift_ppm {ppm:.0f}"
    )


def clock(night: Night, psg_start: datetime, creation_time: datetime | None) -> Clock:
    """The night's clock; see `Night` for the meaning and signs of its offset and drift.

    Where the manifest confirms that dates do not count, the video begins within twelve hours of the
    PSG.

    Raises:
        UserError: nothing says when the video began, or its time of day is that of a clock which
            nobody set.
    """
    started, source = video_start(night, creation_time)
    offset_s = (started - psg_start).total_seconds() + night.sync_offset_s
    if "date" in night.hypnogram_confirm:
        reset = (started.month, started.day) == (1, 1) and started.hour == 0
        if reset and source != "manifest" and abs(offset_s) > _DAY_S:
            raise UserError(
                f"night {night.night_id}: the video begins in the first hour of a 1 January: the "
                "camera's clock was never set; give video_start in the manifest"
            )
        offset_s -= _DAY_S * round(offset_s / _DAY_S)
    return Clock(offset_s, clock_drift_ppm(night))


def clock_drift_ppm(night: Night) -> float:
    """Drift of the camera's clock; 0 where the stated one is that of a wrong frame rate inside each
    of several files, which `open_night_video` undoes."""
    return 0.0 if _wrong_frame_rate(night) else night.sync_drift_ppm


def _wrong_frame_rate(night: Night) -> bool:
    """Whether the stated drift lies inside each of several files, whose starts are right."""
    return len(night.video_files) > 1 and abs(night.sync_drift_ppm) > FRAME_RATE_PPM


def open_night_video(night: Night, threads: int = 1) -> VideoReader | VideoRecording:
    """Opens the video of a night, be it one file or many.

    Raises:
        UserError: it cannot be used; the line names the night.
    """
    return open_video(
        night.video_files,
        name=night.night_id,
        # One start stated for many files is that of the first: the others follow by their names.
        starts=night.video_starts if len(night.video_starts) > 1 else (),
        stretch=1 + night.sync_drift_ppm * 1e-6 if _wrong_frame_rate(night) else 1.0,
        threads=threads,
    )
