"""Operations on one-dimensional signals that the EEG and audio networks share."""

import math
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from input_pipeline.errors import UserError

STORED_RATES = (125, 128)
"""Sampling rates of stored EEG in Hz: as a rule, and of S3VE as its authors hand it out."""
CLIP_SECONDS = 30


def max_pool(
    x: Float[Array, "batch length channels"], window: int, stride: int, padding: tuple[int, int]
) -> Float[Array, "batch pooled channels"]:
    """Max pooling over time; padding never wins, a last incomplete window is dropped.

    Written with slices and `maximum`: the gradient of `reduce_window` is a select-and-scatter,
    slow on a CPU.
    """
    if window % stride:
        raise ValueError(f"window {window} is no multiple of the stride {stride}")
    blocks_per_window = window // stride
    pooled = (x.shape[1] + sum(padding) - window) // stride + 1
    blocks = pooled + blocks_per_window - 1
    low = jnp.finfo(x.dtype).min
    right = blocks * stride - x.shape[1] - padding[0]  # negative drops the incomplete window
    x = jnp.pad(x, ((0, 0), (padding[0], max(right, 0)), (0, 0)), constant_values=low)
    x = x[:, : blocks * stride].reshape(x.shape[0], blocks, stride, x.shape[-1])
    maxima = x[:, :, 0]
    for offset in range(1, stride):
        maxima = jnp.maximum(maxima, x[:, :, offset])
    covered = 1
    while covered < blocks_per_window:  # doubling: the maximum of two shorter windows
        shift = min(covered, blocks_per_window - covered)
        maxima = jnp.maximum(maxima[:, :-shift], maxima[:, shift:])
        covered += shift
    return maxima


def same_padding(length: int, window: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME padding: what is odd goes to the right."""
    total = max((math.ceil(length / stride) - 1) * stride + window - length, 0)
    return total // 2, total - total // 2


@lru_cache(maxsize=8)
def _polyphase(up: int, down: int) -> tuple[np.ndarray, int]:
    """Filters [taps, up] of each output phase, and the offset of the first tap in samples.

    A Kaiser-windowed sinc (beta 5, ten zero crossings a side of the slower rate), scaled so that
    each phase passes a constant unchanged on average.
    """
    rate = max(up, down)
    half = 10 * rate
    n = np.arange(-half, half + 1)
    lowpass = np.sinc(n / rate) * np.kaiser(2 * half + 1, 5.0)
    lowpass *= up / lowpass.sum()
    first, last = -(half // up), (half + (up - 1) * down) // up
    position = np.arange(up) * down - np.arange(first, last + 1)[:, None] * up
    inside = np.abs(position) <= half
    filters = np.where(inside, lowpass[np.clip(position + half, 0, 2 * half)], 0.0)
    return filters.astype(np.float32), first


def resample(x: Float[Array, "batch samples"], up: int, down: int) -> Float[Array, "batch _"]:
    """Resamples by the ratio up / down with a fixed polyphase low-pass; zero outside the signal.

    Equals `scipy.signal.resample_poly`. Runs on the device; the number of samples must be a
    multiple of `down`.
    """
    batch, samples = x.shape
    if samples % down:
        raise ValueError(f"{samples} samples are no multiple of {down}")
    filters, first = _polyphase(up, down)
    steps = samples // down
    blocks = math.ceil(len(filters) / down)
    filters = np.pad(filters, ((0, blocks * down - len(filters)), (0, 0)))
    right = (steps - 1 + blocks) * down - samples + first
    x = jnp.pad(x, ((0, 0), (-first, right))).reshape(batch, -1, down)
    patches = jnp.concatenate([x[:, k : k + steps] for k in range(blocks)], axis=-1)
    return (patches @ filters).reshape(batch, steps * up)


def clip_at_rate(
    eeg: Float[Array, "batch samples"], rate: int, scale: float
) -> Float[Array, "batch _"]:
    """EEG clips of 30 s at the network's rate, in units of `scale` microvolt.

    Args:
        eeg: microvolt, at one of `STORED_RATES` or already at `rate`.
        rate: of the network in Hz; clips at another stored rate are resampled to it.
        scale: divisor; 1 keeps microvolt.

    Raises:
        UserError: the clip's length is that of no such rate.
    """
    samples = eeg.shape[-1]
    if samples != rate * CLIP_SECONDS:
        stored = next((each for each in STORED_RATES if samples == each * CLIP_SECONDS), None)
        if stored is None:
            rates = sorted({*STORED_RATES, rate})
            expected = " or ".join(f"{each * CLIP_SECONDS} ({each} Hz)" for each in rates)
            raise UserError(
                f"EEG clip of {samples} samples: expected {expected} for a network at {rate} Hz"
            )
        common = math.gcd(rate, stored)
        eeg = resample(eeg, rate // common, stored // common)
    return eeg / scale if scale != 1 else eeg
