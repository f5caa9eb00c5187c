"""EDF and BDF files with every field of the header under control, and the samples they hold by the
format's definition; no reader or writer of others has a part in it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass
class Channel:
    """One signal; numbers of the header may be given as text."""

    label: str
    digital: np.ndarray
    """Integers, all records joined."""
    unit: Any = "uV"
    physical: tuple[Any, Any] = (-3276.8, 3276.7)
    limits: tuple[Any, Any] = (-32768, 32767)

    def values(self) -> np.ndarray:
        """Physical values, float64."""
        low, high = (float(str(limit).replace(",", ".")) for limit in self.physical)
        least, most = map(float, self.limits)
        return low + (self.digital - least) * (high - low) / (most - least)


@dataclass
class Recording:
    """A file in the making. Text goes into the header as it is, filled up with spaces."""

    channels: Sequence[Channel]
    records: int
    record_seconds: Any = 1
    kind: str = "EDF+C"
    """EDF, EDF+C, EDF+D or the same of BDF."""
    onsets: Sequence[Any] | None = None
    """When each record began (bytes: the whole list that says so); else one after the other."""
    annotations: Sequence[bytes] = ()
    """Lists of the first, second … record, behind the one that keeps the time."""
    annotation_bytes: int = 60
    date: Any = "31.01.24"
    time: Any = "22.15.03"
    patient: str = "X X X X"
    recording: str = "Startdate 31-JAN-2024 X X X"
    declared: Any = None
    """Number of records as the header states it."""
    prefilter: str = ""
    filled: bytes = field(default=b" ")

    def bytes(self) -> bytes:
        bdf = self.kind.startswith("BDF")
        width = 3 if bdf else 2
        plus = "+" in self.kind
        count = len(self.channels) + plus

        def fields(size: int, *values: Any) -> bytes:
            raw = [v if isinstance(v, bytes) else str(v).encode() for v in values]
            assert all(len(v) <= size for v in raw), (size, raw)
            return b"".join(v.ljust(size, self.filled) for v in raw)

        declared = self.records if self.declared is None else self.declared
        room = self.annotation_bytes // width * width
        parts = [
            b"\xffBIOSEMI" if bdf else b"0       ",
            fields(80, self.patient, self.recording),
            fields(8, self.date, self.time, 256 * (count + 1)),
            fields(44, self.kind if plus else ""),
            fields(8, declared, self.record_seconds),
            fields(4, count),
        ]
        tals = [f"{self.kind[:3]} Annotations"] if plus else []
        size = [len(channel.digital) // self.records for channel in self.channels]
        parts += [
            fields(16, *(channel.label for channel in self.channels), *tals),
            fields(80, *[""] * count),
            fields(8, *(channel.unit for channel in self.channels), *[""] * plus),
            fields(8, *(channel.physical[0] for channel in self.channels), *[-1] * plus),
            fields(8, *(channel.physical[1] for channel in self.channels), *[1] * plus),
            fields(8, *(channel.limits[0] for channel in self.channels), *[-32768] * plus),
            fields(8, *(channel.limits[1] for channel in self.channels), *[32767] * plus),
            fields(80, *[self.prefilter] * count),
            fields(8, *size, *[room // width] * plus),
            fields(32, *[""] * count),
        ]
        for k in range(self.records):
            for channel, n in zip(self.channels, size, strict=True):
                part = channel.digital[k * n : (k + 1) * n]
                parts += [int(value).to_bytes(width, "little", signed=True) for value in part]
            if plus:
                parts.append(self._annotations(k).ljust(room, b"\0"))
        return b"".join(parts)

    def _annotations(self, k: int) -> bytes:
        onset: Any = f"+{k * float(str(self.record_seconds).replace(',', '.')):.9f}"
        if self.onsets is not None:
            onset = self.onsets[k]
        stamp = onset
        if not isinstance(onset, bytes):
            stamp = b"" if str(onset) == "" else f"{onset}\x14\x14\0".encode()
        block = stamp + (self.annotations[k] if k < len(self.annotations) else b"")
        assert len(block) <= self.annotation_bytes, block
        return block


def ramp(label: str = "EEG C3-A2", count: int = 1000, **options: Any) -> Channel:
    """A signal whose sample i has the value i."""
    return Channel(label, np.arange(count), physical=(-32768, 32767), **options)
