"""Building blocks of the electrical signals: shaped noise, gates, and events added in place."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.fft import irfft, next_fast_len, rfftfreq
from scipy.special import ndtri

from input_pipeline.stages import CLIP_SECONDS


def narrow_noise(
    rng: np.random.Generator, samples: int, rate: float, low: float, high: float
) -> Float[np.ndarray, " samples"]:
    """Gaussian noise of variance 1 between two frequencies (soft edges)."""
    length = next_fast_len(samples, real=True)
    frequency = rfftfreq(length, 1 / rate)
    edge = max(0.15 * (high - low), 1e-3)
    rise, fall = (frequency - low) / edge, (high - frequency) / edge
    gain = 1 / (1 + np.exp(-np.clip(4 * rise, -50, 50))) / (1 + np.exp(-np.clip(4 * fall, -50, 50)))
    spectrum = gain * (rng.normal(size=len(frequency)) + 1j * rng.normal(size=len(frequency)))
    spectrum[0] = 0
    scale = np.sqrt(length / 2 * length / np.sum(gain[1:] ** 2) / 2)
    return irfft(spectrum * scale, length)[:samples]


def held(
    values: Float[np.ndarray, " clips"], samples: int, rate: float
) -> Float[np.ndarray, " samples"]:
    """One value per clip as a signal, with ramps of two seconds across the boundaries."""
    per_second = np.repeat(values, int(CLIP_SECONDS))
    kernel = np.ones(3) / 3
    smooth = np.convolve(np.pad(per_second, 1, mode="edge"), kernel, mode="valid")
    seconds = np.arange(len(smooth)) + 0.5
    return np.interp(np.arange(samples) / rate, seconds, smooth)


def gate(
    rng: np.random.Generator,
    share: Float[np.ndarray, " samples"],
    rate: float,
    seconds: float,
) -> Float[np.ndarray, " samples"]:
    """Bursts of about `seconds` that cover a given share of time: 1 inside, 0 between them."""
    samples = len(share)
    slow_rate = max(4.0, 8 / seconds)
    count = int(samples / rate * slow_rate) + 2
    wave = narrow_noise(rng, count, slow_rate, 0.0, 0.5 / seconds)
    grid = np.arange(count) / slow_rate
    wave = np.interp(np.arange(samples) / rate, grid, wave)
    threshold = ndtri(np.clip(1 - share, 1e-6, 1 - 1e-6))
    return 1 / (1 + np.exp(-np.clip(8 * (wave - threshold), -50, 50)))


def clip_noise(
    rng: np.random.Generator,
    spectra: Float[np.ndarray, "clips bands"],
    basis: Callable[[Float[np.ndarray, " freqs"]], Float[np.ndarray, "bands freqs"]],
    rate: int,
    channels: int,
    shared: float,
) -> Float[np.ndarray, "channels samples"]:
    """Noise whose band powers change from clip to clip, without a seam between clips.

    Args:
        rng: random stream.
        spectra: power of each band in each clip (the signal's unit squared).
        basis: power density of each band at given frequencies, each with integral 1.
        rate: samples per second.
        channels: number of channels.
        shared: share of the power that all channels have in common.
    """
    clips, fade = len(spectra), 2 * rate
    hop, length = int(CLIP_SECONDS) * rate, int(CLIP_SECONDS + 2) * rate
    frequency = rfftfreq(length, 1 / rate)
    shapes = basis(frequency)
    ramp = np.sin(
        np.linspace(0, np.pi / 2, fade, endpoint=False)
    )  # squares add to 1: power is kept
    window = np.concatenate([ramp, np.ones(length - 2 * fade), ramp[::-1]])
    output = np.zeros((channels, clips * hop + fade))
    for clip in range(clips):
        gain = np.sqrt((spectra[clip][:, None] * shapes).sum(axis=0) * length * rate) / 2
        draws = rng.normal(size=(channels + 1, 2, len(frequency)))
        white = draws[:, 0] + 1j * draws[:, 1]
        mixed = np.sqrt(shared) * white[0] + np.sqrt(1 - shared) * white[1:]
        mixed[:, 0] = 0
        output[:, clip * hop : clip * hop + length] += irfft(mixed * gain, length) * window
    return output[:, rate : rate + clips * hop]


def add_waves(
    signal: Float[np.ndarray, " samples"],
    rate: float,
    onsets: Float[np.ndarray, " events"],
    shape: Callable[[int], Float[np.ndarray, " _"]],
) -> None:
    """Adds `shape(i)`, sampled at `rate`, at the i-th onset (seconds), cut at the signal's end."""
    for number, onset in enumerate(onsets):
        start = int(onset * rate)
        wave = shape(number)[: max(len(signal) - start, 0)]
        signal[start : start + len(wave)] += wave


def poisson_times(
    rng: np.random.Generator, per_minute: Float[np.ndarray, " clips"]
) -> Float[np.ndarray, " events"]:
    """Onsets (seconds) of events whose rate is given for each clip."""
    count = rng.poisson(np.maximum(per_minute, 0) * CLIP_SECONDS / 60)
    clip = np.repeat(np.arange(len(per_minute)), count)
    return np.sort(CLIP_SECONDS * (clip + rng.random(len(clip))))
