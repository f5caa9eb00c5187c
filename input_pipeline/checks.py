"""Whether the files of a night fit together; `inspect` asks before a build, a build asks again."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from input_pipeline.errors import UserError
from input_pipeline.fingerprints import file_fingerprint
from input_pipeline.night import Night
from input_pipeline.readers.edf import Signal
from input_pipeline.readers.hypnogram import Hypnogram
from input_pipeline.readers.sync import Clock
from input_pipeline.stages import CLIP_SECONDS, STAGES

DAY = 86400.0

_DATES = "the times of day agree, the dates do not: one was anonymised"
_TIME_OF_DAY = (
    "give video_start with the date of the PSG, or confirm that the time of day alone counts "
    "(manifest column hypnogram_confirm: date)"
)

_LONGEST_NIGHT_S = 16 * 3600.0

_FEW = 120 / CLIP_SECONDS  # clips at the ends of a night that may always lack something


def signal_notes(signal: Signal) -> list[str]:
    """What a user should know of the PSG itself, a line each."""
    notes = [f"PSG: {text}" for text in signal.notes]
    if signal.gaps:
        seconds = sum(end - begin for begin, end in signal.gaps)
        notes.append(f"pauses in the PSG: {len(signal.gaps)}, {seconds:.1f} s in all")
    return notes


def hypnogram_notes(hypnogram: Hypnogram) -> list[str]:
    """What a user should know of the stages themselves, a line each."""
    notes = [f"hypnogram: {text}" for text in hypnogram.notes]
    if hypnogram.mixed:
        notes.append(
            f"the scoring changes inside {hypnogram.mixed} of {len(hypnogram.stage)} clips; their "
            "stage is unknown"
        )
    missing = [name for label, name in enumerate(STAGES) if label not in hypnogram.stage]
    if 0 < len(missing) < len(STAGES):
        notes.append(f"no clip of {', '.join(missing)}")
    return notes


def video_notes(
    start_source: str,
    declared_s: float | None,
    end_s: float | None,
    frame_rate: float | None,
    wanted_rate: float,
) -> list[str]:
    """What a user should know of the video itself, a line each.

    Args:
        start_source: where its start is known from (`sync.video_start`).
        declared_s: the length that the file states.
        end_s: when its last frame ends; None if it was not read to the end.
        frame_rate: frames a second, on average.
        wanted_rate: frames a second that clips are to hold.
    """
    notes = []
    known = declared_s is not None and end_s is not None
    if known and end_s < declared_s - CLIP_SECONDS:
        notes.append(
            f"the video promises {declared_s:.0f} s, but its last frame is at {end_s:.0f} s"
        )
    if frame_rate is not None and frame_rate < 0.95 * wanted_rate:
        notes.append(
            f"{frame_rate:.3g} frames a second in the video, {wanted_rate:g} in a clip; clips that "
            "lack too many are left out (--frame-rate takes fewer)"
        )
    if start_source == "container":
        notes.append(
            "the start of the video is the container's creation time; check that it is local time"
        )
    elif start_source == "digits in the file name":
        notes.append("the start of the video is read from digits in its file name; check it")
    return notes


def compare_times(
    name: str,
    onset_s: Float64[np.ndarray, " clips"],
    psg_s: float,
    clock: Clock | None,
    video_s: float | None,
    max_uncovered: float,
    video_notes: Sequence[str] = (),
    scored: bool = True,
) -> list[str]:
    """Lays scoring, PSG and video beside each other on the clock of the PSG.

    Args:
        name: the night's, for messages.
        onset_s: when the scored clips begin, in seconds after the PSG's first sample.
        psg_s: length of the PSG in seconds.
        clock: that of the video; None for a night without one.
        video_s: length of the video in seconds; None if it is not known.
        max_uncovered: share of the scored clips that the video may lack (two minutes always).
        video_notes: what is odd about the video itself; where it lacks clips, that may be why.
        scored: whether the night is; if not, there is nothing that PSG and video must hold.

    Returns:
        what a user should know, a line each.

    Raises:
        UserError: no scored clip lies in the PSG, or few of a scoring that is longer than a night;
            or the video lacks too many of those that do. The line says which of the three stands
            against the other two.
    """
    if not scored:
        return list(video_notes)
    first, last = float(onset_s[0]), float(onset_s[-1]) + CLIP_SECONDS
    middle = onset_s + CLIP_SECONDS / 2
    in_psg = (onset_s > -0.01) & (onset_s + CLIP_SECONDS < psg_s + 0.01)  # less than a sample
    begin, end = -np.inf, np.inf
    if clock is not None:
        begin = clock.psg_seconds(0.0)
        end = np.inf if video_s is None else clock.psg_seconds(video_s)
    in_video = (middle >= begin) & (middle <= end)

    if not in_psg.any():
        if _whole_days(middle, 0.0, psg_s):
            # No number of days: it would tell the date that was taken away.
            raise UserError(
                f"night {name}: no scored clip lies in the PSG: {_DATES}; give both the same date, "
                "or the stages as a CSV file in seconds of the PSG"
            )
        why = ""
        if clock is not None and begin < psg_s and end > 0:
            why = "; PSG and video agree: is it the hypnogram of another night?"
        elif clock is not None and in_video.any():
            why = "; hypnogram and video agree: is the start time of the PSG wrong?"
        raise UserError(
            f"night {name}: stages are scored from {first:.0f} to {last:.0f} s, but the PSG lasts "
            f"from 0 to {psg_s:.0f} s{why}"
        )
    if last - first > _LONGEST_NIGHT_S and in_psg.sum() < len(onset_s) / 2:
        raise UserError(
            f"night {name}: {in_psg.sum()} of {len(onset_s)} scored clips lie in the PSG: scored "
            f"are {first:.0f} to {last:.0f} s, it lasts {psg_s:.0f} s; are the hypnogram's times "
            "in seconds, or of 24 hours a day and with the right dates?"
        )
    lacking = int((in_psg & ~in_video).sum())
    if lacking > max(max_uncovered * in_psg.sum(), _FEW):
        assert clock is not None  # without a video nothing lacks it
        lacks = f"night {name}: the video lacks {lacking} of {in_psg.sum()} scored clips"
        if _whole_days(middle[in_psg], begin, end):
            raise UserError(f"{lacks}: {_DATES}; {_TIME_OF_DAY}")
        inside = onset_s[in_psg]
        starts = clock.video_seconds(np.array([inside[0], inside[-1] + CLIP_SECONDS]))
        length = "" if video_s is None else f"it lasts {video_s:.0f} s and "
        why = "; ".join(video_notes) or (
            "PSG and hypnogram agree: is the video cut off, or its clock wrong?"
        )
        raise UserError(
            f"{lacks}: {length}they lie {starts[0]:.0f} to {starts[1]:.0f} s after its start; {why}"
        )

    notes = list(video_notes)
    if outside := int((~in_psg).sum()):
        blamed = "is it longer than the recording?"
        if clock is not None and (in_video & ~in_psg).sum() > outside / 2 and np.isfinite(end):
            blamed = "the video has them: is the PSG cut off?"
        notes.append(
            f"{outside} of {len(onset_s)} scored clips lie outside the PSG: scored are "
            f"{first:.0f} to {last:.0f} s, it lasts {psg_s:.0f} s; {blamed}"
        )
    if lacking:
        notes.append(f"the video lacks {lacking} of {in_psg.sum()} scored clips at its ends")
    return notes


def twin_notes(nights: Sequence[Night]) -> Iterator[str]:
    """Subjects of one recording, and those that may be one person, a line each: a split would test
    on what was trained on. So are nights of one scoring, whose labels are right for one at most.

    Files are compared by content, whatever they are called.
    """
    spelt: dict[str, Night] = {}
    holders: dict[tuple[str, str], Night] = {}
    scored: dict[str, tuple[Night, list[str]]] = {}  # digest of a scoring -> night, its PSG
    for night in nights:
        first = spelt.setdefault(_without_spelling(night.subject_id), night)
        if first.subject_id != night.subject_id:
            yield (
                f"night {night.night_id}: its subject_id differs from that of night "
                f"{first.night_id} in capital letters, separators or leading zeros alone; two "
                "subjects?"
            )
        recorded = _digests(night.psg_files)
        for kind, digests in (("PSG", recorded), ("video", _digests(night.video_files))):
            twins = [holders.setdefault((kind, digest), night) for digest in digests]
            others = [each for each in twins if each.subject_id != night.subject_id]
            if others:
                yield (
                    f"night {night.night_id}: its {kind} is also that of night "
                    f"{others[0].night_id}, of another subject"
                )
        for digest in _digests([night.hypnogram] if night.hypnogram else []):
            other, its_psg = scored.setdefault(digest, (night, recorded))
            if its_psg != recorded:
                yield (
                    f"night {night.night_id}: its hypnogram is also that of night "
                    f"{other.night_id}, whose PSG is another"
                )


def _digests(files: Iterable[Path]) -> list[str]:
    """Of the files' contents; none where one cannot be read, of which its reader says what is
    wrong."""
    try:
        return [file_fingerprint(path) for path in files]
    except OSError:
        return []


def _without_spelling(subject_id: str) -> str:
    """What stays of a name where tables were made by several hands or a spreadsheet."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", re.sub(r"[._-]+", "-", subject_id.casefold()))


def _whole_days(middle_s: np.ndarray, begin_s: float, end_s: float) -> bool:
    """Whether most clips would lie in begin … end if the date, but not the time, were another."""
    days = round((begin_s - float(middle_s[0])) / DAY)
    moved = middle_s + days * DAY
    return days != 0 and float(np.mean((moved >= begin_s) & (moved <= end_s))) > 0.5
