"""Data records of EDF, EDF+, BDF and BDF+ files: samples, when each record began, annotations.

Readers at large take an EDF+D file for continuous and trust sizes that a header claims. Here a file
of n bytes costs time and memory in proportion to n.

Format: edfplus.info/specs/edf.html and edfplus.html; annotations are its TALs (time-stamped
annotation lists).
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from input_pipeline.errors import UserError
from input_pipeline.readers.edf_header import MAX_SECONDS, Header, decode, read_header

MAX_ANNOTATIONS = 1_000_000
"""Annotations in a file; a night has some thousands."""

_CHUNK_BYTES = 1 << 22
_LARGEST = 1e12
"""Of the numbers of a range; float32 then holds the samples in any unit."""
_JITTER_S = 0.02
"""Onsets of records that differ this much from their place are jitter of the recorder's clock."""


@dataclass(frozen=True)
class Annotations:
    """Annotations of a file in the order of their onsets."""

    start: datetime
    """The moment onsets count from: the first sample, to fractions of a second."""
    onset_s: Float64[np.ndarray, " n"]
    duration_s: Float64[np.ndarray, " n"]
    """NaN where the file states none."""
    text: tuple[str, ...]
    date_known: bool = True
    """False where the date of `start` is a stand-in, such as 1 January 1985."""
    notes: tuple[str, ...] = ()
    """What could not be read, one line each."""


def read_samples(header: Header, position: int) -> Float32[np.ndarray, " n"]:
    """All samples of one signal in the physical unit of its header, records joined.

    physical = physical_min + (digital - digital_min) * (physical_max - physical_min) / (digital_max
    - digital_min), by the format's definition.

    Raises:
        UserError: the header states no range for this signal, or the file cannot be read.
    """
    signal = header.signals[position]
    digital_range = signal.digital_max - signal.digital_min
    physical_range = signal.physical_max - signal.physical_min
    if signal.samples == 0 or not (digital_range and physical_range):
        raise UserError(
            f"night {header.name}: channel {position + 1} has an empty range in the EDF header"
        )
    limits = (signal.physical_min, signal.physical_max, signal.digital_min, signal.digital_max)
    if not (abs(digital_range) >= 1 and all(abs(limit) < _LARGEST for limit in limits)):  # nor NaN
        raise UserError(
            f"night {header.name}: the range of channel {position + 1} in the EDF header is not "
            "four numbers of a usual size"
        )
    gain = physical_range / digital_range
    offset = signal.physical_min - signal.digital_min * gain
    first, last = header.place(position)
    samples = np.empty(header.records * signal.samples, np.float32)
    done = 0
    for records in _chunks(header):
        digital = _integers(records[:, first:last], header.bdf)
        physical = digital * gain
        physical += offset
        samples[done : done + len(physical)] = physical
        done += len(physical)
    return samples


def _chunks(header: Header) -> Iterator[np.ndarray]:
    """The data records as bytes, [records, bytes of a record], a few megabytes at a time."""
    step = max(1, _CHUNK_BYTES // header.record_bytes)
    try:
        with open(header.path, "rb") as file:
            file.seek(header.header_bytes)
            for first in range(0, header.records, step):
                count = min(step, header.records - first)
                data = file.read(count * header.record_bytes)
                if len(data) < count * header.record_bytes:
                    raise UserError(f"night {header.name}: the EDF file became shorter")
                yield np.frombuffer(data, np.uint8).reshape(count, header.record_bytes)
    except OSError as error:
        raise UserError(
            f"night {header.name}: the EDF file cannot be read ({error.strerror})"
        ) from None


def _integers(data: np.ndarray, bdf: bool) -> np.ndarray:
    """Little-endian integers of 16 bits (EDF) or 24 bits (BDF)."""
    data = np.ascontiguousarray(data)
    if not bdf:
        return data.view("<i2").ravel()
    wide = np.zeros((data.size // 3, 4), np.uint8)
    wide[:, 1:] = data.reshape(-1, 3)
    return wide.view("<i4").ravel() >> 8  # the shift brings the sign along


def _annotation_blocks(header: Header) -> Iterator[list[bytes]]:
    """The bytes of every annotation signal, by record. Only these parts of the file are read."""
    places = [header.place(i) for i, signal in enumerate(header.signals) if signal.annotations]
    places = [(first, last) for first, last in places if last > first]
    if not places:
        return
    try:
        with open(header.path, "rb") as file:
            for record in range(header.records):
                begin = header.header_bytes + record * header.record_bytes
                yield [
                    os.pread(file.fileno(), last - first, begin + first) for first, last in places
                ]
    except OSError as error:
        raise UserError(
            f"night {header.name}: the EDF file cannot be read ({error.strerror})"
        ) from None


# Every repetition is bounded or ends the pattern, so that time is in proportion to length.
_SECONDS = rb"\d{1,15}(?:[.,]\d{0,40})?"
_TAL = re.compile(rb" *([+-]?" + _SECONDS + rb")(?:\x15(" + _SECONDS + rb")?)?\x14(.*)", re.DOTALL)
_TIMEKEEPING = re.compile(rb" *([+-]?" + _SECONDS + rb")\x14\x14")


def _seconds(raw: bytes) -> float:
    return float(raw.replace(b",", b"."))


@dataclass(frozen=True)
class RecordTimes:
    """When the data records of a file began."""

    first_s: float
    """Seconds from the header's start to the first sample."""
    onset_s: Float64[np.ndarray, " records"] | None
    """Seconds from the header's start to each record; None: one follows the other."""
    notes: tuple[str, ...] = ()
    """What was odd but could be mended, one line each."""


def record_times(header: Header) -> RecordTimes:
    """Reads when each data record began.

    A file that says it is continuous is believed where its onsets contradict each other; one that
    says it has gaps must say when each of its records began.

    Raises:
        UserError: a discontinuous file in which a record does not say when it began.
    """
    onsets = np.full(header.records, np.nan)
    for k, blocks in enumerate(_annotation_blocks(header)):
        if found := _TIMEKEEPING.match(blocks[0]):
            onsets[k] = _seconds(found[1])
    onsets[np.abs(onsets) > MAX_SECONDS] = np.nan
    missing = np.isnan(onsets)
    if header.discontinuous:
        if missing.any():
            raise UserError(
                f"night {header.name}: the EDF+D file has gaps, but record "
                f"{int(missing.argmax()) + 1} of {header.records} does not say when it began"
            )
        return RecordTimes(float(onsets[0]), onsets)
    if missing.all():
        return RecordTimes(0.0, None)
    starts = onsets - header.record_seconds * np.arange(header.records)
    usual = float(np.median(starts[~missing]))
    agree = int((np.abs(starts - usual) <= _JITTER_S).sum())
    rising = not missing.any() and (np.diff(starts) > -_JITTER_S).all()
    # Behind a pause all records are late; a single one that deviates is damaged.
    if rising and (header.records < 3 or agree != header.records - 1):
        return RecordTimes(float(onsets[0]), onsets)
    if 2 * agree > header.records:
        note = f"{header.records - agree} of {header.records} records do not say when they began"
        return RecordTimes(usual, None, (f"{note}; the file says it is continuous and is read so",))
    note = "the onsets of the records make no sense; the file says it is continuous and is read so"
    first = 0.0 if missing[0] else float(onsets[0])
    return RecordTimes(first, None, (note,))


def read_annotations(path: Path, *, name: str) -> Annotations:
    """Reads all annotations of an EDF+ or BDF+ file, of any number of annotation signals.

    Onsets count from the first sample, as signals do, also where that falls between two seconds.

    Raises:
        UserError: the file cannot be read, or holds more than `MAX_ANNOTATIONS`.
    """
    header = read_header(path, name=name)
    first = record_times(header).first_s
    found: list[tuple[float, float, str]] = []
    damaged = 0
    for blocks in _annotation_blocks(header):
        for block in blocks:
            pieces = block.split(b"\0")
            for piece in filter(None, pieces):
                cut = piece is pieces[-1] and not piece.endswith(b"\x14")
                tal = None if cut else _TAL.fullmatch(piece)
                onset = _seconds(tal[1]) - first if tal else np.inf
                duration = _seconds(tal[2]) if tal and tal[2] else np.nan
                if tal is None or abs(onset) > MAX_SECONDS or duration > MAX_SECONDS:
                    damaged += 1
                    continue
                found += [(onset, duration, decode(text)) for text in tal[3].split(b"\x14") if text]
        if len(found) > MAX_ANNOTATIONS:
            raise UserError(
                f"night {name}: more than {MAX_ANNOTATIONS} annotations in the EDF file; the file "
                "is damaged"
            )
    found.sort(key=lambda annotation: annotation[0])
    notes = ()
    if damaged:
        notes = (f"{damaged} damaged pieces among the annotations are left out",)
    return Annotations(
        start=header.start + timedelta(seconds=first),
        onset_s=np.array([onset for onset, _, _ in found], np.float64),
        duration_s=np.array([duration for _, duration, _ in found], np.float64),
        text=tuple(text for _, _, text in found),
        date_known=header.date_known,
        notes=notes,
    )
