"""Breathing, apnoeas and hypopnoeas: the signals behind airflow, effort belts and the video."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.simulation.hypnogram import N1, REM, W
from input_pipeline.simulation.subject import POSTURES, Subject
from input_pipeline.stages import CLIP_SECONDS

RATE = 20.0
"""Samples per second of all hidden signals."""

_RATE_FACTOR = (1.02, 0.98, 0.95, 0.92, 1.00)
"""Breathing rate of each stage relative to REM sleep."""
_DEPTH = (1.0, 0.92, 0.88, 0.88, 0.73)
"""Tidal volume of each stage relative to wake (Douglas 1982: REM 73 %)."""
_INTERVAL_CV = tuple(1.6 * cv for cv in (0.25, 0.15, 0.09, 0.05, 0.18))
"""Variation of breath intervals. The factor compensates for what few, small frames lose."""
_MEMORY = (0.7, 0.4, 0.0, 0.0, 0.7)
"""Correlation of neighbouring breaths: long-range in W and REM, none in NREM (Kantelhardt 2003)."""
_SIGHS_PER_HOUR = 8.0

_EVENTS_PER_HOUR = (0.0, 35.6, 23.0, 4.8, 27.5)
"""Relative rate of respiratory events in each stage (25 UCDDB nights)."""
_SUPINE_FACTOR = 3.0

KINDS = ("Hypopnea", "Obstructive apnea", "Central apnea")
_KIND_SHARE = (0.78, 0.12, 0.10)


@dataclass(frozen=True)
class RespiratoryEvent:
    """An apnoea or hypopnoea; times in seconds of the night."""

    onset: float
    duration: float
    kind: int
    """Index into `KINDS`."""
    flow: float
    """Remaining airflow as a share of normal."""
    arousal: bool
    jerk: bool
    """Whether a body movement ends it."""

    @property
    def end(self) -> float:
        return self.onset + self.duration

    def at(self, seconds: float) -> "RespiratoryEvent":
        """The same event with time counted from `seconds`."""
        return replace(self, onset=self.onset - seconds)


def simulate_events(
    rng: np.random.Generator,
    subject: Subject,
    stages: Int[np.ndarray, " clips"],
) -> list[RespiratoryEvent]:
    """Respiratory events of a night in order of onset, as many as its AHI implies.

    Durations are log-normal with a median of 17 s (UCDDB). Events come in clusters, mostly in
    the stages where measured nights have them, and rarely in deep sleep.
    """
    sleep_hours = float(np.sum(stages > W)) * CLIP_SECONDS / 3600
    count = round(subject.ahi_target * sleep_hours)
    supine = POSTURES[subject.posture] == "supine"
    runs = np.exp(np.cumsum(rng.normal(size=len(stages))) * 0.25)
    runs = np.clip(runs / np.median(runs), 0.3, 3)
    weight = np.array(_EVENTS_PER_HOUR)[stages] * runs * (_SUPINE_FACTOR if supine else 1.0)
    taken: list[tuple[float, float]] = []
    for _ in range(60 * count):
        if len(taken) == count:
            break
        clip = int(rng.choice(len(stages), p=weight / weight.sum()))
        duration = float(np.clip(rng.lognormal(np.log(17), 0.35), 10, 60))
        onset = CLIP_SECONDS * (clip + rng.random())
        if all(onset > end + 10 or onset + duration + 10 < begin for begin, end in taken):
            taken.append((onset, onset + duration))
    events = []
    for onset, end in sorted(taken):
        kind = int(rng.choice(len(KINDS), p=_KIND_SHARE))
        flow = rng.uniform(0.25, 0.6) if kind == 0 else rng.uniform(0.0, 0.08)
        arousal = bool(rng.random() < 0.65)
        jerk = arousal and bool(rng.random() < 0.8)
        events.append(RespiratoryEvent(onset, end - onset, kind, float(flow), arousal, jerk))
    return events


@dataclass(frozen=True)
class Breathing:
    """Breathing of a recording; 1 is the depth of quiet breathing while awake."""

    chest: Float[np.ndarray, " samples"]
    abdomen: Float[np.ndarray, " samples"]
    flow: Float[np.ndarray, " samples"]
    interval: Float[np.ndarray, " samples"]
    """Length of the current breath in seconds."""


def _wander(
    rng: np.random.Generator, count: int, step: float, memory: float
) -> Float[np.ndarray, " count"]:
    """A slowly changing quantity of variance 1, one value every `step` seconds."""
    from scipy.signal import lfilter

    keep = np.exp(-step / memory)
    noise = rng.normal(size=count) * np.sqrt(1 - keep**2)
    noise[0] = rng.normal()
    return lfilter([1.0], [1.0, -keep], noise)


def simulate_breathing(
    rng: np.random.Generator,
    subject: Subject,
    stages: Int[np.ndarray, " samples"],
    posture: Int[np.ndarray, " samples"],
    events: list[RespiratoryEvent],
    spread: float,
) -> Breathing:
    """Simulates the breathing of a recording.

    Args:
        rng: the recording's stream for breathing.
        subject: rate and depth.
        stages: stage at each sample (`RATE` per second).
        posture: posture at each sample; supine, the abdomen moves more than the chest.
        events: events with time counted from the first sample.
        spread: how far rate, depth and regularity vary within a stage.
    """
    samples = len(stages)
    seconds = int(samples / RATE) + 2
    rate_wander = np.exp(0.06 * spread * _wander(rng, seconds, 1.0, 400.0))
    depth_wander = np.exp(0.25 * spread * _wander(rng, seconds, 1.0, 200.0))
    calm_wander = np.exp(0.40 * spread * _wander(rng, seconds, 1.0, 150.0))
    onsets, depths = [0.0], [1.0]
    noise = 0.0
    while onsets[-1] < samples / RATE:
        now = onsets[-1]
        second = int(now)
        stage = int(stages[min(int(now * RATE), samples - 1)])
        memory = _MEMORY[stage]
        noise = memory * noise + np.sqrt(1 - memory**2) * rng.normal()
        cv = _INTERVAL_CV[stage] * calm_wander[second]
        mean = 60 / (subject.breath_rate * _RATE_FACTOR[stage] * rate_wander[second])
        # Slow breaths are deep.
        interval = mean * float(np.clip(np.exp(cv * noise - cv**2 / 2), 0.45, 2.2))
        depth = _DEPTH[stage] * depth_wander[second] * np.exp(0.6 * cv * (noise + rng.normal()))
        if rng.random() < _SIGHS_PER_HOUR * mean / 3600:
            depth *= 2.2
        onsets.append(now + interval)
        depths.append(float(np.clip(depth, 0.2, 2.5)))
    time = np.arange(samples) / RATE
    starts = np.array(onsets)
    number = np.searchsorted(starts, time, side="right") - 1
    length = np.diff(starts)[np.minimum(number, len(starts) - 2)]
    progress = (time - starts[number]) / length
    # Inspiration takes 40 % of a breath.
    phase = np.where(progress < 0.4, progress / 0.8, 0.5 + (progress - 0.4) / 1.2)
    depth = np.interp(time, starts, np.array(depths)) * subject.breath_gain
    flow_gain, effort_gain, paradox = _event_gains(time, events)
    # At sleep onset, breathing waxes and wanes.
    unstable = np.isin(stages, (N1,)) * 0.25 + (stages == REM) * 0.1
    depth = depth * (1 + unstable * np.sin(2 * np.pi * time / 45 + 2 * np.pi * rng.random()))
    shift = np.pi * paradox
    chest = depth * effort_gain * np.cos(2 * np.pi * phase + shift)
    abdomen = depth * effort_gain * np.cos(2 * np.pi * phase)
    flow = depth * flow_gain * np.sin(2 * np.pi * phase)
    chest_share = np.array([0.75, 1.0, 1.0, 0.5])[posture]
    abdomen_share = np.array([1.15, 0.9, 0.9, 0.5])[posture]
    return Breathing(-chest * chest_share, -abdomen * abdomen_share, flow, length)


def _event_gains(
    time: Float[np.ndarray, " samples"], events: list[RespiratoryEvent]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gains of airflow and effort, and how far chest and abdomen move against each other."""
    flow, effort, paradox = np.ones_like(time), np.ones_like(time), np.zeros_like(time)
    for event in events:
        near = slice(*np.searchsorted(time, [event.onset - 3, event.end + 15]))
        since = time[near] - event.onset
        inside = np.clip(np.minimum(since + 1.5, event.duration + 0.5 - since) / 2, 0, 1)
        progress = np.clip(since / event.duration, 0, 1)
        # The breaths after an event are deep.
        after = np.where(since > event.duration, np.exp(-(since - event.duration) / 5), 0.0)
        recovery = 1 + (0.8 if event.arousal else 0.3) * after * (1 - inside)
        left = {
            "Hypopnea": event.flow + 0.1,
            "Obstructive apnea": 0.45 + 0.55 * progress,
            "Central apnea": 0.04,
        }[KINDS[event.kind]]
        flow[near] *= (1 - inside * (1 - event.flow)) * recovery
        effort[near] *= (1 - inside * (1 - left)) * recovery
        amount = 0.9 if KINDS[event.kind] == "Obstructive apnea" else 0.2
        if KINDS[event.kind] != "Central apnea":
            paradox[near] = np.maximum(paradox[near], amount * inside)
    return flow, effort, paradox
