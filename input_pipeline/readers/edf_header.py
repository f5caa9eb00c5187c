"""Headers of EDF, EDF+, BDF and BDF+ files.

Writers take liberties with the format: decimal commas, zeros or NULs for spaces, letters outside
ASCII, record counts that were never filled in. What has one meaning is read; the rest is refused in
one line. Every size is checked against the file's length before anything is allocated. The patient
field is never read, and no text of a header is shown, as it may stand in another field's place.

Format: edfplus.info/specs/edf.html and edfplus.html.
"""

import math
import os
import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

from input_pipeline.errors import UserError

MAX_SIGNALS = 4096
MAX_RECORDS = 4_000_000
"""Data records in a file; two weeks of records of 0.3 s."""
MAX_SECONDS = 14 * 24 * 3600.0
"""Longest recording believed; onsets beyond it are damage."""

MAGIC = (b"0", b"\xffBIOSEMI")
"""What the first eight bytes of an EDF and a BDF file hold, filled up with spaces."""

_ANNOTATIONS = ("edf annotations", "bdf annotations")
_FIELDS = (  # width in bytes of each field of the signal headers, in file order
    ("label", 16),
    ("transducer", 80),
    ("unit", 8),
    ("physical_min", 8),
    ("physical_max", 8),
    ("digital_min", 8),
    ("digital_max", 8),
    ("prefilter", 80),
    ("samples", 8),
    ("reserved", 32),
)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d*)?|[.,]\d+)(?:[eE][+-]?\d{1,3})?", re.ASCII)
_MOST_PARTS = 1000  # of a second that last as long as a record
_NO_DATE = datetime(1985, 1, 1)
"""What EDF+ puts in place of a date that is not to be known."""
_STAND_IN_YEARS = (1985, 1990, 2000, 2001)
"""1 January of these years is what programs write that remove dates, or have none."""


@dataclass(frozen=True)
class SignalHeader:
    """What the header says of one signal. Numbers that cannot be read are NaN."""

    label: str
    unit: str
    physical_min: float
    physical_max: float
    digital_min: float
    digital_max: float
    samples: int
    """Samples in a data record."""

    @property
    def annotations(self) -> bool:
        """Whether it holds annotations in place of samples."""
        return self.label.casefold() in _ANNOTATIONS


@dataclass(frozen=True)
class Header:
    """What is known of a file without reading samples."""

    path: Path
    name: str
    """What errors call the recording."""
    bdf: bool
    discontinuous: bool
    start: datetime
    """Whole second in which the first record began."""
    date_known: bool
    """False where the date is a stand-in, such as 1 January 1985; the time of day counts."""
    header_bytes: int
    record_seconds: float
    records: int
    """Whole data records that are really in the file."""
    signals: tuple[SignalHeader, ...]
    notes: tuple[str, ...]
    """What was odd but could be mended, one line each."""

    @property
    def sample_bytes(self) -> int:
        return 3 if self.bdf else 2

    @property
    def record_bytes(self) -> int:
        return self.sample_bytes * sum(signal.samples for signal in self.signals)

    def place(self, position: int) -> tuple[int, int]:
        """First byte of a signal in each data record, and the byte after its last."""
        first = self.sample_bytes * sum(signal.samples for signal in self.signals[:position])
        return first, first + self.sample_bytes * self.signals[position].samples


def read_header(path: Path, *, name: str) -> Header:
    """Reads and checks the header of an EDF or BDF file.

    Args:
        name: what errors call the recording (a night_id).

    Raises:
        UserError: not such a file, or sizes, dates or numbers that cannot be.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            fixed = file.read(256)
            if len(fixed) < 256 or fixed[:8].rstrip(b" \0") not in MAGIC:
                raise UserError(f"night {name}: not an EDF or BDF file ({size} bytes)")
            count = _integer(name, "number of signals", fixed[252:256])
            if not 1 <= count <= MAX_SIGNALS:
                raise UserError(
                    f"night {name}: the number of signals in the EDF header is not one of 1 to "
                    f"{MAX_SIGNALS}"
                )
            table = file.read(256 * count)
    except OSError as error:
        raise UserError(f"night {name}: the EDF file cannot be read ({error.strerror})") from None
    header_bytes = 256 * (count + 1)
    if _integer(name, "header length", fixed[184:192]) != header_bytes:
        raise UserError(
            f"night {name}: the EDF header does not say that it has {header_bytes} bytes, as "
            f"{count} signals need (damaged)"
        )
    if len(table) < 256 * count:
        raise UserError(
            f"night {name}: the EDF file ends in its header, after {size} bytes; expected "
            f"{header_bytes} for {count} signals"
        )
    notes: list[str] = []
    signals = _signal_headers(name, table, count)
    bdf = fixed[:1] == b"\xff"
    record_bytes = (3 if bdf else 2) * sum(signal.samples for signal in signals)
    if record_bytes <= 0:
        raise UserError(f"night {name}: data records of 0 bytes; the EDF header is damaged")
    records = _records(name, fixed, size - header_bytes, record_bytes, notes)
    record_seconds = _unrounded(fixed[244:252])
    if math.isnan(record_seconds):
        raise UserError(f"night {name}: the record duration in the EDF header is not a number")
    if not 0 <= record_seconds * records <= MAX_SECONDS:
        raise UserError(
            f"night {name}: the record duration in the EDF header is negative or makes more than "
            f"{MAX_SECONDS / 86400:.0f} days of {records} records; expected a few days at most"
        )
    start, date_known = _start(name, fixed, notes)
    return Header(
        path=path,
        name=name,
        bdf=bdf,
        discontinuous=fixed[192:197] in (b"EDF+D", b"BDF+D"),
        start=start,
        date_known=date_known,
        header_bytes=header_bytes,
        record_seconds=record_seconds,
        records=records,
        signals=signals,
        notes=tuple(notes),
    )


def _records(name: str, fixed: bytes, size: int, record_bytes: int, notes: list[str]) -> int:
    """Whole data records in `size` bytes, of those that the header declares."""
    declared = _integer(name, "number of records", fixed[236:244])
    present, rest = divmod(size, record_bytes)
    unknown = declared <= 0  # -1 while it is recorded; some leave it at 0
    records = present if unknown else min(declared, present)
    if unknown:
        notes.append(
            f"the header does not say how many records there are; the file holds {present}"
        )
    elif declared > present:
        notes.append(f"the header promises more records than the {present} that the file holds")
    elif declared < present:
        notes.append(
            f"the file goes on after the {declared} records of the header; the rest is left out"
        )
    if rest and (unknown or declared >= present):
        notes.append(f"the last record is cut off ({rest} of {record_bytes} bytes) and left out")
    if records <= 0:
        raise UserError(f"night {name}: no whole data record in the EDF file ({size} bytes)")
    if records > MAX_RECORDS:
        raise UserError(
            f"night {name}: {records} data records in the EDF file; expected at most {MAX_RECORDS}"
        )
    return records


def decode(raw: bytes) -> str:
    """Text of a file: UTF-8 as EDF+ asks for, else Latin-1, which never fails."""
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:
        return raw.decode("latin-1").strip()


def _text(raw: bytes) -> str:
    # Some writers end a field with a NUL and leave what was there before behind it.
    return decode(raw.lstrip(b" \0").split(b"\0")[0])


def _real(raw: bytes) -> float:
    """A number of the header, with a decimal point or comma; NaN where none stands there."""
    text = _text(raw)
    value = float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else math.nan
    return value if math.isfinite(value) else math.nan


def _unrounded(raw: bytes) -> float:
    """A number of the header; where its digits fill the field, so that they were rounded, the
    fraction of small numbers that they stand for: 1/3 of "0.333333"."""
    text, value = _text(raw), _real(raw)
    digits = re.fullmatch(r"\d?[.,](\d+)", text, re.ASCII)
    if digits is None or len(text) < len(raw):
        return value
    simple = Fraction(value).limit_denominator(_MOST_PARTS)
    return float(simple) if abs(simple - Fraction(value)) <= 0.5 * 10 ** -len(digits[1]) else value


def _integer(name: str, field: str, raw: bytes) -> int:
    value = _real(raw)
    if not value.is_integer():  # NaN is none
        raise UserError(f"night {name}: the {field} in the EDF header is not a whole number")
    return int(value)


def _signal_headers(name: str, table: bytes, count: int) -> tuple[SignalHeader, ...]:
    columns: dict[str, list[bytes]] = {}
    position = 0
    for field, width in _FIELDS:
        columns[field] = [
            table[position + i * width : position + (i + 1) * width] for i in range(count)
        ]
        position += width * count
    headers = []
    for i in range(count):
        samples = _integer(name, f"samples a record of signal {i + 1}", columns["samples"][i])
        if samples < 0:
            raise UserError(
                f"night {name}: signal {i + 1} has less than 0 samples a record in the EDF header"
            )
        headers.append(
            SignalHeader(
                label=_text(columns["label"][i]),
                unit=_text(columns["unit"][i]),
                samples=samples,
                # Of signals that nobody reads these may be empty; `read_samples` checks them.
                physical_min=_real(columns["physical_min"][i]),
                physical_max=_real(columns["physical_max"][i]),
                digital_min=_real(columns["digital_min"][i]),
                digital_max=_real(columns["digital_max"][i]),
            )
        )
    return tuple(headers)


def _start(name: str, fixed: bytes, notes: list[str]) -> tuple[datetime, bool]:
    """Start of the recording, and whether its date is known: the EDF+ recording field has a
    four-digit year and wins over the old field."""
    clock = re.fullmatch(r"(\d\d?)[.:](\d\d?)[.:](\d\d?)", _text(fixed[176:184]), re.ASCII)
    if clock is None or not all(
        int(c) < m for c, m in zip(clock.groups(), (24, 60, 60), strict=True)
    ):
        raise UserError(
            f"night {name}: the start time in the EDF header is not a time; correct the header"
        )
    old = re.fullmatch(r"(\d\d?)[./-](\d\d?)[./-](\d\d)", _text(fixed[168:176]), re.ASCII)
    new = re.match(
        r"Startdate\s+(\d\d?)-([A-Z]{3})-(\d{4})(?!\S)",
        _text(fixed[88:168]),
        re.ASCII | re.IGNORECASE,
    )
    header_date = field_date = None
    if old:
        day, month, year = map(int, old.groups())
        header_date = _date(year + (1900 if year >= 85 else 2000), month, day)
    if new and new[2].upper() in _MONTHS:
        field_date = _date(int(new[3]), _MONTHS.index(new[2].upper()) + 1, int(new[1]))
    # Those who remove dates write zeros, crosses or nothing.
    removed = re.fullmatch(r"[\s0Xx.:/-]*", _text(fixed[168:176])) is not None
    date = field_date or header_date or (_NO_DATE if removed else None)
    if date is None:
        raise UserError(
            f"night {name}: the start date in the EDF header is not a date; correct the header"
        )
    if field_date and header_date is None:
        notes.append(
            "the start date in the header is no date; the one in the EDF+ recording field is used"
        )
    elif field_date and header_date and field_date != header_date:
        notes.append(
            "two start dates in the header differ; the one in the EDF+ recording field is used"
        )
    new_year = (date.month, date.day) == (1, 1)
    known = date.year >= 1985 and not (new_year and date.year in _STAND_IN_YEARS)
    hour, minute, second = map(int, clock.groups())
    return date + timedelta(hours=hour, minutes=minute, seconds=second), known


def _date(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(year, month, day) if 1900 <= year <= 2100 else None
    except ValueError:
        return None
