"""Reads from a night's files what its two clocks are compared by, in bounded memory."""

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from input_pipeline.alignment.signals import (
    COMPONENTS,
    GRID_RATE,
    WINDOW_BINS,
    WINDOW_SECONDS,
    belt_breathing,
    belt_jerks,
    bin_centres,
    excursions,
    muscle_size,
    picture_breathing,
    picture_change,
    steady_pixels,
)
from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.edf import read_signal
from input_pipeline.readers.edf_header import Header, read_header
from input_pipeline.readers.sync import open_night_video

_HEIGHT, _WIDTH = 24, 32
_STEP_S = 0.9 / GRID_RATE

_KINDS = {  # the first that fits: "Resp nasal" is no belt, "EMG chin" no EEG
    "other": r"\w*FLOW|\w*NASAL|THERM\w*|SNORE|MIC\w*|PRES\w*|E[CKO]G|\w*EYE|SPO2|SAO2|PLETH\w*",
    "belt": r"EFFORT|RESP|RIP|RIBCAGE|THO\w*|CHEST|ABD\w*|BELT|V(TH|AB)",
    "EMG": r"EMG\w*|CHIN\w*|SUBMENT\w*|[LR]?LEG\w*|TIB\w*|[LR]AT|PLM\w*",
    "EEG": r"EEG|F[PZ1-8]\w*|C[Z1-6]\w*|O[Z12]\w*|P[Z1-8]\w*|T[3-8]\w*",
}
"""Words by which the labels of the usual recorders name their channels."""
_MOST_CHANNELS = {"belt": 3, "EMG": 4, "EEG": 2}
_LEAST_RATE = {"belt": GRID_RATE, "EMG": 40.0, "EEG": 40.0}


@dataclass(frozen=True)
class VideoSide:
    """What the video shows, by seconds since it began."""

    frame_times_s: Float64[np.ndarray, " frames"]
    """When each frame is shown."""
    movement: Float64[np.ndarray, " bins"]
    breathing: Float32[np.ndarray, "windows {COMPONENTS} {WINDOW_BINS}"]
    """Waves of each whole window, see `picture_breathing`."""
    creation_time: datetime | None


@dataclass(frozen=True)
class PsgSide:
    """What the PSG recorded, by seconds since its first sample."""

    movement: Float64[np.ndarray, " bins"]
    """Mean of the channels."""
    breathing: tuple[Float64[np.ndarray, " bins"], ...]
    """The wave of each effort belt."""
    start: datetime
    gaps: tuple[tuple[float, float], ...]
    channels: dict[str, int]
    """Channels used, by kind."""


def read_video_side(night: Night) -> VideoSide:
    """Goes through the video once, small and grey.

    Raises:
        UserError: it cannot be read.
    """
    times: list[float] = []
    moments: list[float] = []
    changes: list[float] = []
    windows: list[np.ndarray] = []
    held: list[tuple[float, np.ndarray]] = []

    def close_window() -> None:
        """Takes from the pictures held what they show, and keeps the last."""
        pictures = np.array([picture for _, picture in held], np.uint8)
        pictures = pictures.reshape(-1, _HEIGHT, _WIDTH)
        pictures = pictures[:, steady_pixels(pictures)]
        seconds = np.array([second for second, _ in held], np.float64)
        for k in np.flatnonzero(np.diff(seconds) < 2):
            apart = seconds[k + 1] - seconds[k]
            moments.append(seconds[k] + apart / 2)
            changes.append(picture_change(pictures[k], pictures[k + 1]) / apart)
        first_s = len(windows) * WINDOW_SECONDS
        inside = seconds >= first_s
        windows.append(picture_breathing(pictures[inside], seconds[inside], first_s))
        del held[:-1]

    with open_night_video(night) as video:
        for second, picture in video.pictures(_HEIGHT, _WIDTH, step_s=_STEP_S):
            times.append(second)
            if picture is None:
                continue
            while second >= (len(windows) + 1) * WINDOW_SECONDS:
                close_window()
            held.append((second, picture))
        creation_time = video.creation_time
    close_window()
    windows.pop()  # not whole: its pictures tell movement alone
    bins = int(times[-1] * GRID_RATE)
    if len(moments) < 2:
        raise UserError(f"night {night.night_id}: {len(times)} frames in the video; too few")
    centres = bin_centres(bins)
    change = np.interp(centres, moments, changes)
    nearest = np.clip(np.searchsorted(moments, centres), 1, len(moments) - 1)
    far = np.diff(moments)[nearest - 1] > 2
    change[far] = np.nan
    return VideoSide(
        frame_times_s=np.array(times),
        movement=excursions(change),
        breathing=np.array(windows, np.float32).reshape(-1, COMPONENTS, WINDOW_BINS),
        creation_time=creation_time,
    )


def read_psg_side(night: Night) -> PsgSide:
    """Reads EEG, EMG and effort belts, one channel at a time.

    Raises:
        UserError: the file cannot be read, or has none of these channels.
    """
    first = night.psg if isinstance(night.psg, Path) else night.psg[0]
    chosen = _channels(read_header(first, name=night.night_id))
    movements, belts, used = [], [], dict.fromkeys(_MOST_CHANNELS, 0)
    start, gaps = None, ()
    problem = f"night {night.night_id}: no EEG, EMG or effort belt among the channels of the PSG"
    for kind, label in chosen:
        try:
            channel = read_signal(night.psg, label, name=night.night_id, any_unit=True)
        except UserError as error:  # a damaged channel; others may serve
            problem = str(error)
            continue
        size = belt_jerks if kind == "belt" else muscle_size
        movements.append(excursions(size(channel.samples, channel.rate)))
        if kind == "belt":
            belts.append(belt_breathing(channel.samples, channel.rate))
        start, gaps = channel.start, channel.gaps
        used[kind] += 1
    if start is None:
        raise UserError(problem)
    bins = min(len(movement) for movement in movements)
    return PsgSide(
        movement=np.mean([movement[:bins] for movement in movements], axis=0),
        breathing=tuple(belt[:bins] for belt in belts),
        start=start,
        gaps=gaps,
        channels=used,
    )


def _channels(header: Header) -> list[tuple[str, str]]:
    """(kind, label) of the channels to read, at most `_MOST_CHANNELS` of a kind."""
    labels = [signal.label for signal in header.signals]
    chosen: list[tuple[str, str]] = []
    for signal in header.signals:
        kind = channel_kind(signal.label)
        if signal.annotations or kind not in _MOST_CHANNELS or header.record_seconds <= 0:
            continue
        if labels.count(signal.label) > 1 or "|" in signal.label:
            continue  # no way to ask for this one
        rate = signal.samples / header.record_seconds
        taken = sum(1 for other, _ in chosen if other == kind)
        if rate >= _LEAST_RATE[kind] and taken < _MOST_CHANNELS[kind]:
            chosen.append((kind, signal.label))
    return chosen


def channel_kind(label: str) -> str:
    """ "belt", "EMG", "EEG" or "other", as the label's words say."""
    words = re.sub(r"[^A-Z0-9]+", " ", label.upper())
    kinds = (kind for kind, known in _KINDS.items() if re.search(rf"\b({known})\b", words))
    return next(kinds, "other")
