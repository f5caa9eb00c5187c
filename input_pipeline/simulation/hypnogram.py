"""Stages of a whole night: a semi-Markov chain whose rates follow hour and sleep cycle.

Bout lengths have Weibull distributions; a first-order chain would make them geometric, which they
are not in real nights (Yang & Hursch 1973; Wang et al. 2013). Rates vary over the night (Kemp &
Kamphuisen 1986). Figures are from 39 hypnograms of healthy people (Sleep-EDF) and 25 of
apnoea patients (UCDDB).
"""

from math import gamma

import numpy as np
from jaxtyping import Int8

from input_pipeline.simulation.subject import Subject
from input_pipeline.stages import CLIP_SECONDS, STAGES

W, N1, N2, N3, REM = range(len(STAGES))
_HOUR = 3600 / CLIP_SECONDS

_SHAPE = (0.53, 0.90, 0.70, 0.53, 0.95)
"""Weibull shape of each stage's bouts, from the ratio of their median to their mean."""

# Mean bout length in clips by AHI group, and the stage that follows (rows from, columns to;
# measured transition counts without their diagonal). Group 0 is Sleep-EDF, the others UCDDB.
_MEAN_BOUT = (
    (7.4, 2.9, 11.1, 7.0, 20.0),
    (7.1, 3.4, 12.5, 13.0, 20.0),
    (5.0, 3.9, 11.1, 13.0, 20.0),
    (4.0, 5.0, 10.0, 12.0, 20.0),
)
_HEALTHY_JUMPS = (
    (0, 0.112, 0.013, 0.001, 0.009),
    (0.058, 0, 0.247, 0.001, 0.042),
    (0.011, 0.019, 0, 0.046, 0.014),
    (0.006, 0.005, 0.132, 0, 0.001),
    (0.011, 0.022, 0.017, 0, 0),
)
_APNOEA_JUMPS = (
    (0, 0.149, 0.025, 0, 0.010),
    (0.105, 0, 0.111, 0, 0.003),
    (0.049, 0.005, 0, 0.022, 0.011),
    (0.023, 0.003, 0.030, 0, 0),
    (0.032, 0.002, 0.010, 0, 0),
)

_N3_BY_HOUR = (1.65, 1.65, 1.35, 1.2, 0.76, 0.85, 0.48, 0.24)
"""P(N2 to N3) in each hour of sleep, relative to its mean."""
_REM_SHARE_BY_CYCLE = (0.15, 0.28, 0.32, 0.36, 0.38)
"""Final share of each sleep cycle, where REM sleep is likely."""
_REM_INSIDE = (14.0, 11.0, 14.0, 13.0)
"""How much likelier REM is in that share, by AHI group; before it, REM is rare."""
_N3_GAIN = (1.1, 1.75, 2.0, 1.1)
"""Compensates, by AHI group, for the N3 that those shares displace."""


def _bout(rng: np.random.Generator, stage: int, mean: float) -> int:
    shape = _SHAPE[stage]
    scale = max(mean - 0.6, 0.3) / gamma(1 + 1 / shape)
    return 1 + int(scale * rng.weibull(shape))


def simulate_hypnogram(
    rng: np.random.Generator, subject: Subject, wake_hours: float = 0.0
) -> Int8[np.ndarray, " clips"]:
    """True stage of every clip from lights off to getting up.

    Args:
        rng: the night's stream for stages.
        subject: the AHI group sets fragmentation; age adds wake and reduces deep sleep.
        wake_hours: hours of wake after the last sleep.
    """
    decades = (subject.age - 45) / 10
    group = subject.ahi_group
    onset_clips = round(2 * rng.lognormal(np.log(14 + 1.1 * max(decades, -2)), 0.5))
    sleep_clips = round(_HOUR * float(np.clip(rng.normal(7.6 - 0.1 * decades, 0.5), 6.4, 9)))
    stages = [W] * min(onset_clips, 120)
    stages += _sleep_period(rng, sleep_clips, group, decades)
    stages += [W] * (int(rng.integers(6, 30)) + round(wake_hours * _HOUR))
    return np.array(stages, np.int8)


def _sleep_period(rng: np.random.Generator, clips: int, group: int, decades: float) -> list[int]:
    cycle_ends = np.cumsum(np.clip(rng.normal(91, 14, size=14), 62, 125)) * 2
    starts = np.concatenate([[0.0], cycle_ends[:-1]])
    jumps = np.array(_HEALTHY_JUMPS if group == 0 else _APNOEA_JUMPS)
    stages: list[int] = []
    stage = N1
    while len(stages) < clips:
        now = len(stages)
        cycle = int(np.searchsorted(cycle_ends, now, side="right"))
        part = _REM_SHARE_BY_CYCLE[min(cycle, 4)]
        progress = (now - starts[cycle]) / (cycle_ends[cycle] - starts[cycle])
        in_rem_part = progress > 1 - part
        mean = _MEAN_BOUT[group][stage]
        if stage == W:
            mean *= 1 + 0.12 * decades
        elif stage == N3:
            mean *= (1 - 0.08 * decades) * (1.25 if cycle == 0 else 1.0 if cycle < 3 else 0.6)
        elif stage == REM:
            mean *= (0.6, 0.9, 1.1)[min(cycle, 2)] * (1.0 if in_rem_part else 0.4)
        elif stage == N2 and in_rem_part:
            mean *= 0.6
        stages += [stage] * _bout(rng, stage, mean)
        row = jumps[stage].copy()
        row[REM] *= _REM_INSIDE[group] if in_rem_part else 0.03
        row[N3] *= 0.15 if in_rem_part else _N3_GAIN[group] * _N3_BY_HOUR[min(int(now / _HOUR), 7)]
        stage = int(rng.choice(len(STAGES), p=row / row.sum()))
    return stages[:clips]


_CONFUSION = (
    (0, 1, 0, 0, 0),
    (0.4, 0, 0.6, 0, 0),
    (0, 0.55, 0, 0.45, 0),
    (0, 0, 1, 0, 0),
    (0.2, 0.5, 0.3, 0, 0),
)
_DISAGREEMENT = (0.06, 0.35, 0.10, 0.17, 0.08)
"""Disagreement of a second scorer in each stage; two scorers then agree with a kappa of 0.76."""


def score(
    rng: np.random.Generator, stages: Int8[np.ndarray, " clips"], label_noise: float
) -> Int8[np.ndarray, " clips"]:
    """Stages as a human scorer sees them: confused with similar stages, mostly at transitions.

    Args:
        rng: the night's stream for scoring.
        stages: true stages.
        label_noise: factor on the disagreement of two scorers; 0 copies the truth.
    """
    near = np.zeros(len(stages), bool)
    change = stages[1:] != stages[:-1]
    near[1:] |= change
    near[:-1] |= change
    rate = label_noise * np.array(_DISAGREEMENT)[stages]
    # The mean rate of each stage is kept; clips at a transition have twice that of the others.
    for stage in range(len(STAGES)):
        here = stages == stage
        if here.any():
            weight = np.where(near[here], 2.0, 1.0)
            rate[here] *= weight / weight.mean()
    wrong = rng.random(len(stages)) < np.minimum(rate, 0.9)
    other = np.array([rng.choice(5, p=row) for row in np.array(_CONFUSION)[stages]], np.int8)
    return np.where(wrong, other, stages).astype(np.int8)
