"""Movement and breathing of one night on a common grid: from pictures, and from PSG channels.

Values stand at the middle of bins of 1 / `GRID_RATE` seconds. Movement is a strength from 0 to
`MOST` above what is usual at that time; breathing is a band-passed wave of any sign and size.
"""

import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, UInt8
from scipy import ndimage
from scipy import signal as filters

GRID_RATE = 4
"""Bins a second; breathing needs 1.2, and a bin is half the error that is allowed."""
WINDOW_SECONDS = 120
"""Pictures are searched for breathing over this long: people lie still for it."""
WINDOW_BINS = WINDOW_SECONDS * GRID_RATE
COMPONENTS = 3
"""Directions of the picture that breathing may move along in one window."""
MOST = 4.0

_BREATHS_HZ = (0.1, 0.6)
_MUSCLE_HZ = 10.0
_BASELINE_BINS = 60 * GRID_RATE
_RESTLESS = 6.0  # grey levels from one picture to the next; breathing moves a pixel by less


def bin_centres(bins: int) -> Float64[np.ndarray, " {bins}"]:
    """Seconds at the middle of each bin."""
    return (np.arange(bins) + 0.5) / GRID_RATE


def excursions(size: Float[np.ndarray, " bins"]) -> Float64[np.ndarray, " bins"]:
    """How far a size stands above its usual value of the minute: 0 to `MOST` robust deviations of
    its logarithm. Bins without a value (NaN or nothing) have none."""
    known = np.isfinite(size) & (size > 0)
    if known.sum() < 2 * GRID_RATE:
        return np.zeros(len(size))
    level = np.log(np.where(known, size, 1.0))
    level -= _baseline(level, known)
    spread = 1.4826 * np.median(np.abs(level[known]))
    return np.where(known, np.clip(level / max(spread, 0.05) - 1, 0, MOST), 0.0)


def _baseline(
    level: Float64[np.ndarray, " bins"], known: np.ndarray
) -> Float64[np.ndarray, " bins"]:
    """Median of each minute, joined by lines."""
    firsts = range(0, len(level), _BASELINE_BINS)
    minutes = [slice(first, first + _BASELINE_BINS) for first in firsts]
    minutes = [minute for minute in minutes if known[minute].any()]
    middles = [(minute.start + min(minute.stop, len(level))) / 2 for minute in minutes]
    medians = [np.median(level[minute][known[minute]]) for minute in minutes]
    return np.interp(np.arange(len(level)), middles, medians)


def muscle_size(samples: Float[np.ndarray, " n"], rate: float) -> Float64[np.ndarray, " bins"]:
    """Root mean square above 10 Hz of each bin of an EEG or EMG channel; NaN where samples lack.

    Muscles speak there; below it slow waves and K-complexes of sleep would pass for movement.
    """
    return _size_above(samples, rate, _MUSCLE_HZ)


def belt_jerks(samples: Float[np.ndarray, " n"], rate: float) -> Float64[np.ndarray, " bins"]:
    """Root mean square of each bin of an effort belt above its breathing; NaN where samples
    lack."""
    return _size_above(samples, rate, 1.0)


def _size_above(
    samples: Float[np.ndarray, " n"], rate: float, frequency: float
) -> Float64[np.ndarray, " bins"]:
    present = np.isfinite(samples)
    sections = filters.butter(4, frequency, "highpass", fs=rate, output="sos")
    high = filters.sosfiltfilt(sections, np.where(present, samples, 0).astype(np.float32))
    size = np.sqrt(_bin_means(high**2, rate))
    size[_bin_means(present, rate) < 1] = np.nan
    return size


def _bin_means(values: np.ndarray, rate: float) -> Float64[np.ndarray, " bins"]:
    edges = np.rint(np.arange(int(len(values) / rate * GRID_RATE) + 1) * rate / GRID_RATE)
    edges = edges.astype(np.int64)
    sums = np.add.reduceat(values, edges[:-1], dtype=np.float64)
    sums[-1] = values[edges[-2] : edges[-1]].sum(dtype=np.float64)
    return sums / np.diff(edges)


def belt_breathing(samples: Float[np.ndarray, " n"], rate: float) -> Float64[np.ndarray, " bins"]:
    """The wave of breathing of an effort belt, jerks tamed; 0 where samples lack."""
    means = _bin_means(samples, rate)
    present = np.isfinite(means)
    if not present.any():
        return np.zeros(len(means))
    means = np.interp(np.arange(len(means)), np.flatnonzero(present), means[present])
    wave = _breathing_band(means[:, None])
    wave[~present] = 0
    return _tamed(wave)[:, 0]


def _breathing_band(values: Float[np.ndarray, "bins n"]) -> Float64[np.ndarray, "bins n"]:
    sections = filters.butter(2, _BREATHS_HZ, "bandpass", fs=GRID_RATE, output="sos")
    return filters.sosfiltfilt(sections, values, axis=0)


def _tamed(wave: Float64[np.ndarray, "bins n"]) -> Float64[np.ndarray, "bins n"]:
    """Moments of more than twice the usual size are scaled down to it: a movement is no breath."""
    size = np.linalg.norm(wave, axis=1, keepdims=True)
    usual = 2 * np.median(size)
    return wave * np.where(size > usual, usual / np.maximum(size, 1e-30), 1)


def steady_pixels(
    pictures: UInt8[np.ndarray, "n height width"],
) -> Bool[np.ndarray, "height width"]:
    """Pixels that rest at times, unlike those of a clock that is written into the picture.

    A sleeper lies still for most of two minutes; the digits of a clock jump all through them. Where
    more than a quarter of the picture is restless, it is no clock, and all pixels are taken.
    """
    height, width = pictures.shape[1:]
    pieces = min(WINDOW_SECONDS // 10, len(pictures) // 4)
    if not pieces:
        return np.ones((height, width), bool)
    jumps = np.abs(np.diff(pictures.astype(np.int16), axis=0))
    largest = [piece.max(axis=0) for piece in np.array_split(jumps, pieces)]
    in_quiet = np.percentile(largest, 25, axis=0)
    restless = in_quiet > max(3 * np.median(in_quiet), _RESTLESS)
    if restless.mean() > 0.25:
        return np.ones((height, width), bool)
    return ~ndimage.binary_dilation(restless, np.ones((3, 3)))


def picture_change(
    before: UInt8[np.ndarray, " *pixels"], after: UInt8[np.ndarray, " *pixels"]
) -> float:
    """Mean change of a pixel from one picture to the next, without that of the light as a whole."""
    change = after.astype(np.float32) - before
    return float(np.abs(change - np.median(change)).mean())


def picture_breathing(
    pictures: UInt8[np.ndarray, "n *pixels"],
    times_s: Float64[np.ndarray, " n"],
    first_s: float,
) -> Float32[np.ndarray, "{COMPONENTS} {WINDOW_BINS}"]:
    """The strongest waves of breathing frequency in the pictures of one window.

    Principal components over time of all pixels, band-passed, each of length 1. All 0 where a
    fifth of the window has no pictures.

    Args:
        times_s: when the pictures were taken, ascending.
        first_s: when the window begins.
    """
    nothing = np.zeros((COMPONENTS, WINDOW_BINS), np.float32)
    bins = first_s + bin_centres(WINDOW_BINS)
    if len(times_s) < WINDOW_SECONDS:
        return nothing
    after = np.clip(np.searchsorted(times_s, bins), 1, len(times_s) - 1)
    apart = times_s[after] - times_s[after - 1]
    near = (apart < 2) & (bins >= times_s[0] - 1) & (bins <= times_s[-1] + 1)
    if near.mean() < 0.8:
        return nothing
    share = np.clip((bins - times_s[after - 1]) / apart, 0, 1)[:, None].astype(np.float32)
    pixels = pictures.reshape(len(pictures), -1).astype(np.float32)
    pixels = pixels[after - 1] * (1 - share) + pixels[after] * share
    wave = _tamed(_breathing_band(pixels - pixels.mean(axis=1, keepdims=True)))
    wave[~near] = 0
    wave = (wave - wave.mean(axis=0)).astype(np.float32)
    return _principal(wave) if np.linalg.norm(wave) > 1 else nothing


def _principal(wave: Float32[np.ndarray, "bins pixels"]) -> Float32[np.ndarray, "k bins"]:
    """The `COMPONENTS` strongest left singular vectors, by subspace iteration: a full
    decomposition of every window would take longer than decoding the video."""
    basis = wave[:, :: max(1, wave.shape[1] // (3 * COMPONENTS))]
    for _ in range(6):
        basis = np.linalg.qr(wave @ (wave.T @ basis))[0]
    vectors = np.linalg.svd(basis.T @ wave, full_matrices=False)[0]
    return (basis @ vectors[:, :COMPONENTS]).T.astype(np.float32)
