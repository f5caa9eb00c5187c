"""What signal processing tells of breathing and movement in a clip, as a branch of a video network.

A video network ends in means over time, which keep how strong a movement is and lose how regular,
how local and how rare. These features are made of the differences that the network sees, by fixed
matrices and order statistics alone, so that they run wherever it does; no gradient goes through
them. They are ours, after `input_pipeline.picture_features`, whose filters and counted breaths
SciPy computes outside of any network.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from input_pipeline.errors import UserError
from input_pipeline.picture_features import BREATHING_HZ
from input_pipeline.stages import CLIP_SECONDS

SIDE = 8
"""Pixels of a side of the squares whose brightness is followed for breathing."""
LARGEST = 4.0
"""Changes beyond so many deviations are movements, and cut before breathing is looked for."""
_NOISE = 0.8
"""Grey levels: what a pixel changes by at least, as a camera's noise has it."""
_QUANTILES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_PADDED = 128
"""Moments of the spectrum: finer steps than a clip's own."""
FEWEST_MOMENTS = 12
"""Of a clip: breathing needs them."""
_EXACT = jax.lax.Precision.HIGHEST

Change = Float[Array, "batch moments height width"]
Signals = Float[Array, "batch moments places"]
Wave = Float[Array, "batch moments"]
Figures = list[Float[Array, "batch figures"]]


def rhythm_features(
    change: Float[Array, "batch moments height width channels"],
) -> Float[Array, "batch features"]:
    """Figures of movement and breathing; their number depends on the moments alone.

    Args:
        change: of each pixel from a frame to the next, frames in [0, 1], of moments that fill a
            clip; the first channel counts.

    Returns:
        float32; 122 figures for 59 moments.

    Raises:
        UserError: fewer than `FEWEST_MOMENTS`.
    """
    if change.shape[1] < FEWEST_MOMENTS:
        raise UserError(
            f"a clip of {change.shape[1]} moments has no rhythm to read, expected "
            f"{FEWEST_MOMENTS} or more"
        )
    levels = 255.0 * change[..., 0].astype(jnp.float32)
    signals = _squares(levels)
    usual = 1.4826 * jnp.median(jnp.abs(signals), axis=1, keepdims=True) + 1e-3
    calm = jnp.clip(signals, -LARGEST * usual, LARGEST * usual)
    found = [*_amount(levels), *_places(levels), _log(_power(calm).sum(-1)), *_breathing(calm)]
    return jax.lax.stop_gradient(jnp.concatenate(found, axis=1))


def _amount(levels: Change) -> Figures:
    """How much of the picture changes, over time."""
    return [_quantiles(_log(jnp.abs(levels).mean((2, 3))))]


def _places(levels: Change) -> Figures:
    """How far beyond what is usual there the liveliest pixel is, and how much of the picture: a
    hand or the whole sleeper."""
    size = jnp.abs(_mean_of_nine(levels))
    beyond = size / (size.mean(1, keepdims=True) + _NOISE)
    most = beyond.max((2, 3))
    wide, narrow = ((beyond > limit).mean((2, 3)) for limit in (3.0, 4.0))
    moved = most > 5.0
    moments = [most > limit for limit in (4.0, 5.0, 6.0, 8.0, 12.0)]
    moments += [moved & (narrow < 0.01), moved & (narrow >= 0.01) & (narrow < 0.05)]
    moments += [moved & (narrow >= 0.05), narrow > 0.2]
    shares = jnp.stack([each.mean(1) for each in moments], axis=1)
    return [_quantiles(_log(most)), *(_quantiles(_log(area)) for area in (wide, narrow)), shares]


def _breathing(calm: Signals) -> Figures:
    """Of the strongest common signal in the band of breathing: depth, share, spectrum, likeness
    to itself later, and how steady depth and rate are."""
    moments = calm.shape[1]
    breaths = jnp.einsum("nm,bmp->bnp", _band(moments), calm, precision=_EXACT)
    wave, share = _strongest(breaths)
    deviation = wave.std(1, keepdims=True)
    unit = wave / (deviation + 1e-6)
    quarter = jnp.einsum("nm,bm->bn", _quarter_later(moments), unit, precision=_EXACT)
    depth = jnp.sqrt(unit**2 + quarter**2)
    # Phase gained from one moment to the next.
    along = unit[:, 1:] * unit[:, :-1] + quarter[:, 1:] * quarter[:, :-1]
    across = quarter[:, 1:] * unit[:, :-1] - unit[:, 1:] * quarter[:, :-1]
    rate = jnp.arctan2(across, along + 1e-9)
    weights = depth[:, 1:] * depth[:, :-1]
    weights /= weights.sum(1, keepdims=True) + 1e-9
    mean = (weights * rate).sum(1, keepdims=True)
    spread = jnp.sqrt((weights * (rate - mean) ** 2).sum(1, keepdims=True))
    pieces = jnp.abs(wave)[:, : moments // 6 * 6].reshape(wave.shape[0], 6, -1).max(-1)
    spectrum = _power(unit[..., None])[..., 0]
    later = _likeness(unit)
    peaks = [spectrum.max(1) / (spectrum.sum(1) + 1e-9), spectrum.argmax(1) / spectrum.shape[1]]
    peaks += [later.max(1), later.argmax(1) / later.shape[1]]
    figures = [_log(deviation), share, mean, spread, jnp.stack(peaks, 1)]
    return [*figures, _quantiles(depth), _quantiles(rate), _log(jnp.sort(pieces, axis=1)), later]


def _strongest(signals: Signals) -> tuple[Wave, Float[Array, "batch 1"]]:
    """The first principal component, and its share of the power."""
    together = jnp.einsum("bmp,bmq->bpq", signals, signals, precision=_EXACT)
    power = jnp.trace(together, axis1=1, axis2=2)[:, None] + 1e-9
    squared = together / power[..., None]
    for _ in range(6):  # the 64th power has hardly more than the largest
        squared = jnp.einsum("bpq,bqr->bpr", squared, squared, precision=_EXACT)
        squared /= jnp.trace(squared, axis1=1, axis2=2)[:, None, None] + 1e-30
    place = jnp.diagonal(squared, axis1=1, axis2=2).argmax(1)
    axis = jnp.take_along_axis(squared, place[:, None, None], axis=2)[..., 0]
    axis /= jnp.sqrt((axis**2).sum(1, keepdims=True)) + 1e-30
    wave = jnp.einsum("bmp,bp->bm", signals, axis, precision=_EXACT)
    return wave / np.sqrt(signals.shape[2]), (wave**2).sum(1, keepdims=True) / power


def _likeness(unit: Wave) -> Float[Array, "batch lags"]:
    """Correlation with itself a twentieth to a third of the clip later."""
    moments = unit.shape[1]
    lags = range(max(1, moments // 20), max(2, moments // 3))
    return jnp.stack([(unit[:, lag:] * unit[:, :-lag]).mean(1) for lag in lags], axis=1)


def _power(signals: Signals) -> Float[Array, "batch frequencies places"]:
    """Squared size of the Fourier transform under a Hann window, around the band of breathing."""
    parts = _waves(signals.shape[1])
    return sum(jnp.einsum("fm,bmp->bfp", part, signals, precision=_EXACT) ** 2 for part in parts)


@functools.cache
def _waves(moments: int) -> tuple[np.ndarray, np.ndarray]:
    step = CLIP_SECONDS / (moments + 1)
    low, high = (round(hertz * _PADDED * step) for hertz in BREATHING_HZ)
    turns = np.outer(np.arange(max(1, low // 2), high + 6), np.arange(moments)) / _PADDED
    waves = np.hanning(moments + 2)[1:-1] * np.exp(-2j * np.pi * turns)
    return waves.real.astype(np.float32), waves.imag.astype(np.float32)


@functools.cache
def _band(moments: int) -> np.ndarray:
    """From changes to brightness, in the band of breathing alone."""
    step = CLIP_SECONDS / (moments + 1)
    hertz = np.fft.rfftfreq(moments, step)
    inside = (hertz >= BREATHING_HZ[0] - 0.02) & (hertz <= BREATHING_HZ[1] + 0.05)
    gain = inside / np.maximum(2 * np.sin(np.pi * hertz * step), 0.1)
    spectra = np.fft.rfft(np.eye(moments), axis=0)
    return np.fft.irfft(gain[:, None] * spectra, moments, axis=0).astype(np.float32)


@functools.cache
def _quarter_later(moments: int) -> np.ndarray:
    """The Hilbert transform."""
    turned = np.where(np.fft.rfftfreq(moments) > 0, -1j, 0)[:, None]
    spectra = np.fft.rfft(np.eye(moments), axis=0)
    return np.fft.irfft(turned * spectra, moments, axis=0).astype(np.float32)


def _squares(x: Change) -> Signals:
    """Means over squares; a border that fills none is cut."""
    batch, moments, height, width = x.shape
    side = min(SIDE, height, width)
    rows, columns = height // side, width // side
    x = x[:, :, : rows * side, : columns * side]
    x = x.reshape(batch, moments, rows, side, columns, side).mean((3, 5))
    return x.reshape(batch, moments, -1)


def _mean_of_nine(x: Change) -> Change:
    """Means over squares of three by three pixels, as far as the picture goes."""
    for axis in (2, 3):
        edges = [(0, 0)] * 4
        edges[axis] = (1, 1)
        wide = jnp.pad(x, edges, "edge")
        x = sum(jax.lax.slice_in_dim(wide, i, i + x.shape[axis], axis=axis) for i in range(3)) / 3
    return x


def _quantiles(x: Wave) -> Float[Array, "batch figures"]:
    places = [round(q * (x.shape[1] - 1)) for q in _QUANTILES]
    return jnp.sort(x, axis=1)[:, np.array(places)]


def _log(x: Array) -> Array:
    return jnp.log(x + 1e-2)
