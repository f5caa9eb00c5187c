"""Movements of a night: what moves, when, how far and how long; posture; twitches of REM."""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.simulation.hypnogram import N2, N3, REM, W
from input_pipeline.simulation.respiration import RespiratoryEvent
from input_pipeline.simulation.subject import Subject
from input_pipeline.stages import CLIP_SECONDS

PARTS = ("head", "arm", "trunk", "legs", "face", "hand")

_PER_HOUR = (140.0, 30.0, 12.0, 4.0, 25.0)
"""Movements per hour of W, N1, N2, N3, REM: N1 and REM above N2, N3 lowest (Montini 2024)."""
_LARGE_SHARE = (0.45, 0.40, 0.45, 0.40, 0.20)
"""Share of movements that involve the trunk; those of REM are short and distal."""
_POSTURE_SHARE = (0.04, 0.25, 0.30, 0.25, 0.20)
"""Share of large movements that end in another posture: about 1.6 shifts per hour of sleep."""
_TWITCH_SHARE = (0.01, 0.004, 0.002, 0.001, 0.10)
"""Share of moments at which face or fingers twitch; in REM sleep these come in bursts."""
_TWITCH_SECONDS = 0.4

_WEIGHTS = {
    "large": ((0.4, 1.0), (0.5, 1.0), (0.6, 1.0), (0.4, 1.0)),
    "limb": ((0.0, 0.8), (0.0, 1.0), (0.0, 0.15), (0.0, 0.7)),
    "jerk": ((0.5, 1.0), (0.2, 0.6), (0.4, 0.8), (0.0, 0.3)),
    "leg": ((0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.8, 1.0)),
}
"""Range of the involvement of head, arm, trunk and legs in each kind of movement."""


@dataclass(frozen=True)
class Movement:
    """One movement. Times in seconds of the night; distances in pixels of an image 64 wide."""

    onset: float
    duration: float
    kind: str
    amplitude: float
    weights: tuple[float, float, float, float]
    """Involvement of head, arm, trunk and legs."""
    direction: float
    frequencies: tuple[float, float, float]
    phases: tuple[float, float, float]
    posture: int = -1
    """Posture after the movement; -1 keeps the present one."""

    @property
    def end(self) -> float:
        return self.onset + self.duration

    @property
    def resettles(self) -> bool:
        """Whether body and blanket lie differently afterwards."""
        return self.kind == "large"

    def at(self, seconds: float) -> "Movement":
        """The same movement with time counted from `seconds`."""
        return replace(self, onset=self.onset - seconds)

    def envelope(self, time: Float[np.ndarray, " times"]) -> Float[np.ndarray, " times"]:
        """Strength at each moment, 0 to 1: rises quickly, and is zero outside the movement."""
        progress = np.clip((time - self.onset) / self.duration, 0, 1)
        return np.minimum(1, 4 * np.minimum(progress, 1 - progress))

    def displacement(self, time: Float[np.ndarray, " times"]) -> Float[np.ndarray, "times 2"]:
        """Displacement (down, right) of a part of weight 1 at each moment."""
        waves = [
            np.sin(2 * np.pi * (f * (time - self.onset) + p))
            for f, p in zip(self.frequencies, self.phases, strict=True)
        ]
        along = self.amplitude * self.envelope(time) * (waves[0] + 0.5 * waves[1])
        across = 0.5 * self.amplitude * self.envelope(time) * waves[2]
        sine, cosine = np.sin(self.direction), np.cos(self.direction)
        return np.stack([along * sine + across * cosine, along * cosine - across * sine], axis=-1)


@dataclass(frozen=True)
class Twitches:
    """Twitches of face and hand; arrays with one entry per twitch."""

    onset: Float[np.ndarray, " twitches"]
    part: Int[np.ndarray, " twitches"]
    """Index into `PARTS`: face or hand."""
    displacement: Float[np.ndarray, "twitches 2"]
    """Pixels of an image 64 wide, (down, right)."""
    seconds: float = _TWITCH_SECONDS


def simulate_movements(
    rng: np.random.Generator,
    subject: Subject,
    stages: Int[np.ndarray, " clips"],
    events: list[RespiratoryEvent],
    spread: float,
) -> list[Movement]:
    """All movements of a night in order of onset.

    About half of the large ones begin within one clip of a stage change; the five minutes before
    deep sleep are quieter; some apnoeas end with a jerk; some people have periodic leg movements.
    """
    times: list[tuple[float, str, int]] = []
    for clip, rate in enumerate(_rates(rng, subject, stages, spread)):
        for _ in range(rng.poisson(rate * CLIP_SECONDS / 3600)):
            stage = int(stages[clip])
            kind = "large" if rng.random() < _LARGE_SHARE[stage] else "limb"
            times.append((CLIP_SECONDS * (clip + rng.random()), kind, stage))
    times += [(event.end + rng.uniform(0, 1.5), "jerk", N2) for event in events if event.jerk]
    times += [(time, "leg", N2) for time in _leg_movements(rng, subject, stages)]
    posture = subject.posture
    movements: list[Movement] = []
    for onset, kind, stage in sorted(times):
        if movements and onset < movements[-1].end + 0.5:
            continue  # the body is moving already
        shifts = kind == "large" and rng.random() < _POSTURE_SHARE[stage]
        if shifts:
            posture = _other_posture(rng, subject, posture)
        movements.append(_movement(rng, onset, kind, stage, posture if shifts else -1))
    return movements


def _rates(
    rng: np.random.Generator, subject: Subject, stages: Int[np.ndarray, " clips"], spread: float
) -> Float[np.ndarray, " clips"]:
    """Movements per hour in each clip."""
    rate = subject.movement_gain * np.array(_PER_HOUR)[stages]
    change = np.flatnonzero(stages[1:] != stages[:-1]) + 1
    near = np.zeros(len(stages), bool)
    near[change] = near[change - 1] = True
    rate *= np.where(near, 1.5, 0.8)
    for begin, end in pairwise([0, *change, len(stages)]):
        # People lie awake quietly or toss and turn; a bout of sleep is calm or restless.
        variance = 0.8 * spread**2 + 1e-6
        rate[begin:end] *= rng.gamma(1 / variance, variance)
        if stages[begin] == N3:
            before = slice(max(0, begin - 10), begin)
            rate[before] *= np.where(stages[before] == N2, 0.5, 1.0)
    return rate


def _leg_movements(
    rng: np.random.Generator, subject: Subject, stages: Int[np.ndarray, " clips"]
) -> list[float]:
    hours = float(np.mean(stages == N2)) * len(stages) * CLIP_SECONDS / 3600
    left = round(subject.plm_index * hours)
    candidates = np.flatnonzero(stages == N2)
    times: list[float] = []
    while left > 0 and len(candidates):
        time = CLIP_SECONDS * float(rng.choice(candidates))
        for _ in range(int(rng.integers(4, 15))):
            clip = int(time // CLIP_SECONDS)
            if clip >= len(stages) or stages[clip] != N2:
                break
            times.append(time)
            time += rng.uniform(18, 40)
        left -= 10
    return times


def _other_posture(rng: np.random.Generator, subject: Subject, posture: int) -> int:
    if posture != subject.posture and rng.random() < 0.5:
        return subject.posture
    return int(rng.choice([other for other in range(4) if other != posture], p=_others(posture)))


def _others(posture: int) -> np.ndarray:
    share = np.array([0.36, 0.28, 0.28, 0.08])
    rest = np.delete(share, posture)
    return rest / rest.sum()


def _movement(
    rng: np.random.Generator, onset: float, kind: str, stage: int, posture: int
) -> Movement:
    median, low, high = {
        "large": (9.0, 2.5, 6.0),
        "limb": (3.0, 1.0, 3.5),
        "jerk": (2.5, 1.0, 3.0),
        "leg": (1.5, 0.8, 2.0),
    }[kind]
    median *= 0.7 if stage == REM else 1.2 if stage == W else 1.0
    return Movement(
        onset=onset,
        duration=float(np.clip(median * np.exp(0.5 * rng.normal()), 0.8, 30)),
        kind=kind,
        amplitude=float(rng.uniform(low, high)),
        weights=tuple(float(rng.uniform(a, b)) for a, b in _WEIGHTS[kind]),
        direction=float(rng.uniform(0, 2 * np.pi)),
        frequencies=tuple(
            float(rng.uniform(a, b)) for a, b in ((0.1, 0.4), (0.4, 1.2), (0.1, 0.6))
        ),
        phases=tuple(float(value) for value in rng.random(3)),
        posture=posture,
    )


def postures(
    subject: Subject, movements: list[Movement], time: Float[np.ndarray, " times"]
) -> Int[np.ndarray, " times"]:
    """Posture at each moment of the night."""
    shifts = [movement for movement in movements if movement.posture >= 0]
    ends = np.array([movement.onset + movement.duration / 2 for movement in shifts])
    values = np.array([subject.posture, *(movement.posture for movement in shifts)])
    return values[np.searchsorted(ends, time, side="right")]


def simulate_twitches(
    rng: np.random.Generator, stages: Int[np.ndarray, " clips"], spread: float
) -> Twitches:
    """Twitches of a night: scattered ones everywhere, bursts in REM sleep."""
    onsets: list[float] = []
    minutes_in_rem = 0.0
    for clip, stage in enumerate(stages):
        minutes_in_rem = minutes_in_rem + 0.5 if stage == REM else 0.0
        expected = CLIP_SECONDS * _TWITCH_SHARE[stage] / _TWITCH_SECONDS
        begin = clip * CLIP_SECONDS
        if stage != REM:
            onsets += list(begin + CLIP_SECONDS * rng.random(rng.poisson(expected)))
            continue
        # Activity peaks 5 to 10 min after REM begins, in bursts of a few seconds.
        variance = 0.6 * spread**2 + 1e-6
        density = 0.6 + 0.6 * np.exp(-(((minutes_in_rem - 8) / 5) ** 2))
        expected *= 1.15 * density * rng.gamma(1 / variance, variance)
        for _ in range(rng.poisson(expected / 5)):
            burst = begin + CLIP_SECONDS * rng.random()
            onsets += list(burst + rng.exponential(2.5, size=int(rng.integers(2, 9))))
    onset = np.sort(np.array(onsets))
    part = np.where(rng.random(len(onset)) < 0.65, PARTS.index("face"), PARTS.index("hand"))
    angle = rng.uniform(0, 2 * np.pi, len(onset))
    size = rng.uniform(1.0, 2.5, len(onset))
    moves = np.stack([size * np.sin(angle), size * np.cos(angle)], axis=-1)
    return Twitches(onset, part, moves)
