"""Scored sleep stages of a night on its grid of 30 s, from EDF+ annotations or text files.

Stages are the labels of `stages.STAGES`; R&K stages 3 and 4 are N3, movement time and what nobody
scored are unknown.
"""

import csv
import itertools
import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float64, Int8

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.edf import first_sample, read_annotations
from input_pipeline.stages import CLIP_SECONDS, STAGES, UNKNOWN

MAX_BYTES = 64 * 2**20
"""Largest text file read."""
_MAX_SECONDS = 14 * 24 * 3600.0
_TOLERANCE_S = 0.05  # clocks of scoring programs round

_W, _N1, _N2, _N3, _REM = range(5)


@dataclass(frozen=True)
class Scheme:
    """What the numbers (or single letters) of a hypnogram file mean."""

    stages: dict[str, int]
    seconds: float = CLIP_SECONDS
    """Length of one value where a file has one value a line."""


SCHEMES: dict[str, Scheme] = {
    # The labels of this project, of AttnSleep, DeepSleepNet and braindecode.
    "aasm": Scheme({"0": _W, "1": _N1, "2": _N2, "3": _N3, "4": _REM, "-1": UNKNOWN}),
    "yasa": Scheme(
        {"0": _W, "1": _N1, "2": _N2, "3": _N3, "4": _REM, "-1": UNKNOWN, "-2": UNKNOWN}
    ),
    # Compumedics Profusion, as in SHHS and MESA.
    "profusion": Scheme(
        {"0": _W, "1": _N1, "2": _N2, "3": _N3, "4": _N3, "5": _REM, "6": UNKNOWN, "9": UNKNOWN}
    ),
    # St. Vincent / UCD database; its 8 stands in no key and is taken for unscored.
    "ucddb": Scheme(
        {
            "0": _W,
            "1": _REM,
            "2": _N1,
            "3": _N2,
            "4": _N3,
            "5": _N3,
            "6": UNKNOWN,
            "7": UNKNOWN,
            "8": UNKNOWN,
        }
    ),
    # Letters and R&K numbers as in Sleep-EDF's annotations.
    "sleep_edf": Scheme(
        {"W": _W, "1": _N1, "2": _N2, "3": _N3, "4": _N3, "R": _REM, "M": UNKNOWN, "?": UNKNOWN}
    ),
    "dreams": Scheme(
        {
            **{"5": _W, "4": _REM, "3": _N1, "2": _N2, "1": _N3, "0": _N3},
            **{"-1": UNKNOWN, "-2": UNKNOWN, "-3": UNKNOWN},
        },
        seconds=5.0,
    ),
}
"""Integer schemes by name (manifest column `hypnogram_scheme`). Numbers are never guessed at: 4
alone is N3 in one program and REM in the next."""

_WORDS = {
    **{word: _W for word in ("w", "wake", "awake", "s0", "stage w")},
    **{word: _N1 for word in ("n1", "s1", "nrem1", "nrem 1", "stage n1", "stage 1")},
    **{word: _N2 for word in ("n2", "s2", "nrem2", "nrem 2", "stage n2", "stage 2")},
    **{word: _N3 for word in ("n3", "s3", "s4", "n4", "nrem3", "nrem 3", "nrem4", "nrem 4")},
    **{word: _N3 for word in ("stage n3", "stage n4", "stage 3", "stage 4")},
    **{word: _REM for word in ("r", "rem", "stage r", "stage rem")},
    **{word: UNKNOWN for word in ("?", "unknown", "unscored", "unsure", "uns", "stage ?", "none")},
    **{
        word: UNKNOWN
        for word in (
            "m",
            "mt",
            "movement",
            "movement time",
            "stage m",
            "artefact",
            "artifact",
            "art",
        )
    },
}


@dataclass(frozen=True)
class Hypnogram:
    """One stage for every 30 s from the first scored moment to the last."""

    onset_s: Float64[np.ndarray, " n"]
    """Seconds after the PSG's first sample; 30 s apart, more where scoring resumed off the grid."""
    stage: Int8[np.ndarray, " n"]
    """Label of `stages.STAGES`, or -1."""
    mixed: int = 0
    """Clips of unknown stage because the scoring changes inside them."""


def word_stage(text: str) -> int | None:
    """The stage a word such as "Sleep stage 2", "N2" or "REM" means; None if it is no word for a
    stage."""
    word = " ".join(text.split("@@")[0].replace("_", " ").lower().split())
    word = re.sub(r"^sleep[ -]?(?=stage|s\d)", "", word)
    return _WORDS.get(word)


def read_hypnogram(night: Night) -> Hypnogram:
    """Reads the scored stages of a night.

    Raises:
        UserError: no stages, a word or number that is no stage, or a scoring that does not fit a
            grid of 30 s.
    """
    path = night.hypnogram or night.psg_files[0]
    name = night.night_id
    try:
        with open(path, "rb") as file:
            is_edf = file.read(8) in (b"0       ", b"\xffBIOSEMI")
        if not is_edf and path.stat().st_size > MAX_BYTES:
            raise UserError(
                f"night {name}: a hypnogram of more than {MAX_BYTES >> 20} MB; expected text or "
                "EDF+"
            )
        # utf-8-sig and latin-1 between them read every program's export.
        raw = b"" if is_edf else path.read_bytes()
    except OSError as error:
        raise UserError(f"night {name}: the hypnogram cannot be read ({error.strerror})") from None
    if is_edf:
        return _from_annotations(night, path)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    if "\0" in text:
        raise UserError(f"night {name}: the hypnogram is neither EDF+ nor text")
    return _from_text(name, text, _scheme(night))


def _scheme(night: Night) -> Scheme | None:
    if not night.hypnogram_scheme:
        return None
    if night.hypnogram_scheme not in SCHEMES:
        raise UserError(
            f"night {night.night_id}: hypnogram_scheme {night.hypnogram_scheme!r}; expected one of "
            f"{', '.join(SCHEMES)}"
        )
    return SCHEMES[night.hypnogram_scheme]


def _from_annotations(night: Night, path: Path) -> Hypnogram:
    name = night.night_id
    inside = path in night.psg_files
    annotations = read_annotations(night.psg if inside else path, name=name)
    shift = 0.0
    if not inside:
        shift = (annotations.start - first_sample(night.psg, name=name)).total_seconds()
    events = []
    for onset, duration, text in zip(
        annotations.onset_s, annotations.duration_s, annotations.text, strict=True
    ):
        stage = (
            word_stage(text)
            if re.match(r"(sleep[ _-]?s|stage|movement)", text, re.IGNORECASE)
            else None
        )
        if stage is None and re.match(r"sleep[ _]stage", text, re.IGNORECASE):
            raise UserError(
                f"night {name}: annotation {text[:40]!r} at {onset:g} s is no sleep stage that is "
                "known"
            )
        stage = _bare(text) if stage is None else stage
        if stage is not None:
            events.append((float(onset) + shift, float(duration), stage))
    if not events:
        where = (
            "the hypnogram file"
            if night.hypnogram
            else "the PSG (and the manifest names no hypnogram)"
        )
        raise UserError(f'night {name}: no annotation such as "Sleep stage W" in {where}')
    return grid(events, name=name)


def _bare(text: str) -> int | None:
    # Programs that annotate plain stage names; single letters are too short to be sure of among
    # other annotations.
    return (
        word_stage(text)
        if text.strip().upper() in (*STAGES[1:], "WAKE", "S1", "S2", "S3", "S4")
        else None
    )


def _from_text(name: str, text: str, scheme: Scheme | None) -> Hypnogram:
    lines = [
        (number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    if not lines:
        raise UserError(f"night {name}: the hypnogram file is empty")
    if "Sample #" in lines[0][1] and "Aux" in lines[0][1]:
        return grid(_wfdb_events(name, lines), name=name)
    header = lines[0][1].lower()
    delimiter = next((mark for mark in ",;\t" if mark in header), ",")
    columns = [column.strip() for column in header.split(delimiter)]
    if "stage" in columns:
        lines = lines[1:]
    elif len(columns) > 1:
        raise UserError(
            f"night {name}: hypnogram columns {', '.join(columns)[:80]}; expected "
            "onset,duration,stage"
        )
    if "stage" in columns and len(columns) > 1:
        return grid(_table_events(name, columns, delimiter, lines, scheme), name=name)
    seconds = scheme.seconds if scheme else CLIP_SECONDS
    stages = [_value(name, number, line, scheme) for number, line in lines]
    return grid([(k * seconds, seconds, stage) for k, stage in enumerate(stages)], name=name)


def _value(name: str, line: int, text: str, scheme: Scheme | None) -> int:
    key = text.strip().strip("\"'")
    if scheme is not None:
        key = str(int(float(key))) if re.fullmatch(r"-?\d+\.0*", key) else key
        if key in scheme.stages:
            return scheme.stages[key]
        raise UserError(
            f"night {name}, hypnogram line {line}: {key[:20]!r}; the named scheme has "
            f"{', '.join(scheme.stages)}"
        )
    if re.fullmatch(r"-?\d+(\.0*)?", key):
        raise UserError(
            f"night {name}, hypnogram line {line}: the number {key[:20]}, and numbers mean "
            "different stages in different programs; name the scheme in the manifest column "
            f"hypnogram_scheme ({', '.join(SCHEMES)})"
        )
    stage = word_stage(key)
    if stage is None:
        raise UserError(
            f"night {name}, hypnogram line {line}: {key[:20]!r} is no stage; expected W, N1, N2, "
            "N3, REM or ?"
        )
    return stage


def _table_events(
    name: str,
    columns: list[str],
    delimiter: str,
    lines: list[tuple[int, str]],
    scheme: Scheme | None,
) -> list[tuple[float, float, int]]:
    for column in ("onset", "duration"):
        if column not in columns:
            raise UserError(
                f"night {name}: hypnogram has no column {column!r}; found {', '.join(columns)}"
            )
    events = []
    rows = csv.reader([line for _, line in lines], delimiter=delimiter)
    for (number, _), row in zip(lines, rows, strict=True):
        if len(row) != len(columns):
            raise UserError(
                f"night {name}, hypnogram line {number}: {len(row)} cells, expected {len(columns)}"
            )
        cells = dict(zip(columns, row, strict=True))
        try:
            onset, duration = float(cells["onset"]), float(cells["duration"])
        except ValueError:
            onset = duration = np.nan
        if not (np.isfinite(onset) and np.isfinite(duration)):
            raise UserError(
                f"night {name}, hypnogram line {number}: onset and duration must be seconds"
            )
        events.append((onset, duration, _value(name, number, cells["stage"], scheme)))
    return events


def _wfdb_events(name: str, lines: list[tuple[int, str]]) -> list[tuple[float, float, int]]:
    """Events of PhysioNet's `rdann` text: sample numbers, and "Sleep_stage_2 duration: 390" in the
    last column."""
    rate = None
    events = []
    for number, line in lines[1:]:
        if found := re.search(r"## time resolution: (\d+(?:\.\d+)?)$", line):
            rate = float(found[1])
        found = re.match(r"\[[^\]]*\]\s+(\d+)\s.*\t(\S+) duration: (\d+(?:\.\d+)?)$", line)
        if not found:
            continue
        stage = word_stage(found[2])
        if stage is None:
            raise UserError(
                f"night {name}, hypnogram line {number}: {found[2][:40]!r} is no sleep stage that "
                "is known"
            )
        if not rate:
            raise UserError(
                f"night {name}, hypnogram line {number}: no time resolution before the first stage"
            )
        events.append((int(found[1]) / rate, float(found[3]), stage))
    if not events:
        raise UserError(f"night {name}: no sleep stages in the hypnogram text")
    return events


def grid(events: list[tuple[float, float, int]], *, name: str) -> Hypnogram:
    """Lays stage events on a grid of 30 s that begins with the first of them, and
    anew where scoring resumes off that grid after a pause.

    A clip has the stage that holds through all of it; where the scoring changes inside it or is
    silent the clip is unknown, so a label is never moved in time. A last part of less than 30 s is
    left out.

    Args:
        events: (onset in seconds after the PSG's first sample, duration in seconds, label), in any
            order. Durations may all be 0 or NaN where events follow each other every 30 s.
        name: what errors call the recording (a night_id).

    Raises:
        UserError: no events, impossible durations, or less than 30 s scored.
    """
    if not events:
        raise UserError(f"night {name}: the hypnogram holds no stage")
    onset, duration, stage = (np.array(column) for column in zip(*sorted(events), strict=True))
    without = np.isnan(duration) | (duration == 0)
    if without.all():
        steps = np.diff(onset) / CLIP_SECONDS
        if (np.abs(steps - np.rint(steps)) * CLIP_SECONDS > _TOLERANCE_S).any() or (
            steps < 0.5
        ).any():
            raise UserError(
                f"night {name}: the stages have no durations and do not follow each other every 30 "
                "s; export them with durations"
            )
        if (np.rint(steps) > 1).any():
            raise UserError(
                f"night {name}: the stages have no durations and some are more than 30 s apart, so "
                "it is open how long each lasts; export them with durations"
            )
        duration = np.full(len(onset), CLIP_SECONDS)
    duration = np.where(np.isnan(duration), 0.0, duration)
    if (duration < 0).any():
        raise UserError(
            f"night {name}: a stage of {duration.min():g} s in the hypnogram; expected a positive "
            "duration"
        )
    onset, duration, stage = (column[duration > 0] for column in (onset, duration, stage))
    end = float((onset + duration).max())
    if not CLIP_SECONDS - _TOLERANCE_S <= end - onset[0] <= _MAX_SECONDS:
        raise UserError(
            f"night {name}: {end - onset[0]:g} s of scoring; expected at least 30 s and at most 14 "
            "days"
        )
    limits = [*_origins(onset, onset + duration), end]
    parts = [
        _part(onset - origin, duration, stage, int((limit - origin + _TOLERANCE_S) // CLIP_SECONDS))
        for origin, limit in itertools.pairwise(limits)
    ]
    starts = [
        origin + CLIP_SECONDS * np.arange(len(labels))
        for origin, (labels, _) in zip(limits[:-1], parts, strict=True)
    ]
    return Hypnogram(
        np.concatenate(starts),
        np.concatenate([labels for labels, _ in parts]),
        sum(mixed for _, mixed in parts),
    )


def _origins(onset: np.ndarray, end: np.ndarray) -> list[float]:
    """Where a grid begins: at the first event, and where scoring resumes off the grid after a
    pause."""
    origins = [float(onset[0])]
    scored_until = np.maximum.accumulate(end)
    for k in range(1, len(onset)):
        off = abs(math.remainder(onset[k] - origins[-1], CLIP_SECONDS)) > _TOLERANCE_S
        if off and onset[k] > scored_until[k - 1] + _TOLERANCE_S:
            origins.append(float(onset[k]))
    return origins


def _part(
    onset: np.ndarray, duration: np.ndarray, stage: np.ndarray, count: int
) -> tuple[Int8[np.ndarray, " count"], int]:
    """Labels of `count` clips from 0 s on, and how many are unknown because the scoring changes."""
    scored = np.zeros((len(STAGES) + 1, count))  # seconds by stage; unknown is the last row
    length = count * CLIP_SECONDS
    for begin, end, label in zip(onset, onset + duration, stage, strict=True):
        begin, end = max(begin, 0.0), min(end, length)
        if begin < end:
            clips = np.arange(int(begin // CLIP_SECONDS), math.ceil(end / CLIP_SECONDS))
            until = np.minimum(end, (clips + 1) * CLIP_SECONDS)
            scored[label, clips] += until - np.maximum(begin, clips * CLIP_SECONDS)
    most = scored.max(0)
    # Where two scorings overlap, the shares add up to more than the clip.
    whole = (most >= CLIP_SECONDS - _TOLERANCE_S) & (scored.sum(0) - most <= _TOLERANCE_S)
    labels = np.where(whole & (most > scored[-1]), scored.argmax(0), UNKNOWN).astype(np.int8)
    mixed = int((~whole & (scored[:-1].max(0, initial=0) > _TOLERANCE_S)).sum())
    return labels, mixed
