"""A sleeper who moves and breathes, as a camera and a PSG with other clocks see it."""

from datetime import datetime

import numpy as np

from input_pipeline.alignment.reading import PsgSide, VideoSide
from input_pipeline.alignment.signals import (
    COMPONENTS,
    WINDOW_BINS,
    bin_centres,
)
from input_pipeline.readers.sync import Clock

_FINE = 20
_MARGIN = 300


def sides(
    seed: int,
    hours: float,
    clock: Clock,
    *,
    moves: float = 40.0,
    breath_spread: float = 0.15,
    jump_s: float = 0.0,
    noise: float = 0.5,
) -> tuple[VideoSide, PsgSide]:
    """Both sides of a night.

    Args:
        clock: the truth.
        moves: movements an hour.
        breath_spread: how unlike the lengths of neighbouring breaths are; 0 is a machine.
        jump_s: what the camera's clock leaps forward in the middle of the night.
    """
    rng = np.random.default_rng(seed)
    seconds = hours * 3600
    time = np.arange(-_MARGIN, seconds + _MARGIN, 1 / _FINE)
    moved = np.zeros(len(time))
    for onset in rng.uniform(time[0], time[-1], rng.poisson(moves * len(time) / _FINE / 3600)):
        moved[(time >= onset) & (time < onset + rng.uniform(2, 12))] += rng.uniform(1, 3)
    lengths = 4 * np.exp(breath_spread * rng.normal(size=int(len(time) / _FINE / 2)))
    breaths = np.concatenate([[0], np.cumsum(lengths)]) + time[0]
    breath = np.sin(2 * np.pi * np.interp(time, breaths, np.arange(len(breaths))))

    bins = int(seconds * 4)
    video_s = bin_centres(bins)
    seen = clock.psg_seconds(video_s + np.where(video_s > seconds / 2, jump_s, 0.0))

    def at(signal: np.ndarray, moments: np.ndarray) -> np.ndarray:
        return np.interp(moments, time, signal) + noise * rng.normal(size=len(moments))

    windows = bins // WINDOW_BINS
    waves = at(breath, seen)[: windows * WINDOW_BINS].reshape(windows, 1, WINDOW_BINS)
    others = rng.normal(size=(windows, COMPONENTS - 1, WINDOW_BINS))
    waves = np.concatenate([others[:, :1], -waves, others[:, 1:]], axis=1)
    waves /= np.linalg.norm(waves, axis=2, keepdims=True)
    video = VideoSide(
        frame_times_s=video_s,
        movement=np.clip(at(moved, seen), 0, 4),
        breathing=waves.astype(np.float32),
        creation_time=None,
    )
    psg = PsgSide(
        movement=np.clip(at(moved, bin_centres(bins)), 0, 4),
        breathing=(at(breath, bin_centres(bins)),),
        start=datetime(2024, 1, 31, 22),
        gaps=(),
        channels={"belt": 1, "EMG": 1, "EEG": 0},
    )
    return video, psg
