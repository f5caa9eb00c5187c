"""The clock of the PSG and the clock of the camera."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import overload

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.night import Night

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_EDF_VIDEO_NAME = re.compile(
    r".*_(\d{2})-([A-Za-z]{3})-(\d{4})_(\d{2})[Hh](\d{2})[Mm](\d{2})(?:\.(\d{1,6}))?[Ss]_Video\.[A-Za-z0-9]+"
)


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


def start_from_name(path: Path) -> datetime | None:
    """Start time in a video's name by the EDF video specification, None for other names.

    `<ID>_DD-MMM-YYYY_HHhMMmSS.fffs_Video.<ext>` (edfplus.info/specs/video.html; Kemp & Roessen,
    Sleep 2013;36:1111).
    """
    found = _EDF_VIDEO_NAME.fullmatch(path.name)
    if not found or found[2].upper() not in _MONTHS:
        return None
    fraction = (found[7] or "").ljust(6, "0")
    try:
        return datetime(
            int(found[3]),
            _MONTHS.index(found[2].upper()) + 1,
            int(found[1]),
            *(int(found[i]) for i in (4, 5, 6)),
            int(fraction),
        )
    except ValueError:
        return None


def video_start(night: Night, creation_time: datetime | None) -> tuple[datetime, str]:
    """When the video began by the local clock, and where that is known from.

    Args:
        creation_time: what the container says of itself. Its digits are taken for local time:
            cameras write them so, whatever zone the container states.

    Raises:
        UserError: nothing says when the video began.
    """
    if night.video_start is not None:
        return night.video_start, "manifest"
    if night.video is not None and (named := start_from_name(night.video)):
        return named, "file name"
    if creation_time is not None:
        return creation_time, "container"
    raise UserError(
        f"night {night.night_id}: nothing says when the video began; expected video_start in the "
        "manifest, a file name such as ID_31-JAN-2024_22h15m03.250s_Video.mp4, or a creation time "
        "in the file"
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
    """The night's clock; see `Night` for the meaning and signs of its offset and drift."""
    started, _ = video_start(night, creation_time)
    return Clock((started - psg_start).total_seconds() + night.sync_offset_s, night.sync_drift_ppm)
