"""The plan of a recording, before its signals: which sleeper, which hours, which clocks."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from jaxtyping import Float, Int, Int8

from input_pipeline.simulation.hypnogram import W, score, simulate_hypnogram
from input_pipeline.simulation.movement import (
    PARTS,
    Movement,
    Twitches,
    postures,
    simulate_movements,
    simulate_twitches,
)
from input_pipeline.simulation.respiration import (
    RATE,
    Breathing,
    RespiratoryEvent,
    simulate_breathing,
    simulate_events,
)
from input_pipeline.simulation.settings import ID_PREFIX, SimulationSettings, stream
from input_pipeline.simulation.subject import Subject, make_subject
from input_pipeline.stages import CLIP_SECONDS

MARGIN = 90.0
"""Seconds by which hidden signals extend the PSG on either side: the camera runs longer."""

_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Clocks:
    """When PSG and camera run, and how their clocks disagree."""

    psg_start: datetime
    video_start: datetime
    """Time of the first frame by the camera's clock."""
    sync_offset_s: float
    sync_drift_ppm: float
    video_begin: float
    """True time of the first frame, in seconds of the PSG."""
    video_seconds: float
    """Length of the video by its own clock."""

    def psg_time(self, video_time: Float[np.ndarray, " frames"]) -> Float[np.ndarray, " frames"]:
        """Times in the PSG of times in the video, both in seconds."""
        return self.video_begin + video_time * (1 + 1e-6 * self.sync_drift_ppm)


@dataclass(frozen=True)
class Recording:
    """Everything about a recording but its signals. Times in seconds of the PSG."""

    night_id: str
    night: int
    window: int
    subject: Subject
    ahi: float
    """Respiratory events per hour of sleep over the whole night."""
    stages: Int8[np.ndarray, " clips"]
    """The true stages."""
    scored: Int8[np.ndarray, " clips"]
    """The stages as scored."""
    night_stages: Int8[np.ndarray, " night_clips"]
    first_clip: int
    """Clip of the night at which the recording begins."""
    events: list[RespiratoryEvent]
    movements: list[Movement]
    twitches: Twitches
    clocks: Clocks
    hypnogram_form: str
    """Where the stages go: "annotations" (in the PSG), "edf" or "csv" (a separate file)."""

    @property
    def seconds(self) -> float:
        """Length of the PSG."""
        return len(self.stages) * CLIP_SECONDS

    def stage_at(self, time: Float[np.ndarray, " times"]) -> Int8[np.ndarray, " times"]:
        """True stage at times in the PSG, before its start and after its end included."""
        clip = np.floor(time / CLIP_SECONDS).astype(int) + self.first_clip
        return self.night_stages[np.clip(clip, 0, len(self.night_stages) - 1)]

    def posture_at(self, time: Float[np.ndarray, " times"]) -> Int[np.ndarray, " times"]:
        """Posture at times in the PSG."""
        return postures(self.subject, self.movements, time)


@dataclass(frozen=True)
class HiddenSignals:
    """What the video shows and the belts measure, at `RATE` Hz from -`MARGIN` seconds on."""

    breathing: Breathing
    motion: Float[np.ndarray, " samples"]
    """Speed of the body parts in pixels per second of an image 64 wide."""
    twitch: Float[np.ndarray, " samples"]
    """Size of the current twitch."""
    stages: Int8[np.ndarray, " samples"]

    @property
    def time(self) -> Float[np.ndarray, " samples"]:
        return np.arange(len(self.motion)) / RATE - MARGIN


def plan(settings: SimulationSettings, night: int) -> list[Recording]:
    """Plans the recordings of one night; takes a few milliseconds, because no signal is made."""
    subject = make_subject(settings.seed, night, settings.difficulty, settings.video_spread)
    spread = settings.video_spread

    def rng(name: str) -> np.random.Generator:
        return stream(settings.seed, night, name)

    stages = simulate_hypnogram(rng("hypnogram"), subject, settings.wake_hours)
    scored = score(rng("scorer"), stages, settings.label_noise)
    events = simulate_events(rng("events"), subject, stages)
    movements = simulate_movements(rng("movements"), subject, stages, events, spread)
    twitches = simulate_twitches(rng("twitches"), stages, spread)
    sleep_hours = max(float(np.sum(stages != W)) * CLIP_SECONDS / 3600, 1e-9)
    recordings = []
    for window, first in enumerate(_windows(settings, night, len(stages))):
        clips = slice(first, first + (settings.window_clips or len(stages)))
        begin = first * CLIP_SECONDS
        suffix = f"-{window + 1}" if settings.windows > 1 else ""
        recordings.append(
            Recording(
                night_id=f"{ID_PREFIX}{night:04d}{suffix}",
                night=night,
                window=window,
                subject=subject,
                ahi=round(len(events) / sleep_hours, 2),
                stages=stages[clips],
                scored=scored[clips],
                night_stages=stages,
                first_clip=first,
                events=[event.at(begin) for event in events],
                movements=[movement.at(begin) for movement in movements],
                twitches=Twitches(twitches.onset - begin, twitches.part, twitches.displacement),
                clocks=_clocks(rng(f"clocks {window}"), night, begin, len(stages[clips])),
                # Hospitals differ: most keep the stages in the PSG, some deliver a separate file.
                hypnogram_form=("annotations", "annotations", "edf", "annotations", "csv")[
                    (night + window) % 5
                ],
            )
        )
    return recordings


def _windows(settings: SimulationSettings, night: int, clips: int) -> list[int]:
    """First clip of each window.

    Starts are spread evenly over the nights of the data set (golden-ratio sequence), so that the
    windows have the stage distribution of whole nights even when there are few.
    """
    if not settings.window_clips:
        return [0]
    free = clips - settings.windows * settings.window_clips
    phase = stream(settings.seed, 0, "windows").random() + night * _GOLDEN
    return [
        round(free * (window + phase % 1) / settings.windows) + window * settings.window_clips
        for window in range(settings.windows)
    ]


def _clocks(rng: np.random.Generator, night: int, begin: float, clips: int) -> Clocks:
    """Draws start times and clock errors; one camera in three is synchronised."""
    lights_off = datetime(2024, 1, 1, 22, 0) + timedelta(
        days=night, seconds=int(rng.integers(-2700, 2700))
    )
    # EDF+ can state fractions of a second, and some recorders do.
    fraction = 0.25 if night % 4 == 2 else 0.0
    psg_start = lights_off + timedelta(seconds=begin + fraction)
    late = night % 6 == 5  # the camera was switched on after the PSG
    video_begin = round(float(rng.uniform(4, 28) if late else rng.uniform(-25, -1)), 3)
    tail = float(rng.uniform(1, 20))
    offset = 0.0 if night % 3 == 0 else round(float(rng.uniform(-60, 60)), 2)
    drift = 0.0 if night % 3 == 0 else round(float(rng.uniform(-50, 50)), 1)
    return Clocks(
        psg_start=psg_start,
        video_start=psg_start + timedelta(seconds=video_begin - offset),
        sync_offset_s=offset,
        sync_drift_ppm=drift,
        video_begin=video_begin,
        video_seconds=clips * CLIP_SECONDS - video_begin + tail,
    )


def hidden_signals(settings: SimulationSettings, recording: Recording) -> HiddenSignals:
    """Breathing, motion and twitches of a recording."""
    time = np.arange(round((recording.seconds + 2 * MARGIN) * RATE)) / RATE - MARGIN
    stages = recording.stage_at(time)
    rng = stream(settings.seed, recording.night, f"breathing {recording.window}")
    breathing = simulate_breathing(
        rng,
        recording.subject,
        stages,
        recording.posture_at(time),
        [event.at(-MARGIN) for event in recording.events],
        settings.video_spread,
    )
    motion = np.zeros_like(time)
    for movement in recording.movements:
        near = slice(*np.searchsorted(time, [movement.onset - 1 / RATE, movement.end + 1 / RATE]))
        if near.stop - near.start > 2:
            velocity = np.gradient(movement.displacement(time[near]), 1 / RATE, axis=0)
            motion[near] += np.linalg.norm(velocity, axis=-1) * sum(movement.weights)
    twitch = np.zeros_like(time)
    for onset, move in zip(recording.twitches.onset, recording.twitches.displacement, strict=True):
        near = slice(*np.searchsorted(time, [onset, onset + recording.twitches.seconds]))
        twitch[near] = np.maximum(twitch[near], float(np.linalg.norm(move)))
    return HiddenSignals(breathing, motion, twitch, stages)


def truth(
    settings: SimulationSettings, recording: Recording, hidden: HiddenSignals
) -> dict[str, np.ndarray]:
    """Arrays of the truth file: what really happened, for the ceiling and the tests only."""
    inside = slice(*np.searchsorted(hidden.time, [0, recording.seconds]))
    movements = [m for m in recording.movements if m.end > 0 and m.onset < recording.seconds]
    events = [e for e in recording.events if e.end > 0 and e.onset < recording.seconds]
    here = (recording.twitches.onset >= 0) & (recording.twitches.onset < recording.seconds)
    time = hidden.time[inside]
    return {
        "stage": recording.stages,
        "scored": recording.scored,
        "rate": np.float64(RATE),
        "chest": hidden.breathing.chest[inside].astype(np.float32),
        "abdomen": hidden.breathing.abdomen[inside].astype(np.float32),
        "flow": hidden.breathing.flow[inside].astype(np.float32),
        "interval": hidden.breathing.interval[inside].astype(np.float32),
        "motion": hidden.motion[inside].astype(np.float32),
        "twitch": hidden.twitch[inside].astype(np.float32),
        "posture": recording.posture_at(time).astype(np.int8),
        "movement_onset": np.array([m.onset for m in movements]),
        "movement_duration": np.array([m.duration for m in movements]),
        "movement_amplitude": np.array([m.amplitude for m in movements]),
        "movement_resettles": np.array([m.resettles for m in movements], bool),
        "event_onset": np.array([e.onset for e in events]),
        "event_duration": np.array([e.duration for e in events]),
        "event_kind": np.array([e.kind for e in events], np.int8),
        "twitch_onset": recording.twitches.onset[here],
        "twitch_face": recording.twitches.part[here] == PARTS.index("face"),
        "video_begin": np.float64(recording.clocks.video_begin),
        "sync_drift_ppm": np.float64(recording.clocks.sync_drift_ppm),
        "frame_rate": np.float64(settings.frame_rate),
    }
