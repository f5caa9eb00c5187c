"""The sleeper: age, apnoea, body, bed and camera, and how they differ between people."""

from dataclasses import dataclass

import numpy as np

from input_pipeline.simulation.settings import stream
from input_pipeline.stages import AHI_GROUPS

_AHI_RANGE = ((0.5, 4.4), (6.0, 14.0), (16.0, 29.0), (32.0, 70.0))  # within the groups' bounds

POSTURES = ("supine", "left", "right", "prone")
_POSTURE_SHARE = (0.375, 0.27, 0.27, 0.085)
"""Skarpsno 2017 (664 nights): side 54 %, back 37.5 %, front 7.3 % of the night."""


@dataclass(frozen=True)
class Subject:
    """A simulated sleeper. Gains are factors around 1."""

    subject_id: str
    age: float
    sex: str
    ahi_group: int
    ahi_target: float
    """Target apnoea-hypopnoea index, events per hour of sleep."""
    posture: int
    """Resting posture, an index into `POSTURES`."""
    breath_rate: float
    """Breaths per minute in REM sleep."""
    breath_gain: float
    movement_gain: float
    eeg_gain: float
    band_gain: tuple[float, ...]
    """Factor of each EEG band's power."""
    alpha_gain: float
    """0.1 for the 10 % of people with hardly any alpha."""
    spindle_hz: float
    body_size: float
    blanket: float
    """Share of the breathing movement that shows through the blanket."""
    plm_index: float
    """Periodic leg movements per hour of NREM sleep; 0 for most people."""


def make_subject(seed: int, night: int, difficulty: float, video_spread: float) -> Subject:
    """Draws the sleeper of one night.

    AHI groups take turns: any 4 consecutive nights have each once. Ages and sexes are those of
    the paper's clinic (7 to 70 years; 82 men, 23 women).
    """
    rng = stream(seed, night, "subject")
    group = night % len(AHI_GROUPS)
    age = float(np.clip(rng.normal(44, 14), 7, 70))
    eeg_spread, spread = 0.6 * difficulty, video_spread
    # Slow waves and K-complexes get smaller with age: young adults have about twice the delta.
    age_gain = np.exp(-0.008 * (age - 45))
    return Subject(
        subject_id=f"subject{night:04d}",
        age=round(age, 1),
        sex="M" if rng.random() < 82 / 105 else "F",
        ahi_group=group,
        ahi_target=float(rng.uniform(*_AHI_RANGE[group])),
        posture=int(rng.choice(4, p=np.array(_POSTURE_SHARE) / sum(_POSTURE_SHARE))),
        breath_rate=float(15.3 * np.exp(0.08 * spread * rng.normal()) + 0.15 * max(0, 18 - age)),
        breath_gain=float(np.exp(0.2 * spread * rng.normal())),
        movement_gain=float(np.exp(0.3 * spread * rng.normal())),
        eeg_gain=float(age_gain * np.exp(0.14 * eeg_spread * rng.normal())),
        band_gain=tuple(np.exp(0.14 * eeg_spread * rng.normal(size=5))),
        alpha_gain=0.1 if rng.random() < 0.1 else float(np.exp(0.25 * eeg_spread * rng.normal())),
        spindle_hz=float(rng.normal(13.3, 0.5)),
        body_size=float(np.clip(rng.normal(1.0, 0.07) - 0.02 * max(0, 14 - age), 0.75, 1.15)),
        blanket=float(rng.uniform(0.8, 1.0)),
        plm_index=float(rng.uniform(8, 30)) if rng.random() < 0.2 else 0.0,
    )
