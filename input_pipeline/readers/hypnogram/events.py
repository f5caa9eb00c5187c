"""Stages among other annotations: which of a file's events are scoring, and what was not
understood.

Scoring programs write stages into the same list as apnoeas, movements and remarks, and some of
their words ("REM", "Wake", "Movement") name events as well. The rules:

- A full word ("Sleep stage N2", "SLEEP-S2", "Stage 2 sleep|2") is a stage, however long it lasts.
- A bare word is a stage if it lasts whole epochs, no full word of the file says the same stage,
  and it does not overlap one; else it is an event.
- Other text that consists of words of scoring, or that fills holes of the scoring with whole
  epochs, is named with its count. If a stage is then missing altogether, the night is refused
  until the manifest confirms that these are no stages.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram.grid import TOLERANCE_S, Span
from input_pipeline.readers.hypnogram.vocabulary import (
    Scheme,
    Word,
    find_word,
    is_number,
    looks_like_scoring,
    shown,
)
from input_pipeline.stages import CLIP_SECONDS, STAGES, UNKNOWN

Event = tuple[float, float, str]
"""Onset in seconds after the PSG's first sample, duration in seconds (NaN where there is none),
text."""


@dataclass
class _Column:
    """The events of a file, their texts looked up once each."""

    onset: np.ndarray
    end: np.ndarray
    has_duration: np.ndarray
    stage: np.ndarray
    full: np.ndarray
    bare: np.ndarray
    text: list[str]


def stage_spans(
    events: Sequence[Event], night: Night, scheme: Scheme | None, where: str
) -> tuple[list[Span], list[str]]:
    """The stages among the events, and notes on what looked like stages and is none.

    Args:
        scheme: what texts that are numbers mean; None where the user named none.
        where: names the events in an error, such as "the PSG".

    Raises:
        UserError: no stages, or a stage is missing while texts that look like scoring were not
            understood.
    """
    column = _look_up(events, scheme)
    epoch_s = _epoch_s(column, night)
    accepted = column.full | (column.bare & _stands_alone(column, epoch_s))
    present = set(column.stage[accepted].tolist()) - {UNKNOWN}
    notes = []
    only_events = column.bare & ~accepted & (column.stage != UNKNOWN)  # movements are no news
    if rejected := _named(column.text, only_events):
        notes.append(f"{rejected} stand beside stages or last no whole epoch: events, no stages")
    strange = _named(column.text, _strange(column, accepted, epoch_s))
    missing = [name for label, name in enumerate(STAGES) if label not in present]
    if strange and missing and "lost_stage" not in night.hypnogram_confirm:
        advice = "correct or rename them"
        if any(is_number(text) for text in column.text):
            advice += ", name the scheme of numbers (hypnogram_scheme)"
        raise UserError(
            f"night {night.night_id}: {strange} in {where} look like scoring and are not "
            f"understood, and there is no {', '.join(missing)}; {advice}, or confirm that they are "
            "no stages (manifest column hypnogram_confirm: lost_stage)"
        )
    if strange:
        notes.append(f"{strange} look like scoring, are not understood and are left out")
    if not accepted.any():
        why = f"; {notes[0]} (hypnogram_epoch_s names others than {epoch_s:g} s)" if notes else ""
        raise UserError(
            f'night {night.night_id}: no annotation such as "Sleep stage W" in {where}{why}'
        )
    onset, end, stage = column.onset[accepted], column.end[accepted], column.stage[accepted]
    duration = np.where(column.has_duration[accepted], end - onset, np.nan)
    return list(zip(onset.tolist(), duration.tolist(), stage.tolist(), strict=True)), notes


def _look_up(events: Sequence[Event], scheme: Scheme | None) -> _Column:
    meanings: dict[str, tuple[int, bool, bool]] = {}
    for _, _, text in events:
        if text not in meanings:
            key = text.strip()
            if scheme is not None and key in scheme.stages:
                meanings[text] = (scheme.stages[key], False, True)
            else:
                word = find_word(text) or Word(UNKNOWN, False)
                bare = find_word(text) is not None and not word.full
                meanings[text] = (word.stage, word.full, bare)
    onset = np.array([event[0] for event in events], np.float64)
    duration = np.array([event[1] for event in events], np.float64)
    has_duration = ~np.isnan(duration) & (duration > 0)
    found = [meanings[text] for _, _, text in events]
    return _Column(
        onset,
        onset + np.where(has_duration, duration, 0.0),
        has_duration,
        np.array([stage for stage, _, _ in found], np.int64),
        np.array([full for _, full, _ in found], bool),
        np.array([bare for _, _, bare in found], bool),
        [text for _, _, text in events],
    )


def _epoch_s(column: _Column, night: Night) -> float:
    """Length of the file's epochs: named by the user, or 20 s where all stages last so."""
    if night.hypnogram_epoch_s:
        return night.hypnogram_epoch_s
    chosen = (column.full | column.bare) & column.has_duration
    duration = (column.end - column.onset)[chosen]
    for epoch_s in (CLIP_SECONDS, 20.0):
        if len(duration) and _whole(duration, epoch_s).all():
            return epoch_s
    return CLIP_SECONDS


def _whole(seconds: np.ndarray, epoch_s: float) -> np.ndarray:
    """Which lengths are whole epochs, one or more."""
    return (seconds > epoch_s / 2) & (
        np.abs(np.remainder(seconds + epoch_s / 2, epoch_s) - epoch_s / 2) <= TOLERANCE_S
    )


def _overlap(column: _Column, others: np.ndarray) -> np.ndarray:
    """Which events share time with one of the `others` (a mask)."""
    begin, end = np.sort(column.onset[others]), np.sort(column.end[others])
    begun = np.searchsorted(begin, column.end - TOLERANCE_S, "left")
    return begun > np.searchsorted(end, column.onset + TOLERANCE_S, "right")


def _stands_alone(column: _Column, epoch_s: float) -> np.ndarray:
    """Which bare words may be stages; see the rules above."""
    if not column.full.any() and not column.has_duration[column.bare].any():
        return np.ones(len(column.onset), bool)  # onsets alone, epoch by epoch
    whole = _whole(column.end - column.onset, epoch_s)
    said = np.unique(column.stage[column.full])
    known = column.bare & whole & (column.stage != UNKNOWN)
    known &= ~np.isin(column.stage, said) & ~_overlap(column, column.full & column.has_duration)
    unknown = whole & (column.stage == UNKNOWN)
    unknown &= ~_overlap(column, (column.full | known) & column.has_duration)
    return known | unknown


def _strange(column: _Column, accepted: np.ndarray, epoch_s: float) -> np.ndarray:
    """Which texts look like scoring and were not understood."""
    other = ~(column.full | column.bare)
    scoring = {text: looks_like_scoring(text) for text in set(column.text)}
    strange = other & np.array([scoring[text] for text in column.text], bool)
    if not (accepted & column.has_duration).any():
        numbers = {text: is_number(text) for text in set(column.text)}
        return strange | (other & np.array([numbers[text] for text in column.text], bool))
    first, last = column.onset[accepted].min(), column.end[accepted].max()
    fills = _whole(column.end - column.onset, epoch_s) & ~_overlap(column, accepted)
    offset = np.remainder(column.onset - first + epoch_s / 2, epoch_s) - epoch_s / 2
    fills &= np.abs(offset) <= TOLERANCE_S
    fills &= (column.onset >= first - 1.5 * epoch_s) & (column.end <= last + 1.5 * epoch_s)
    elsewhere = {text for text, fill in zip(column.text, fills, strict=True) if not fill}
    return strange | (other & np.array([text not in elsewhere for text in column.text], bool))


def _named(text: list[str], chosen: np.ndarray) -> str:
    """The chosen texts with their counts, as far as they may be shown."""
    counts = Counter(shown(text[k]) for k in np.flatnonzero(chosen))
    named = [f"{count} of {what}" for what, count in counts.most_common(6)]
    more = len(counts) - len(named)
    return ", ".join(named) + (f" and {more} other texts" if more > 0 else "")
