"""Where the files of a recording lie in time, by when each began and how long it lasts."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from input_pipeline.errors import UserError

MAX_OVERLAP_S = 30.0
"""Recorders repeat some seconds at a cut; files that overlap by more are of two cameras."""
MAX_RATE_ERROR = 0.5
"""Files that last too short by more than a third are taken for those of a camera that pauses."""
MAX_SPAN_S = 129_600.0
"""All files of a night begin within 36 hours."""


@dataclass(frozen=True)
class Placement:
    """Where each file of a recording begins, in seconds after the first."""

    starts_s: tuple[float, ...]
    gaps: tuple[tuple[float, float], ...]
    """(where, seconds) without a picture between two files."""
    overlaps: tuple[tuple[float, float], ...]
    """(where, seconds) that two files show; the later one is taken."""
    notes: tuple[str, ...]


def place(
    starts: Sequence[datetime], lengths_s: Sequence[float], *, resolution_s: float, what: str
) -> Placement:
    """Lays files one behind the other.

    A file that begins when the one before ends, as far as its start is known, is taken to follow
    without a gap: so a start in whole seconds costs no more than the night's first file loses.

    Args:
        starts: when each file began, in ascending order.
        lengths_s: how long each lasts.
        resolution_s: how exactly the starts are known, in seconds.
        what: stands for the night in errors.

    Raises:
        UserError: the starts do not agree with each other or with the lengths.
    """
    known = [(start - starts[0]).total_seconds() for start in starts]
    count = len(starts)
    if known[-1] > MAX_SPAN_S:
        raise UserError(
            f"{what}: its {count} videos begin over {known[-1] / 3600:.0f} hours; expected those "
            "of one night"
        )
    for number, (before, after) in enumerate(itertools.pairwise(known), 2):
        if after <= before:
            raise UserError(
                f"{what}: video {number - 1} and video {number} of {count} begin at the same "
                "time; expected the files of one camera"
            )
    rate = _wrong_rate(known, lengths_s, resolution_s)
    placed, gaps, overlaps = [0.0], [], []
    for k in range(1, count):
        end = placed[-1] + lengths_s[k - 1]
        step = known[k] - end
        if abs(step) < resolution_s:
            placed.append(end)
            continue
        if abs(abs(step) - 3600) < 2 and starts[k].weekday() == 6 and starts[k].hour < 5:
            raise UserError(
                f"{what}: between video {k} and video {k + 1} of {count} the clock moves by an "
                "hour, as where summer time begins or ends; state video_start for each file"
            )
        if step < -MAX_OVERLAP_S:
            why = "expected the files of one camera"
            if rate is not None:
                why = f"their frame rate is not what they say: state sync_drift_ppm {rate:.0f}"
            raise UserError(
                f"{what}: video {k + 1} of {count} begins {-step:.0f} s before video {k} ends; "
                f"{why}"
            )
        (gaps if step > 0 else overlaps).append((end, abs(step)))
        placed.append(known[k])
    return Placement(
        tuple(placed), tuple(gaps), tuple(overlaps), tuple(_notes(gaps, overlaps, rate))
    )


def _wrong_rate(
    known: Sequence[float], lengths_s: Sequence[float], resolution_s: float
) -> float | None:
    """Parts per million by which all files last too short (or too long) alike, if they do."""
    lengths, steps = np.asarray(lengths_s[:-1], float), np.diff(known)
    if len(lengths) < 3 or (lengths <= 0).any() or abs(np.sign(steps - lengths).sum()) < len(steps):
        return None
    middle = float(np.median(steps / lengths))
    alike = np.abs(steps - middle * lengths) < np.maximum(2 * resolution_s, 0.002 * lengths)
    apart = np.abs(steps - lengths) >= resolution_s
    if not (alike & apart).all() or not 0.002 < abs(middle - 1) < MAX_RATE_ERROR:
        return None
    return (middle - 1) * 1e6


def _notes(
    gaps: Sequence[tuple[float, float]], overlaps: Sequence[tuple[float, float]], rate: float | None
) -> list[str]:
    notes = []
    for found, words in ((gaps, "gaps between its files"), (overlaps, "overlaps of its files")):
        if found:
            seconds = sum(length for _, length in found)
            notes.append(
                f"{words}: {len(found)}, {seconds:.0f} s in all, first after {found[0][0]:.0f} s"
            )
    if rate is not None:
        notes.append(
            "all its files last too short or too long by the same share; if no picture is lost "
            f"between them, their frame rate is not what they say: state sync_drift_ppm {rate:.0f}"
        )
    return notes
