"""Scored spans of time laid on a night's grid of 30-s clips. A label is never moved in time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int8

from input_pipeline.errors import UserError
from input_pipeline.stages import CLIP_SECONDS, STAGES, UNKNOWN

Span = tuple[float, float, int]
"""A scored span: onset in seconds after the PSG's first sample, duration in seconds (0 or NaN where
the file states none), label of `stages.STAGES` or -1."""

MAX_SECONDS = 14 * 24 * 3600.0
TOLERANCE_S = 0.05
"""Clocks of scoring programs round."""
USUAL_EPOCHS_S = (1.0, 2.0, 4.0, 5.0, 10.0, 15.0, 20.0, 30.0)
"""Lengths of an epoch that stages without durations show by following each other so."""


@dataclass(frozen=True)
class Hypnogram:
    """One stage for every 30 s from the first scored moment to the last."""

    onset_s: Float64[np.ndarray, " n"]
    """Seconds after the PSG's first sample; 30 s apart, more where scoring resumed off the grid."""
    stage: Int8[np.ndarray, " n"]
    """Label of `stages.STAGES`, or -1."""
    mixed: int = 0
    """Clips of unknown stage because the scoring changes inside them."""
    notes: tuple[str, ...] = ()
    """What was odd in the file but could be mended or left out, one line each."""


def seconds_covered(
    moments: Float64[np.ndarray, " n"], begin: np.ndarray, end: np.ndarray
) -> Float64[np.ndarray, " n"]:
    """Seconds of all spans [begin, end) that lie before each of `moments`; overlaps count twice."""
    total = np.zeros(len(moments))
    for edges, sign in ((np.sort(begin), 1.0), (np.sort(end), -1.0)):
        before = np.searchsorted(edges, moments)
        passed = np.concatenate([[0.0], np.cumsum(edges)])
        total += sign * (before * moments - passed[before])
    return total


def grid(spans: Sequence[Span], *, name: str, epoch_s: float | None = None) -> Hypnogram:
    """Lays scored spans on a grid of 30 s that begins with the first of them, and anew where
    scoring resumes off that grid after a pause.

    A clip has the stage that holds through all of it; where the scoring changes inside it or is
    silent the clip is unknown, so a label is never moved in time. Epochs of 20 s so become clips
    where all that a clip touches agree. A last part of less than 30 s is left out.

    Args:
        spans: in any order. Durations may all be 0 or NaN where the onsets follow each other every
            `epoch_s` seconds.
        name: what errors call the recording (a night_id).
        epoch_s: length of a span without duration; None takes the distance of the onsets if it is
            one of `USUAL_EPOCHS_S`.

    Raises:
        UserError: no spans, impossible durations, or less than 30 s scored.
    """
    onset, duration, stage = span_arrays(spans, name=name, epoch_s=epoch_s)
    ends = onset + duration
    length = float(ends.max() - onset[0])
    if not CLIP_SECONDS - TOLERANCE_S <= length <= MAX_SECONDS:
        raise UserError(
            f"night {name}: {length:g} s of scoring; expected at least 30 s and at most 14 days"
        )
    starts = _clip_starts(onset, ends)
    if not len(starts):
        raise UserError(f"night {name}: no 30 s are scored in one piece")
    labelled = range(UNKNOWN, len(STAGES))
    inside = np.stack([_seconds_inside(starts, onset, ends, stage == k) for k in labelled])
    most = inside.max(0)
    # Where two scorings overlap, the shares add up to more than the clip.
    whole = (most >= CLIP_SECONDS - TOLERANCE_S) & (inside.sum(0) - most <= TOLERANCE_S)
    known = inside[1:].max(0, initial=0)
    labels = np.where(whole & (most > inside[0]), inside.argmax(0) - 1, UNKNOWN)
    mixed = int((~whole & (known > TOLERANCE_S)).sum())
    return Hypnogram(starts, labels.astype(np.int8), mixed)


def span_arrays(
    spans: Sequence[Span], *, name: str, epoch_s: float | None = None
) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"], Int8[np.ndarray, " n"]]:
    """Onsets, durations and labels in order of time; for arguments and errors see `grid`.

    Single spans without a duration last no time and are left out.
    """
    if not spans:
        raise UserError(f"night {name}: the hypnogram holds no stage")
    onset, duration = (np.array([span[k] for span in spans], np.float64) for k in (0, 1))
    order = np.argsort(onset, kind="stable")
    onset, duration = onset[order], duration[order]
    stage = np.array([span[2] for span in spans], np.int8)[order]
    if not np.isfinite(onset).all() or np.isinf(duration).any():
        raise UserError(f"night {name}: an onset or a duration in the hypnogram is not finite")
    if (np.isnan(duration) | (duration == 0)).all():
        duration = np.full(len(onset), _step(onset, epoch_s, name))
    duration = np.where(np.isnan(duration), 0.0, duration)
    if (duration < 0).any():
        raise UserError(
            f"night {name}: a stage of {duration.min():g} s in the hypnogram; expected a positive "
            "duration"
        )
    scored = duration > 0
    return onset[scored], duration[scored], stage[scored]


def _step(onset: np.ndarray, epoch_s: float | None, name: str) -> float:
    """How long each of the spans without durations lasts: until the next."""
    steps = np.diff(onset)
    step = epoch_s
    if step is None:
        smallest = float(steps.min()) if len(steps) else CLIP_SECONDS
        near = [usual for usual in USUAL_EPOCHS_S if abs(usual - smallest) <= TOLERANCE_S]
        step = near[0] if near else CLIP_SECONDS
    if (np.abs(np.remainder(steps + step / 2, step) - step / 2) > TOLERANCE_S).any() or (
        steps < step / 2
    ).any():
        raise UserError(
            f"night {name}: the stages have no durations and do not follow each other every "
            f"{step:g} s; export them with durations"
        )
    if (steps > 1.5 * step).any():
        raise UserError(
            f"night {name}: the stages have no durations and some are more than {step:g} s apart, "
            "so it is open how long each lasts; export them with durations"
        )
    return step


def _clip_starts(onset: np.ndarray, ends: np.ndarray) -> Float64[np.ndarray, " n"]:
    """When each clip begins: 30 s apart from the first span on, and anew from where scoring resumes
    off that grid after a pause."""
    origins = [float(onset[0])]
    scored_until = np.maximum.accumulate(ends)
    for k in np.flatnonzero(onset[1:] > scored_until[:-1] + TOLERANCE_S) + 1:
        if abs(math.remainder(onset[k] - origins[-1], CLIP_SECONDS)) > TOLERANCE_S:
            origins.append(float(onset[k]))
    limits = [*origins[1:], float(scored_until[-1])]
    return np.concatenate(
        [
            origin + CLIP_SECONDS * np.arange(int((limit - origin + TOLERANCE_S) // CLIP_SECONDS))
            for origin, limit in zip(origins, limits, strict=True)
        ]
    )


def _seconds_inside(
    starts: np.ndarray, onset: np.ndarray, ends: np.ndarray, chosen: np.ndarray
) -> Float64[np.ndarray, " n"]:
    """Seconds of the chosen spans inside each clip."""
    if not chosen.any():
        return np.zeros(len(starts))
    zero = starts[0] if len(starts) else 0.0  # small numbers keep their last digits
    begin, end = onset[chosen] - zero, ends[chosen] - zero
    until = seconds_covered(starts - zero + CLIP_SECONDS, begin, end)
    return np.maximum(until - seconds_covered(starts - zero, begin, end), 0.0)
