"""What the pictures of an epoch show without any network: light, movement, rhythm of breathing."""

import numpy as np
from jaxtyping import Float64, UInt8

from input_pipeline.picture_features import BREATHING_HZ

DARK = 6.0
"""Mean grey level of 255 below which nothing can be seen."""
FLAT = 2.0
"""Deviation of grey levels over the picture below which it shows nothing: a covered lens."""
_CLEAR = 6.0
"""A rhythm counts when its strongest frequency has this many times the power of a usual one."""
_DEPTH = 0.3
"""Grey levels of 255 that the place where it is strongest must rise and fall by."""
_LOCAL = 5.0
"""Times that of the usual place. A codec's groups of pictures are a rhythm of the whole picture: an
empty room in H.264 had 8 or 30 "breaths" a minute, everywhere and 0.2 grey levels deep; a simulated
sleeper's chest changes by 2 to 5 grey levels, 20 times more than the rest."""


def unusable(frames: UInt8[np.ndarray, "frames height width 1"]) -> str:
    """Why nothing can be told from these frames; "" where something can.

    `dark`, `covered` (one grey all over) or `frozen` (every frame is the same).
    """
    pixels = frames[..., 0].astype(np.float32)
    if pixels.mean() < DARK:
        return "dark"
    if np.median(pixels.std(axis=(1, 2))) < FLAT:
        return "covered"
    if len(frames) > 1 and (frames == frames[:1]).all():
        return "frozen"
    return ""


def movement(frames: UInt8[np.ndarray, "frames height width 1"]) -> float:
    """Mean change of a pixel from frame to frame, in grey levels; NaN for a single frame."""
    if len(frames) < 2:
        return float("nan")
    return float(np.abs(np.diff(frames.astype(np.int16), axis=0)).mean())


def breathing(frames: UInt8[np.ndarray, "frames height width 1"], frame_rate: float) -> float:
    """Breaths a minute of the strongest rhythm in the picture; NaN where none stands out.

    The picture is divided into blocks; each block's mean brightness is a signal, and the power of
    all signals at each frequency is added up. A rhythm that is everywhere, or faint, is the codec's
    and not a chest's. Frames must come fast enough (Nyquist) to hold the slowest half of the band.
    """
    low, high = BREATHING_HZ
    high = min(high, 0.45 * frame_rate)
    if len(frames) < 16 or high <= 2 * low:
        return float("nan")
    signals = _blocks(frames)
    signals = signals - signals.mean(axis=0)
    times = np.linspace(-1, 1, len(signals))
    trend = np.polynomial.polynomial.polyvander(times, 2)
    signals = signals - trend @ np.linalg.lstsq(trend, signals, rcond=None)[0]
    window = np.hanning(len(signals))
    depth = 2 * np.abs(np.fft.rfft(signals * window[:, None], axis=0)) / window.sum()
    power = (depth**2).sum(axis=1)
    hertz = np.fft.rfftfreq(len(signals), 1 / frame_rate)
    band = (hertz >= low) & (hertz <= high)
    usual = np.median(power[1:])
    if not band.any() or usual <= 0 or power[band].max() < _CLEAR * usual:
        return float("nan")
    strongest = np.flatnonzero(band)[power[band].argmax()]
    places = depth[strongest]
    if places.max() < max(_DEPTH, _LOCAL * np.median(places)):
        return float("nan")
    return float(60 * hertz[strongest])


def _blocks(
    frames: UInt8[np.ndarray, "frames height width 1"], across: int = 8
) -> Float64[np.ndarray, "frames blocks"]:
    """Mean grey level of blocks of the picture, over time."""
    height, width = frames.shape[1:3]
    rows = np.array_split(np.arange(height), min(across, height))
    columns = np.array_split(np.arange(width), min(across, width))
    pixels = frames[..., 0].astype(np.float64)
    return np.stack(
        [
            pixels[:, row[0] : row[-1] + 1, column[0] : column[-1] + 1].mean(axis=(1, 2))
            for row in rows
            for column in columns
        ],
        axis=1,
    )
