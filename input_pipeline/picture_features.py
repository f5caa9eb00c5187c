"""What plain signal processing sees in the pictures of a clip: breathing and movement, no network.

The features of the rival that stands beside the networks (`sacd_jax.training.rival`); the
simulator's measure of its own difficulty takes `pixel_statistics` alone. They are made of the
stored frames and of nothing else.
"""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, UInt8

BREATHING_HZ = (0.12, 0.6)
"""Seven to 36 breaths a minute."""
_PIXELS = 64 * 86
"""Larger frames are averaged over blocks until they have at most so many pixels."""
_BLOCKS = 8
"""Blocks across the picture, in each direction, whose brightness is followed."""
NO_BREATH = -1.0
"""Value of a breathing statistic where there are too few breaths to tell; all others are larger."""
FEWEST_FRAMES = 30
"""Frames of a clip that the filters need."""

BREATHING = (
    "rate",
    "rate_of_peaks",
    "amplitude",
    "smallest_amplitude",
    "amplitude_spread",
    "interval_spread",
    "power_share",
    "sharpness",
    "self_similarity",
    "still_share",
)
"""Names of the values of `breathing_statistics`."""
MOVEMENT = ("mean", "largest", "share", "bouts", "longest_stillness", "early", "middle", "late")
"""Names of the values of `movement_statistics`."""

Frames = UInt8[np.ndarray, "frames height width 1"]


def picture_features(frames: Frames, frame_rate: float) -> Float[np.ndarray, " features"]:
    """All features of one clip, float64; their number does not depend on the frames.

    Args:
        frames: of the clip, of any size, `FEWEST_FRAMES` or more.
        frame_rate: frames a second.
    """
    small = shrunk(frames)
    found = [
        pixel_statistics(small),
        np.array(list(movement_statistics(small).values())),
        np.array(list(breathing_statistics(small, frame_rate).values())),
    ]
    return np.concatenate(found)


def shrunk(frames: Frames) -> Float[np.ndarray, "frames h w 1"]:
    """Frames as float32, averaged over square blocks until they are small; borders are cut."""
    _, height, width, _ = frames.shape
    side = int(np.ceil(np.sqrt(height * width / _PIXELS)))
    pixels = frames[..., 0]
    if side > 1:
        rows, columns = height // side * side, width // side * side
        # Sums of whole rows first: those lie in one piece and go several at a time.
        tall = sum(pixels[:, i:rows:side, :columns].astype(np.uint16) for i in range(side))
        wide = sum(tall[..., i::side].astype(np.float32) for i in range(side))
        return (np.asarray(wide) / side**2)[..., None]
    return pixels.astype(np.float32)[..., None]


def pixel_statistics(
    video: Float[np.ndarray, "frames height width 1"] | Frames,
) -> Float[np.ndarray, " features"]:
    """How much of the picture changes from frame to frame, how locally, and how regularly."""
    from scipy.ndimage import uniform_filter  # slow to import

    frames = video[..., 0].astype(np.float32)
    change = np.diff(frames, axis=0)
    amount = np.abs(change).mean(axis=(1, 2))
    local = np.abs(uniform_filter(change, (0, 3, 3))).reshape(len(change), -1)
    local /= np.median(local, axis=0) + 0.8  # what is usual at this place: noise and breathing
    peak, area = local.max(axis=1), (local > 4).mean(axis=1)
    values = [*np.percentile(amount, [10, 50, 75, 90, 100])]
    values += [*np.percentile(peak, [50, 75, 90, 100]), *np.percentile(area, [50, 75, 90, 100])]
    values += [(peak > 5).sum(), (peak > 7).sum(), ((peak > 6) & (area < 0.05)).sum()]
    values += [((peak > 6) & (area >= 0.05)).sum(), (area >= 0.2).sum()]
    still = np.concatenate([[True], area < 0.05])
    return np.array([*values, *_common_changes(frames[still])], np.float64)


def _common_changes(frames: np.ndarray) -> list[float]:
    """Size and regularity of the two strongest common changes of all pixels."""
    if len(frames) < 12:
        return [-1.0] * 13
    flat = frames.reshape(len(frames), -1)
    flat = flat - flat.mean(axis=0)
    size, waves = np.linalg.eigh(flat @ flat.T / flat.shape[1])
    values = [*np.sqrt(np.maximum(size[-3:], 0))]
    for wave in waves[:, -2:].T:
        steps = np.abs(np.diff(wave))
        spectrum = np.abs(np.fft.rfft(wave - wave.mean())) ** 2
        spectrum /= spectrum.sum() + 1e-9
        values += [steps.std() / (steps.mean() + 1e-9), *np.sort(spectrum)[[-1, -3]]]
        values += [spectrum.argmax() / len(wave), -(spectrum * np.log(spectrum + 1e-9)).sum()]
    return [float(value) for value in values]


def movement_statistics(video: Float[np.ndarray, "frames height width 1"]) -> Mapping[str, float]:
    """Amount, number and place of movements: what changes more than breathing and noise do.

    Returns:
        values of `MOVEMENT`: mean and largest change over what is usual in the clip, share of
        moments that move, number of bouts, longest stillness as a share of the clip, and the mean
        of each third.
    """
    change = np.abs(np.diff(video[..., 0], axis=0)).mean(axis=(1, 2))
    usual = np.median(change)
    beyond = np.maximum(change - usual, 0) / (usual + 0.5)
    moving = beyond > 0.5
    edges = np.flatnonzero(np.diff(np.concatenate([[True], moving, [True]]).astype(np.int8)))
    stillness = np.diff(edges)[::2] if len(edges) else np.zeros(0)
    thirds = [float(part.mean()) for part in np.array_split(beyond, 3)]
    bouts = np.count_nonzero(np.diff(moving.astype(np.int8), prepend=0) > 0)
    values = [beyond.mean(), beyond.max(), moving.mean(), bouts, stillness.max(initial=0)]
    values[-1] /= len(change)
    return dict(zip(MOVEMENT, (float(v) for v in (*values, *thirds)), strict=True))


def breathing_wave(
    video: Float[np.ndarray, "frames height width 1"], frame_rate: float
) -> tuple[Float[np.ndarray, " frames"], Float[np.ndarray, ""]]:
    """The breathing of a clip as one signal, in grey levels, and its share of calm moments.

    Brightness of blocks of the picture; jumps (movements) are cut to what is usual before the
    signals are put together again; of what is left between 7 and 36 breaths a minute the strongest
    common signal is taken.
    """
    from scipy.signal import butter, detrend, sosfiltfilt  # slow to import

    signals = _blocks(video[..., 0])
    steps = np.diff(signals, axis=0)
    usual = 1.4826 * np.median(np.abs(steps), axis=0) + 1e-3
    still = float((np.abs(steps) <= 4 * usual).mean())
    cut = np.clip(steps, -4 * usual, 4 * usual)
    signals = detrend(np.concatenate([np.zeros_like(cut[:1]), np.cumsum(cut, axis=0)]), axis=0)
    low, high = BREATHING_HZ
    band = (low, min(high, 0.45 * frame_rate))
    filtered = sosfiltfilt(butter(2, band, "band", fs=frame_rate, output="sos"), signals, axis=0)
    wave, size, _ = np.linalg.svd(filtered, full_matrices=False)
    return wave[:, 0] * size[0] / np.sqrt(signals.shape[1]), np.float64(still)


def breathing_statistics(
    video: Float[np.ndarray, "frames height width 1"], frame_rate: float
) -> Mapping[str, float]:
    """Rate, depth and regularity of breathing.

    Returns:
        values of `BREATHING`: breaths a minute by the spectrum and by the breaths counted, mean and
        smallest depth (grey levels), spread of depths and of intervals between breaths (standard
        deviation over mean), share of power at the rate and its double, sharpness of the peak
        (entropy of the spectrum), likeness of each breath to the next, and the share of moments
        without movement. `NO_BREATH` where there are too few breaths to tell.
    """
    from scipy.signal import find_peaks, periodogram  # slow to import

    wave, still = breathing_wave(video, frame_rate)
    wave = wave - wave.mean()
    hertz, power = periodogram(wave, frame_rate, "hann", nfft=8 * len(wave))
    low, high = BREATHING_HZ
    inside = (hertz >= low) & (hertz <= min(high, 0.45 * frame_rate))
    band, total = power[inside], power.sum() + 1e-12
    rate = float(hertz[inside][band.argmax()])
    near = (np.abs(hertz - rate) <= 1.5 / (len(wave) / frame_rate)) & inside
    shares = band / (band.sum() + 1e-12)
    entropy = float(-(shares * np.log(shares + 1e-12)).sum() / np.log(len(shares)))

    apart = max(1, round(0.6 / min(high, 2 * rate) * frame_rate))
    peaks, facts = find_peaks(wave, distance=apart, prominence=0.3 * wave.std())
    depths, gaps = facts["prominences"], np.diff(peaks) / frame_rate
    lag = min(max(1, round(frame_rate / rate)), len(wave) - 2)
    similar = float(wave[lag:] @ wave[:-lag] / (wave @ wave + 1e-12))
    enough = len(gaps) > 1
    values = (
        60 * rate,
        60 / gaps.mean() if enough else NO_BREATH,
        depths.mean() if len(depths) else NO_BREATH,
        np.abs(wave)[: len(wave) // 6 * 6].reshape(6, -1).max(axis=1).min(),
        depths.std() / depths.mean() if enough else NO_BREATH,
        gaps.std() / gaps.mean() if enough else NO_BREATH,
        power[near].sum() / total,
        1 - entropy,
        similar,
        float(still),
    )
    return dict(zip(BREATHING, (float(value) for value in values), strict=True))


def _blocks(frames: Float[np.ndarray, "frames height width"]) -> Float[np.ndarray, "frames blocks"]:
    """Mean brightness of blocks of the picture."""
    height, width = frames.shape[1:]
    rows = np.linspace(0, height, min(_BLOCKS, height) + 1).astype(int)[:-1]
    columns = np.linspace(0, width, min(_BLOCKS, width) + 1).astype(int)[:-1]
    sums = np.add.reduceat(np.add.reduceat(frames, rows, axis=1), columns, axis=2)
    sizes = np.outer(np.diff([*rows, height]), np.diff([*columns, width]))
    return (sums / sizes).reshape(len(frames), -1).astype(np.float64)
