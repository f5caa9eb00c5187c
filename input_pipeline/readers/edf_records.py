"""Headers, data records and annotations (TALs) of EDF, EDF+, BDF and BDF+ files.

MNE and edfio read signals as if an EDF+D file had no gaps, and trust sizes that a header claims.
This small parser knows what is really in the file: how many records, when each began, and which
    annotations they hold. Every size is
checked against the file's length before anything is allocated; the patient field is never read.

Format: edfplus.info/specs/edf.html and edfplus.html.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from input_pipeline.errors import UserError

MAX_SIGNALS = 4096
MAX_SECONDS = 14 * 24 * 3600.0
"""Longest recording believed; onsets beyond it are damage."""

ANNOTATION_LABELS = ("EDF Annotations", "BDF Annotations")

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


@dataclass(frozen=True)
class SignalHeader:
    """What the header says of one signal."""

    label: str
    unit: str
    physical_min: float
    physical_max: float
    digital_min: float
    digital_max: float
    samples: int
    """Samples in a data record."""


@dataclass(frozen=True)
class Header:
    """What is known of a file without reading samples."""

    path: Path
    name: str
    """The night's name, for errors."""
    bdf: bool
    discontinuous: bool
    start: datetime
    """Whole second in which the first record began."""
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


@dataclass(frozen=True)
class Annotations:
    """Annotations of a file in the order of their onsets."""

    start: datetime
    """The moment onsets count from: the first sample, to fractions of a second."""
    onset_s: Float64[np.ndarray, " n"]
    duration_s: Float64[np.ndarray, " n"]
    """NaN where the file states none."""
    text: tuple[str, ...]


def read_header(path: Path, *, name: str) -> Header:
    """Reads and checks the header of an EDF or BDF file.

    Args:
        name: what errors call the recording (a night_id).

    Raises:
        UserError: not such a file, or sizes, dates or numbers that cannot be.
    """
    try:
        size = path.stat().st_size
        with open(path, "rb") as file:
            fixed = file.read(256)
            if len(fixed) < 256 or fixed[:8] not in (b"0       ", b"\xffBIOSEMI"):
                raise UserError(f"night {name}: not an EDF or BDF file ({size} bytes)")
            count = _integer(name, "number of signals", fixed[252:256])
            if not 1 <= count <= MAX_SIGNALS:
                raise UserError(
                    f"night {name}: {count} signals in the header; expected 1 to {MAX_SIGNALS}"
                )
            table = file.read(256 * count)
    except OSError as error:
        raise UserError(f"night {name}: the EDF file cannot be read ({error.strerror})") from None
    header_bytes = _integer(name, "header length", fixed[184:192])
    if header_bytes != 256 * (count + 1) or len(table) < 256 * count:
        raise UserError(
            f"night {name}: EDF header of {min(header_bytes, size)} bytes; expected "
            f"{256 * (count + 1)} for {count} signals (damaged or truncated)"
        )
    notes: list[str] = []
    signals = _signal_headers(name, table, count)
    bdf = fixed[:1] == b"\xff"
    record_bytes = (3 if bdf else 2) * sum(signal.samples for signal in signals)
    if record_bytes <= 0:
        raise UserError(
            f"night {name}: data records of {record_bytes} bytes; the EDF header is damaged"
        )
    declared = _integer(name, "number of records", fixed[236:244])
    present, rest = divmod(size - header_bytes, record_bytes)
    records = present if declared < 0 else min(declared, present)
    if declared < 0:
        notes.append(
            f"the header does not say how many records there are; the file holds {present}"
        )
    elif declared > present:
        notes.append(f"the header promises {declared} records; the file holds {present}")
    elif declared < present:
        notes.append(
            f"the file goes on after the {declared} records of the header; the rest is left out"
        )
    if rest and declared >= present:
        notes.append(f"the last record is cut off ({rest} of {record_bytes} bytes) and left out")
    if records == 0:
        raise UserError(f"night {name}: no whole data record in the EDF file ({size} bytes)")
    record_seconds = _real(name, "record duration", fixed[244:252])
    if not 0 <= record_seconds * records <= MAX_SECONDS:
        raise UserError(
            f"night {name}: {records} records of {record_seconds:g} s; expected a few days at most"
        )
    return Header(
        path=path,
        name=name,
        bdf=bdf,
        discontinuous=fixed[192:197] in (b"EDF+D", b"BDF+D"),
        start=_start(name, fixed, notes),
        header_bytes=header_bytes,
        record_seconds=record_seconds,
        records=records,
        signals=signals,
        notes=tuple(notes),
    )


def _text(raw: bytes) -> str:
    return raw.decode("latin-1").strip(" \0")


def _integer(name: str, field: str, raw: bytes) -> int:
    # What stands there instead is not shown: in a damaged header it may be the patient's name.
    try:
        return int(_text(raw))
    except ValueError:
        raise UserError(
            f"night {name}: the {field} in the EDF header is not a whole number"
        ) from None


def _real(name: str, field: str, raw: bytes) -> float:
    try:
        value = float(_text(raw).replace(",", "."))
    except ValueError:
        value = np.nan
    if not np.isfinite(value):
        raise UserError(f"night {name}: the {field} in the EDF header is not a number")
    return value


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
        label = _text(columns["label"][i])
        samples = _integer(name, f"samples a record of signal {i + 1}", columns["samples"][i])
        if samples < 0:
            raise UserError(
                f"night {name}: signal {i + 1} has {samples} samples a record in the EDF header"
            )
        ranges = {}
        for field in ("physical_min", "physical_max", "digital_min", "digital_max"):
            # Annotation signals have no meaningful range, and some writers leave it empty.
            annotation = label in ANNOTATION_LABELS
            ranges[field] = (
                0.0 if annotation else _real(name, f"{field} of {label}", columns[field][i])
            )
        headers.append(
            SignalHeader(label=label, unit=_text(columns["unit"][i]), samples=samples, **ranges)
        )
    return tuple(headers)


def _start(name: str, fixed: bytes, notes: list[str]) -> datetime:
    """Start of the recording: the EDF+ recording field has a four-digit year and wins over the old
    field."""
    clock = re.fullmatch(r"(\d\d)[.:](\d\d)[.:](\d\d)", _text(fixed[176:184]))
    old = re.fullmatch(r"(\d\d)[./-](\d\d)[./-](\d\d)", _text(fixed[168:176]))
    new = re.match(r"Startdate (\d\d)-([A-Za-z]{3})-(\d{4})(?: |$)", _text(fixed[88:168]))
    header_date = field_date = None
    if old:
        day, month, year = map(int, old.groups())
        header_date = _datetime(year + (1900 if year >= 85 else 2000), month, day)
    if new and new[2].upper() in _MONTHS:
        field_date = _datetime(int(new[3]), _MONTHS.index(new[2].upper()) + 1, int(new[1]))
    date = field_date or header_date
    if (
        date is None
        or clock is None
        or not all(int(c) < m for c, m in zip(clock.groups(), (24, 60, 60), strict=True))
    ):
        what = "date" if date is None else "time"
        raise UserError(
            f"night {name}: the start {what} in the EDF header is not a {what}; correct the header"
        )
    if header_date is None:
        notes.append(
            "the start date in the header is no date; the one in the EDF+ recording field is used"
        )
    elif field_date and field_date != header_date:
        notes.append(
            "two start dates in the header differ; the one in the EDF+ recording field is used"
        )
    hour, minute, second = map(int, clock.groups())
    return date + timedelta(hours=hour, minutes=minute, seconds=second)


def _datetime(year: int, month: int, day: int) -> datetime | None:
    try:
        return datetime(year, month, day)
    except ValueError:
        return None


def _annotation_bytes(header: Header) -> list[list[bytes]]:
    """The bytes of every annotation signal, by record. Only these parts of the file are read."""
    places = []
    position = 0
    for signal in header.signals:
        width = signal.samples * header.sample_bytes
        if signal.label in ANNOTATION_LABELS:
            places.append((position, position + width))
        position += width
    if not places:
        return []
    shape = (header.records, header.record_bytes)
    data = np.memmap(header.path, np.uint8, "r", offset=header.header_bytes, shape=shape)
    blocks = [np.ascontiguousarray(data[:, first:last]) for first, last in places]
    return [[block[record].tobytes() for block in blocks] for record in range(header.records)]


_TAL = re.compile(rb"([+-]\d+(?:\.\d*)?)(?:\x15(\d+(?:\.\d*)?))?\x14([^\x00]*)\x14\x00")
_TIMEKEEPING = re.compile(rb"([+-]\d+(?:\.\d*)?)\x14\x14")


def record_onsets(header: Header) -> Float64[np.ndarray, " records"] | None:
    """When each data record began, in seconds after `header.start`; None if the file does not say.

    Raises:
        UserError: a discontinuous file in which a record does not say when it began.
    """
    records = _annotation_bytes(header)
    onsets = np.full(header.records, np.nan)
    for k, blocks in enumerate(records):
        if found := _TIMEKEEPING.match(blocks[0]):
            onsets[k] = float(found[1])
    missing = np.isnan(onsets)
    if not missing.any():
        return onsets
    if header.discontinuous:
        raise UserError(
            f"night {header.name}: the EDF+D file has gaps, but record {int(missing.argmax()) + 1} "
            f"of {header.records} does not say when it began"
        )
    return None


def read_annotations(path: Path, *, name: str) -> Annotations:
    """Reads all annotations of an EDF+ or BDF+ file, of any number of annotation signals.

    Onsets count from the first sample, as signals do, also where that falls between two seconds.

    Raises:
        UserError: the file cannot be read.
    """
    header = read_header(path, name=name)
    found: list[tuple[float, float, str]] = []
    first = 0.0
    for k, blocks in enumerate(_annotation_bytes(header)):
        for i, block in enumerate(blocks):
            if k == i == 0 and (beginning := _TIMEKEEPING.match(block)):
                first = float(beginning[1])
            for tal in _TAL.finditer(block):
                duration = float(tal[2]) if tal[2] else np.nan
                found += [(float(tal[1]), duration, _decode(t)) for t in tal[3].split(b"\x14") if t]
    found.sort(key=lambda annotation: annotation[0])
    return Annotations(
        start=header.start + timedelta(seconds=first),
        onset_s=np.array([onset - first for onset, _, _ in found], np.float64),
        duration_s=np.array([duration for _, duration, _ in found], np.float64),
        text=tuple(text for _, _, text in found),
    )


def _decode(raw: bytes) -> str:
    try:
        return raw.decode("utf-8").strip()
    except UnicodeDecodeError:  # EDF+ asks for UTF-8; older writers used Latin-1
        return raw.decode("latin-1").strip()
