"""All channels of a polysomnogram: EEG, EOG, chin EMG, airflow and effort, each at its own rate."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from input_pipeline.simulation import eeg
from input_pipeline.simulation.hypnogram import N1, REM, W
from input_pipeline.simulation.recording import HiddenSignals, Recording
from input_pipeline.simulation.settings import SimulationSettings, stream
from input_pipeline.simulation.waves import add_waves, gate, held, narrow_noise, poisson_times
from input_pipeline.stages import CLIP_SECONDS

_EOG_RATE, _EMG_RATE, _BELT_RATE = 50, 100, 25

_SLOW_EYES = (0.30, 0.54, 0.21, 0.05, 0.30)
"""Share of each stage with slow eye movements (Pizza 2011)."""
_EMG = (1.8, 1.05, 1.0, 1.0, 0.11)
"""Chin EMG of each stage relative to NREM sleep (Sleep-EDF SC4001)."""


@dataclass(frozen=True)
class Channel:
    """One signal as it is written to the EDF file."""

    label: str
    samples: Float[np.ndarray, " samples"]
    rate: int
    unit: str
    limit: float
    """Physical range is -limit to limit; amplifiers clip there."""


def simulate_psg(
    settings: SimulationSettings, recording: Recording, hidden: HiddenSignals
) -> list[Channel]:
    """Every channel of a recording, in the order of the file."""

    def rng(name: str) -> np.random.Generator:
        return stream(settings.seed, recording.night, f"{name} {recording.window}")

    central = eeg.simulate_eeg(
        rng("eeg"),
        recording.subject,
        recording.stages,
        settings.eeg_rate,
        settings.difficulty,
        recording.events,
        recording.movements,
    )
    channels = [
        Channel(label, samples, settings.eeg_rate, "uV", 400.0)
        for label, samples in zip(eeg.CHANNELS, central, strict=True)
    ]
    eyes = _eog(rng("eog"), recording, central.mean(axis=0), settings.eeg_rate)
    channels += [
        Channel(label, samples, _EOG_RATE, "uV", 500.0)
        for label, samples in zip(("EOG E1-A2", "EOG E2-A2"), eyes, strict=True)
    ]
    channels.append(Channel("EMG chin", _emg(rng("emg"), recording), _EMG_RATE, "uV", 250.0))
    belts = rng("belts")
    for label, signal in (
        ("Airflow", hidden.breathing.flow),
        ("Effort THO", hidden.breathing.chest),
        ("Effort ABD", hidden.breathing.abdomen),
    ):
        samples = _belt(belts, recording, hidden, signal)
        channels.append(Channel(label, samples, _BELT_RATE, "", 5.0))
    return channels


def _eog(
    rng: np.random.Generator, recording: Recording, brain: np.ndarray, eeg_rate: int
) -> Float[np.ndarray, "2 samples"]:
    stages = recording.stages
    samples = len(stages) * int(CLIP_SECONDS) * _EOG_RATE
    time = np.arange(samples) / _EOG_RATE
    leak = 0.25 * np.interp(time, np.arange(len(brain)) / eeg_rate, brain)
    opposite = np.zeros(samples)  # eyes turn together: one channel goes up, the other down
    cover = held(np.array(_SLOW_EYES)[stages], samples, _EOG_RATE)
    slow = narrow_noise(rng, samples, _EOG_RATE, 0.15, 0.5)
    opposite += 40 * slow * gate(rng, cover, _EOG_RATE, seconds=8.0)

    def saccade(_: int) -> Float[np.ndarray, " _"]:
        length = int(rng.uniform(0.2, 0.5) * _EOG_RATE) * 2
        return rng.choice([-1, 1]) * rng.uniform(50, 150) * np.hanning(length)

    def blink(_: int) -> Float[np.ndarray, " _"]:
        return rng.uniform(80, 180) * np.hanning(int(0.4 * _EOG_RATE))

    bursts = poisson_times(rng, np.where(stages == REM, 2.0, np.where(stages == W, 0.8, 0.0)))
    saccades = np.concatenate(
        [burst + rng.exponential(1.2, int(rng.integers(2, 7))) for burst in bursts] or [bursts]
    )
    add_waves(opposite, _EOG_RATE, saccades, saccade)
    together = np.zeros(samples)
    blinking = np.where(stages == W, rng.choice([0.0, 12.0], size=len(stages)), 0.0)
    blinking = np.where(stages == N1, 0.3, blinking)
    add_waves(together, _EOG_RATE, poisson_times(rng, blinking), blink)
    noise = 3 * rng.normal(size=(2, samples))
    eog = np.stack([together + leak + opposite, together + leak - opposite]) + noise
    eeg.add_artefacts(rng, eog, _EOG_RATE, recording.movements)
    return eog


def _emg(rng: np.random.Generator, recording: Recording) -> Float[np.ndarray, " samples"]:
    stages = recording.stages
    samples = len(stages) * int(CLIP_SECONDS) * _EMG_RATE
    tone = np.array(_EMG)[stages] * np.exp(0.2 * rng.normal(size=len(stages)))
    level = held(6 * tone, samples, _EMG_RATE)
    for onset in recording.twitches.onset:
        first = int(onset * _EMG_RATE)
        level[max(first, 0) : max(first + int(0.4 * _EMG_RATE), 0)] += 2.5
    emg = level * narrow_noise(rng, samples, _EMG_RATE, 12.0, 46.0)
    eeg.add_artefacts(rng, emg[None], _EMG_RATE, recording.movements, gain=1.5)
    return emg


def _belt(
    rng: np.random.Generator, recording: Recording, hidden: HiddenSignals, signal: np.ndarray
) -> Float[np.ndarray, " samples"]:
    samples = len(recording.stages) * int(CLIP_SECONDS) * _BELT_RATE
    time = np.arange(samples) / _BELT_RATE
    moved = np.interp(time, hidden.time, np.minimum(hidden.motion, 8))
    belt = np.interp(time, hidden.time, signal) + 0.02 * rng.normal(size=samples)
    return belt + 0.15 * moved * narrow_noise(rng, samples, _BELT_RATE, 0.3, 3.0)
