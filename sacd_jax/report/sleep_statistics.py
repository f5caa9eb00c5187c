"""Sleep statistics of one hypnogram, as the AASM manual defines them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from input_pipeline.stages import CLIP_SECONDS, STAGES, UNKNOWN

PERSISTENT_SLEEP_MINUTES = 10.0
"""Unbroken sleep that counts as persistent."""


@dataclass(frozen=True)
class SleepStatistics:
    """Times in minutes, shares in percent; None where the night does not define a value."""

    time_in_bed: float  # the whole hypnogram, lights off to lights on
    total_sleep_time: float
    sleep_efficiency: float | None  # total sleep time / time in bed
    sleep_onset_latency: float | None  # start to the first clip of any sleep stage
    persistent_sleep_latency: float | None  # start to the first 10 unbroken minutes of sleep
    rem_latency: float | None  # from sleep onset, not from lights off
    wake_after_sleep_onset: float | None  # all wake from sleep onset to the end
    sleep_period_time: float  # sleep onset to the end of the last clip of sleep
    sleep_maintenance: float | None  # total sleep time / sleep period time
    awakenings: int  # spells of wake between sleep
    stage_shifts: int  # changes of stage from sleep onset to the last clip of sleep
    stage_minutes: dict[str, float]
    stage_percent: dict[str, float | None]  # of total sleep time; sleep stages only
    unscored: float  # time without a stage; in bed, but in nothing else


def consecutive(
    clip_index: Int[np.ndarray, " clips"], stage: Int[np.ndarray, " clips"]
) -> tuple[Int[np.ndarray, " slots"], int]:
    """One night's stages in a row of 30-s slots, `UNKNOWN` where a clip is missing.

    Returns:
        The row from the first to the last clip, and the index of the first.
    """
    first = int(clip_index.min())
    row = np.full(int(clip_index.max()) - first + 1, UNKNOWN, dtype=np.int32)
    row[clip_index - first] = stage
    return row, first


def _share(part: float, whole: float) -> float | None:
    return 100 * part / whole if whole > 0 else None


def sleep_statistics(
    stage: Int[np.ndarray, " clips"], clip_seconds: float = CLIP_SECONDS
) -> SleepStatistics:
    """Statistics of a hypnogram of consecutive clips from lights off to lights on.

    Args:
        stage: stage of each clip, `UNKNOWN` where there is none (see `consecutive`).
        clip_seconds: length of a clip.
    """
    minutes = clip_seconds / 60
    asleep = stage > 0
    total_sleep = float(asleep.sum()) * minutes
    in_bed = len(stage) * minutes
    stage_minutes = {name: float((stage == at).sum()) * minutes for at, name in enumerate(STAGES)}
    percent = {name: _share(stage_minutes[name], total_sleep) for name in STAGES[1:]}
    onset = latency = rem_latency = persistent = after_onset = None
    period, awakenings, shifts = 0.0, 0, 0
    if asleep.any():
        onset, last = int(np.argmax(asleep)), int(np.flatnonzero(asleep)[-1])
        latency = onset * minutes
        rem = np.flatnonzero(stage == STAGES.index("REM"))
        rem_latency = (int(rem[0]) - onset) * minutes if rem.size else None
        persistent = _persistent(asleep, minutes)
        after_onset = float((stage[onset:] == 0).sum()) * minutes
        period = (last - onset + 1) * minutes
        scored = stage[onset : last + 1]
        scored = scored[scored >= 0]
        shifts = int((scored[1:] != scored[:-1]).sum())
        awakenings = int(((scored[1:] == 0) & (scored[:-1] > 0)).sum())
    return SleepStatistics(
        time_in_bed=in_bed,
        total_sleep_time=total_sleep,
        sleep_efficiency=_share(total_sleep, in_bed),
        sleep_onset_latency=latency,
        persistent_sleep_latency=persistent,
        rem_latency=rem_latency,
        wake_after_sleep_onset=after_onset,
        sleep_period_time=period,
        sleep_maintenance=_share(total_sleep, period),
        awakenings=awakenings,
        stage_shifts=shifts,
        stage_minutes=stage_minutes,
        stage_percent=percent,
        unscored=float((stage < 0).sum()) * minutes,
    )


def _persistent(asleep: np.ndarray, minutes: float) -> float | None:
    """Minutes to the first unbroken spell of `PERSISTENT_SLEEP_MINUTES` of sleep."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], asleep.astype(np.int8), [0]])))
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        if (stop - start) * minutes >= PERSISTENT_SLEEP_MINUTES:
            return float(start * minutes)
    return None
