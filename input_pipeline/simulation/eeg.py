"""Central EEG of each stage: background of measured band powers, graphoelements, artefacts.

Levels are those of C3-A1 in the DREAMS excerpts and of the AASM manual; amplitudes in microvolts.
"""

import numpy as np
from jaxtyping import Float, Int8

from input_pipeline.simulation.hypnogram import N2, N3, W
from input_pipeline.simulation.movement import Movement
from input_pipeline.simulation.respiration import RespiratoryEvent
from input_pipeline.simulation.subject import Subject
from input_pipeline.simulation.waves import (
    add_waves,
    clip_noise,
    gate,
    held,
    narrow_noise,
    poisson_times,
)
from input_pipeline.stages import CLIP_SECONDS

CHANNELS = ("EEG C3-A2", "EEG C4-A1")
BANDS = ((0.5, 4.0), (4.0, 8.0), (8.0, 12.0), (12.0, 16.0), (16.0, 30.0))
"""Delta, theta, alpha, sigma, beta in Hz."""

_BACKGROUND = (
    (62.0, 16.0, 9.0, 5.0, 8.0),
    (85.0, 20.0, 6.5, 3.4, 5.0),
    (175.0, 40.0, 13.0, 4.5, 3.4),
    (280.0, 55.0, 19.0, 5.0, 3.0),
    (72.0, 23.0, 7.5, 3.6, 4.4),
)
"""Power of each band in each stage, without graphoelements (microvolts squared)."""
_DIFFICULTY_UNIT = 0.3
"""At difficulty 0.5, hand-crafted features then stage about 87 % of clips (docs/simulator.md)."""
_CLIP_SPREAD = 0.9

_SLOW_WAVE_COVER = (0.0, 0.0, 0.06, 0.48, 0.0)
"""Share of time with slow waves; a clip with 20 % or more is N3."""
_SLOW_WAVE_RMS = 27.0
_SPINDLES = (0.0, 0.15, 3.2, 0.9, 0.05)
"""Spindles per minute."""
_K_COMPLEXES = (0.0, 0.05, 1.7, 0.5, 0.0)
_VERTEX_WAVES = (0.0, 2.2, 0.3, 0.0, 0.0)
_SAWTOOTH_RUNS = (0.0, 0.05, 0.0, 0.0, 1.0)
_ALPHA_RMS = 8.0


def _band_shapes(frequency: Float[np.ndarray, " freqs"]) -> Float[np.ndarray, "bands freqs"]:
    """1/f within each band, with soft edges and integral 1; beta rolls off towards 45 Hz."""
    step = frequency[1] - frequency[0]
    shapes = []
    for low, high in BANDS:
        soft = 0.08 * low + 0.1
        upper = high + (12 if high == BANDS[-1][1] else 0)
        shape = 1 / (1 + np.exp(-np.clip((frequency - low) / soft * 3, -50, 50)))
        shape /= 1 + np.exp(-np.clip((upper - frequency) / (0.08 * upper) * 3, -50, 50))
        shape /= np.maximum(frequency, 0.3) ** (2.0 if upper > high else 1.0)
        inside = (frequency >= low) & (frequency < high)
        shapes.append(shape / (shape[inside].sum() * step))
    return np.array(shapes)


def simulate_eeg(
    rng: np.random.Generator,
    subject: Subject,
    stages: Int8[np.ndarray, " clips"],
    rate: int,
    difficulty: float,
    events: list[RespiratoryEvent],
    movements: list[Movement],
) -> Float[np.ndarray, "2 samples"]:
    """Both central channels of a recording in microvolts.

    Args:
        rng: the recording's stream for EEG.
        subject: amplitudes and frequencies.
        stages: true stage of each clip.
        rate: samples per second.
        difficulty: how far bands and graphoelements deviate from the stage's mean.
        events: apnoeas; some end in an arousal. Times in seconds of the recording.
        movements: they disturb the electrodes.
    """
    difficulty *= _DIFFICULTY_UNIT
    clips, spread = len(stages), difficulty * _CLIP_SPREAD
    power = np.array(_BACKGROUND)[stages] * np.array(subject.band_gain)
    power *= np.exp(0.5 * spread * rng.normal(size=(clips, 1)))  # the whole clip
    power *= np.exp(0.7 * spread * rng.normal(size=(clips, 5)))  # each band
    power[:, 0] *= subject.eeg_gain
    eeg = clip_noise(rng, power, _band_shapes, rate, len(CHANNELS), shared=0.75)
    common = _alpha(rng, subject, stages, rate, difficulty, events)
    common += _slow_waves(rng, subject, stages, rate, difficulty)
    _add_graphoelements(rng, common, subject, stages, rate, difficulty)
    for channel in eeg:
        channel += common * rng.normal(1.0, 0.04)
        channel += 0.4 * subject.blanket * np.sin(2 * np.pi * 50 * np.arange(len(channel)) / rate)
    add_artefacts(rng, eeg, rate, movements)
    return eeg


def _per_clip(
    rng: np.random.Generator, values: tuple[float, ...], stages: np.ndarray, spread: float
) -> Float[np.ndarray, " clips"]:
    """The mean of each clip's stage, times a log-normal factor of mean 1."""
    factor = np.exp(spread * rng.normal(size=len(stages)) - spread**2 / 2)
    return np.array(values)[stages] * factor


def _alpha(
    rng: np.random.Generator,
    subject: Subject,
    stages: np.ndarray,
    rate: int,
    difficulty: float,
    events: list[RespiratoryEvent],
) -> Float[np.ndarray, " samples"]:
    clips = len(stages)
    samples = clips * int(CLIP_SECONDS) * rate
    # With eyes closed, alpha fills more than half of the clip; with eyes open there is little.
    open_eyes = rng.random(clips) < 0.5 * difficulty
    cover = np.array((0.75, 0.13, 0.02, 0.01, 0.05))[stages]
    cover = np.where((stages == W) & open_eyes, 0.2, cover)
    cover = np.clip(cover * np.exp(difficulty * rng.normal(size=clips)), 0, 0.97)
    on = gate(rng, held(cover, samples, rate), rate, seconds=2.5)
    _add_arousals(rng, on, rate, stages, events)
    centre = rng.normal(10, 0.7)
    wave = narrow_noise(rng, samples, rate, centre - 0.8, centre + 0.8)
    return _ALPHA_RMS * subject.alpha_gain * on * wave


def _add_arousals(
    rng: np.random.Generator,
    on: Float[np.ndarray, " samples"],
    rate: int,
    stages: np.ndarray,
    events: list[RespiratoryEvent],
) -> None:
    """Switches alpha on for 3 to 15 s after apnoeas and about ten times per hour besides."""
    onsets = list(poisson_times(rng, np.where(stages == W, 0, 10 / 60)))
    onsets += [event.end for event in events if event.arousal]
    for onset in onsets:
        length = float(np.clip(rng.lognormal(np.log(5), 0.4), 3, 15))
        first, last = max(int(onset * rate), 0), max(int((onset + length) * rate), 0)
        on[first:last] = np.maximum(on[first:last], 0.9)


def _slow_waves(
    rng: np.random.Generator, subject: Subject, stages: np.ndarray, rate: int, difficulty: float
) -> Float[np.ndarray, " samples"]:
    samples = len(stages) * int(CLIP_SECONDS) * rate
    cover = _per_clip(rng, _SLOW_WAVE_COVER, stages, 0.7 * difficulty)
    # Slow waves become more frequent in the last clips of N2 before N3.
    for ahead in (1, 2):
        cover[:-ahead][(stages[:-ahead] == N2) & (stages[ahead:] == N3)] *= 1.6
    on = gate(rng, held(np.clip(cover, 0, 0.95), samples, rate), rate, seconds=3.0)
    return _SLOW_WAVE_RMS * subject.eeg_gain * on * narrow_noise(rng, samples, rate, 0.55, 1.6)


def _add_graphoelements(
    rng: np.random.Generator,
    signal: Float[np.ndarray, " samples"],
    subject: Subject,
    stages: np.ndarray,
    rate: int,
    difficulty: float,
) -> None:
    def times(per_minute: tuple[float, ...]) -> Float[np.ndarray, " events"]:
        return poisson_times(rng, _per_clip(rng, per_minute, stages, 0.8 * difficulty))

    def seconds(length: float) -> Float[np.ndarray, " _"]:
        return np.arange(int(length * rate)) / rate

    def spindle(_: int) -> Float[np.ndarray, " _"]:
        time = seconds(float(np.clip(rng.normal(0.9, 0.25), 0.5, 1.8)))
        peak = 15.5 * np.exp(0.3 * rng.normal())
        frequency = subject.spindle_hz + rng.normal(0, 0.4)
        return peak * np.hanning(len(time)) * np.sin(2 * np.pi * frequency * time)

    def k_complex(_: int) -> Float[np.ndarray, " _"]:
        time = seconds(1.5)
        size = rng.uniform(75, 150) * min(subject.eeg_gain, 1.3)
        negative = -np.exp(-(((time - 0.35) / 0.13) ** 2))
        return size * (negative + 0.65 * np.exp(-(((time - 0.8) / 0.24) ** 2)))

    def vertex_wave(_: int) -> Float[np.ndarray, " _"]:
        time = seconds(0.5)
        size = rng.uniform(40, 90)
        negative = -np.exp(-(((time - 0.15) / 0.05) ** 2))
        return size * (negative + 0.4 * np.exp(-(((time - 0.3) / 0.07) ** 2)))

    def sawtooth(_: int) -> Float[np.ndarray, " _"]:
        time = seconds(rng.uniform(2, 5))
        phase = rng.uniform(2, 4.5) * time % 1
        return rng.uniform(10, 30) * np.hanning(len(time)) * (1 - 2 * phase)

    complexes = times(_K_COMPLEXES)
    followed = complexes[rng.random(len(complexes)) < 0.5] + 0.9
    add_waves(signal, rate, complexes, k_complex)
    add_waves(signal, rate, np.concatenate([times(_SPINDLES), followed]), spindle)
    add_waves(signal, rate, times(_VERTEX_WAVES), vertex_wave)
    add_waves(signal, rate, times(_SAWTOOTH_RUNS), sawtooth)


def add_artefacts(
    rng: np.random.Generator,
    channels: Float[np.ndarray, "channels samples"],
    rate: int,
    movements: list[Movement],
    gain: float = 1.0,
) -> None:
    """Adds sway and muscle noise to all channels while the body moves: what video and EEG share."""
    samples = channels.shape[1]
    for movement in movements:
        first = max(int(movement.onset * rate), 0)
        last = min(int(movement.end * rate), samples)
        if last - first < 4:
            continue
        time = np.arange(first, last) / rate
        head, arm, trunk, legs = movement.weights
        reach = movement.amplitude * (head + 0.4 * trunk + 0.15 * arm + 0.05 * legs) * gain
        envelope = movement.envelope(time)
        for channel in channels:
            sway = np.cumsum(rng.normal(size=len(time))) / np.sqrt(rate)
            sway -= np.linspace(sway[0], sway[-1], len(sway))
            muscle = np.diff(rng.normal(size=len(time) + 1))
            channel[first:last] += envelope * reach * (25 * sway + 4 * muscle)
