"""One recorded night, and the manifest that lists the nights of a study.

A manifest is a CSV file with one row a night and the columns of `COLUMNS`; only `REQUIRED` must be
there. Paths are relative to the manifest. Clock cells: see `Night`.
"""

import csv
import io
import math
import os
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from input_pipeline.errors import UserError, suggestion
from input_pipeline.files import read_text, write_csv
from input_pipeline.foreign_text import describe
from input_pipeline.readers.video.files import find_videos


@dataclass(frozen=True)
class Night:
    """One night of one subject: where its files are and how its two clocks relate.

    `video_start` is the naive local clock time of the video's first moment; None means that the
    readers take it from the video's file name or container. The clock of the PSG is the reference:

        psg_time = video_time + sync_offset_s + sync_drift_ppm * 1e-6 * (seconds since the video
        began)

    so a positive offset means that the video's clock is behind that of the PSG.
    """

    night_id: str
    subject_id: str
    video: Path | tuple[Path, ...] | None
    """One file, or those of a recording in pieces; None: a night without video, good for an EEG
    teacher alone."""
    psg: Path | tuple[Path, ...]
    """One file, or those of a recording in pieces; the time between them is a gap."""
    hypnogram: Path | None = None
    """None: the stages are annotations in the PSG."""
    psg_channel: str = ""
    """EEG channel to read; empty takes the first of the usual central channels that is there."""
    ahi: float | None = None
    """Apnoea-hypopnoea index, events an hour."""
    age: float | None = None
    sex: str = ""
    video_start: datetime | tuple[datetime, ...] | None = None
    """Of several files, the start of the first, or of each."""
    sync_offset_s: float = 0.0
    sync_drift_ppm: float = 0.0
    hypnogram_scheme: str = ""
    """Name of the integer scheme of a hypnogram file that holds numbers
    (`readers.hypnogram.SCHEMES`)."""
    hypnogram_epoch_s: float | None = None
    """Seconds that one line of a hypnogram lasts, where the file does not say; None: 30."""
    scorer: str = ""
    """Whose stages to take from a hypnogram of several scorers; "consensus" takes the majority;
    `NOBODY`: the night was not scored, all its clips are of unknown stage."""
    hypnogram_confirm: str = ""
    """What the user has looked at and found right, of `CONFIRMATIONS`, with "|" between them."""
    psg_unit: str = ""
    """What the EEG's numbers are in, of `PSG_UNITS`, whatever the PSG's header says; or ""."""

    @property
    def scored(self) -> bool:
        """Whether there are stages to read."""
        return self.scorer != NOBODY

    @property
    def video_files(self) -> tuple[Path, ...]:
        """The files of the video, as they are listed; none without a video."""
        if self.video is None:
            return ()
        return (self.video,) if isinstance(self.video, Path) else self.video

    @property
    def video_starts(self) -> tuple[datetime, ...]:
        """What is stated of `video_start`."""
        if self.video_start is None:
            return ()
        return (self.video_start,) if isinstance(self.video_start, datetime) else self.video_start

    @property
    def psg_files(self) -> tuple[Path, ...]:
        """The files of the PSG, as they are listed."""
        return (self.psg,) if isinstance(self.psg, Path) else self.psg


NOBODY = "nobody"
"""The scorer of a night that trains a student through its teacher alone."""

CONFIRMATIONS = ("lost_stage", "date")
"""`lost_stage`: annotations that look like scoring but are not understood are no stages. `date`:
dates of PSG, hypnogram or video were made anonymous; the time of day alone counts."""

PSG_UNITS = ("nV", "uV", "mV", "V")

REQUIRED = ("night_id", "subject_id", "psg")
"""Columns a manifest must have."""

_PATHS = ("video", "psg", "hypnogram")
_IN_PIECES = ("video", "psg")
"""Columns that may name several files, with "|" between them."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")  # safe as a file name and as a key


def is_name(text: str) -> bool:
    """Whether a text can be a `night_id` or a `subject_id`."""
    return _NAME.fullmatch(text) is not None


def _name(text: str) -> str:
    if not is_name(text):
        raise ValueError("1 to 80 letters, digits, '.', '_' or '-'")
    return text


def _number(least: float, most: float, default: float | None) -> Callable[[str], float | None]:
    def parse(text: str) -> float | None:
        if not text:
            return default
        expected = f"a number from {least:g} to {most:g}"
        if re.fullmatch(r"[+-]?\d+,\d+", text):
            raise ValueError(f"{expected} with a decimal point, not a comma")
        try:
            value = float(text)
        except ValueError:
            raise ValueError(expected) from None
        if not (math.isfinite(value) and least <= value <= most):
            raise ValueError(expected)
        return value

    return parse


def _sex(text: str) -> str:
    value = text.upper()[:1]
    if text.upper() not in ("", "M", "F", "MALE", "FEMALE"):
        raise ValueError("M, F or nothing")
    return value


def _confirmations(text: str) -> str:
    words = [word.strip() for word in text.split("|")] if text else []
    if not set(words) <= set(CONFIRMATIONS):
        raise ValueError(f"{' or '.join(CONFIRMATIONS)}, with '|' between them")
    return "|".join(words)


def _unit(text: str) -> str:
    if text not in ("", *PSG_UNITS):
        raise ValueError(f"{', '.join(PSG_UNITS)} or nothing")
    return text


def _clocks(text: str) -> datetime | tuple[datetime, ...] | None:
    moments = tuple(parse_moment(each.strip()) for each in text.split("|")) if text else ()
    return moments if len(moments) > 1 else moments[0] if moments else None


def parse_moment(text: str) -> datetime:
    """A local date and time, without a zone.

    Raises:
        ValueError: it is none; the text says what is expected.
    """
    expected = "a local date and time such as 2024-01-31T22:15:03.250"
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(expected) from None
    if value.tzinfo is not None:
        raise ValueError(f"{expected}, without a time zone")
    if ":" not in text or not 2 <= value.year <= 9998:  # a night of the others would leave time
        raise ValueError(expected)
    return value


_PARSERS: dict[str, Callable[[str], Any]] = {
    "night_id": _name,
    "subject_id": _name,
    "video": str,
    "psg": str,
    "hypnogram": str,
    "psg_channel": str,
    "ahi": _number(0, 300, None),
    "age": _number(0, 130, None),
    "sex": _sex,
    "video_start": _clocks,
    "sync_offset_s": _number(-86400, 86400, 0.0),
    "sync_drift_ppm": _number(-500_000, 500_000, 0.0),
    "hypnogram_scheme": str,
    "hypnogram_epoch_s": _number(0.1, 3600, None),
    "scorer": str,
    "hypnogram_confirm": _confirmations,
    "psg_unit": _unit,
}

COLUMNS = tuple(_PARSERS)
"""All columns a manifest may have, in the order they are written."""


def parse_manifest(path: str | os.PathLike) -> tuple[list[Night], list[str]]:
    """Reads as many nights as can be read.

    Returns:
        the nights whose rows are right, and one line for each thing that is wrong in the other
        rows.

    Raises:
        UserError: the file cannot be read as a manifest at all (missing, not text, wrong columns,
            no rows).
    """
    path = Path(path)
    rows = _cells(path, read_text(path, f"manifest {path}"))
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        raise UserError(f"manifest {path}: empty; expected a header with {', '.join(REQUIRED)}")
    header = rows[0][1]
    while header and not header[-1]:
        header.pop()
    # Spreadsheets write empty columns behind those that were ever filled.
    rows = [
        (line, [*cells[: len(header)], *filter(None, cells[len(header) :])]) for line, cells in rows
    ]
    _check_header(path, header)
    if len(rows) == 1:
        raise UserError(f"manifest {path}: a header but no nights")
    nights: list[Night] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for line, cells in rows[1:]:
        values, wrong = _parse_row(path, line, header, cells)
        night_id = values.get("night_id")
        if night_id in seen:
            wrong.append(
                f"manifest {path}, line {line}, column night_id: the same as on line "
                f"{seen[night_id]}; expected one row a night"
            )
        elif night_id:
            seen[night_id] = line
        problems += wrong
        if not wrong:
            nights.append(Night(**values))
    return nights, problems


def _cells(path: Path, text: str) -> list[tuple[int, list[str]]]:
    """Line numbers and stripped cells of the rows."""
    if "\0" in text:
        raise UserError(f"manifest {path}: not a CSV text file (it holds zero bytes)")
    # strict: a quote that is not closed would swallow the rest of the file as one cell.
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    rows, begin = [], 1
    try:
        for row in reader:
            rows.append((begin, [cell.strip() for cell in row]))
            begin = reader.line_num + 1
    except csv.Error as error:
        kind = (
            "a cell of more than 128 kB"
            if "limit" in str(error)
            else "a quote that is not closed, or with text behind it"
        )
        raise UserError(f"manifest {path}, line {begin}: {kind}") from None
    return rows


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) == 1 and any(mark in header[0] for mark in ";\t"):
        raise UserError(f"manifest {path}: columns are separated by ';' or tabs, expected commas")
    for position, column in enumerate(header, 1):
        if column not in COLUMNS:
            hint = suggestion(column[:40].lower(), COLUMNS)
            raise UserError(
                f"manifest {path}, line 1: column {position} has an unknown name, "
                f"{describe(column)}; {hint}"
            )
        if header.count(column) > 1:
            raise UserError(f"manifest {path}, line 1: column {column!r} is there twice")
    for column in REQUIRED:
        if column not in header:
            found = ", ".join(header)
            raise UserError(f"manifest {path}, line 1: no column {column!r}; found {found}")


def _parse_row(
    path: Path, line: int, header: list[str], cells: list[str]
) -> tuple[dict[str, Any], list[str]]:
    where = f"manifest {path}, line {line}"
    if len(cells) != len(header):
        return {}, [f"{where}: {len(cells)} cells, expected {len(header)} as in the header"]
    values: dict[str, Any] = {}
    problems: list[str] = []
    for column, parse in _PARSERS.items():
        text = cells[header.index(column)] if column in header else ""
        try:
            if column in REQUIRED and not text:
                raise ValueError("a value")
            values[column] = parse(text)
        except ValueError as error:
            problems.append(f"{where}, column {column}: found {describe(text)}, expected {error}")
    for column in _PATHS:
        text = values.get(column) or ""
        pieces = text.split("|") if column in _IN_PIECES else [text]
        named = [_spelt_as_there(path.parent, each) for each in map(str.strip, pieces) if each]
        find = find_videos if column == "video" else _one_file
        files: list[Path] = []
        for number, each in enumerate(named, 1):
            try:
                files += find(each)
            except ValueError as found:
                # The path itself is not shown: names of clinical videos carry the patient's id.
                night = values.get("night_id", "?")
                which = f", file {number}" if len(named) > 1 else ""
                problems.append(
                    f"{where}, column {column}{which} (night {night}): {found}; expected a file"
                )
        values[column] = tuple(files) if len(files) > 1 else files[0] if files else None
    starts = values.get("video_start")
    videos = values["video"] if isinstance(values["video"], tuple) else (values["video"],)
    if isinstance(starts, tuple) and len(starts) != len(videos) and not problems:
        problems.append(
            f"{where}, column video_start: {len(starts)} starts for {len(videos)} videos; expected "
            "one, or one for each"
        )
    return values, problems


def _spelt_as_there(folder: Path, name: str) -> Path:
    """The path of a file; its accents may be letters of their own on one system and not on the
    next."""
    forms = [folder / unicodedata.normalize(form, name) for form in ("NFC", "NFD")]
    return next((each for each in (folder / name, *forms) if os.path.exists(each)), folder / name)


def _one_file(path: Path) -> list[Path]:
    try:
        if path.is_file():
            return [path]
        raise ValueError("a folder" if path.is_dir() else "no such file")
    except OSError as error:
        raise ValueError(f"no path that can be opened ({error.strerror})") from None


def read_manifest(path: str | os.PathLike) -> list[Night]:
    """Reads the nights of a manifest and checks every cell and that every file is there.

    Raises:
        UserError: one line that names the row and the column, what was found and what was expected.
    """
    nights, problems = parse_manifest(path)
    if problems:
        more = len(problems) - 1
        others = (
            f" (and {more} more; `python -m input_pipeline.inspect` lists them)" if more else ""
        )
        raise UserError(problems[0] + others)
    return nights


def write_manifest(path: str | os.PathLike, nights: list[Night]) -> None:
    """Writes `nights`, whole or not at all; files below the manifest's folder are named relative to
    it. Links keep their names, which may say when a video began."""
    folder = Path(os.path.abspath(path)).parent

    def cell(value: Any) -> str:
        if value is None:
            return ""
        if isinstance(value, Path):
            absolute = Path(os.path.abspath(value))
            below = absolute.is_relative_to(folder)
            return absolute.relative_to(folder).as_posix() if below else str(absolute)
        if isinstance(value, tuple):
            return "|".join(map(cell, value))
        return value.isoformat() if isinstance(value, datetime) else str(value)

    rows = [[cell(getattr(night, column)) for column in COLUMNS] for night in nights]
    write_csv(path, list(COLUMNS), rows)
