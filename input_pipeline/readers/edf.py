"""EEG of a PSG file (EDF, EDF+, BDF, BDF+) in microvolt, with its gaps where they were.

MNE reads the samples; `edf_records` knows when each record began, so that a pause of the recorder
becomes NaN and never shifts what follows it.
"""

import itertools
import re
import warnings
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from input_pipeline.errors import UserError
from input_pipeline.readers.edf_records import (
    ANNOTATION_LABELS,
    MAX_SECONDS,
    Annotations,
    Header,
    read_annotations,
    read_header,
    record_onsets,
)

__all__ = ["Annotations", "Signal", "read_annotations", "read_signal", "resample"]

DEFAULT_CHANNELS = (
    "C4-M1",
    "C3-M2",
    "C4-M2",
    "C3-M1",
    "F4-M1",
    "F3-M2",
    "O2-M1",
    "O1-M2",
    "FPZ-CZ",
    "PZ-OZ",
)
"""Tried in this order when a night names no channel: AASM derivations, then those of Sleep-EDF."""

_MICROVOLTS = {
    "nv": 1e-3,
    "uv": 1.0,
    "mv": 1e3,
    "v": 1e6,
}  # DREAMS writes UV and MV: case means nothing here
_MNE_SCALE = {
    "uV": 1e-6,
    "mV": 1e-3,
}  # units MNE turns into volts; it leaves all others as they are
_SLACK_SAMPLES = 2
"""Records that begin this much off their place are jitter of the recorder's clock, not a gap."""


@dataclass(frozen=True)
class Signal:
    """One EEG channel of a night."""

    samples: Float32[np.ndarray, " n"]
    """Microvolt; NaN where the recorder paused."""
    rate: float
    """Samples a second."""
    start: datetime
    """Local clock time of the first sample."""
    gaps: tuple[tuple[float, float], ...]
    """(begin, end) of each pause, in seconds after `start`."""
    channel: str
    """Label(s) the samples were read from."""
    notes: tuple[str, ...] = ()
    """What was odd in the file but could be mended, one line each."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_signal(path: Path, channel: str = "", *, name: str) -> Signal:
    """Reads one EEG channel of an EDF or BDF file.

    Args:
        channel: label as in the file, or another name of the same derivation (C3-A2 = C3-M2 = "EEG
            C3-A2"), or several separated by "|", of which the first that is there is read; empty:
            `DEFAULT_CHANNELS`. Where C3 and A2 are recorded apart, C3-A2 is their difference. Of
            channels with the same label, "LABEL-0", "LABEL-1" … are the first, the second …
        name: what errors call the recording (a night_id).

    Raises:
        UserError: one line; if the channel is not there it lists those that are.
    """
    header = read_header(path, name=name)
    if header.record_seconds <= 0:
        raise UserError(f"night {name}: the PSG file holds no signals (its records last 0 s)")
    plus, minus = _choose(header, channel)
    samples = _read(header, plus)
    if minus is not None:
        if header.signals[plus].samples != header.signals[minus].samples:
            raise UserError(
                f"night {name}: {header.signals[plus].label} and {header.signals[minus].label} "
                "have different sampling rates; name a channel that is recorded against its "
                "reference"
            )
        samples -= _read(header, minus)
    rate = header.signals[plus].samples / header.record_seconds
    onsets = record_onsets(header)
    first = 0.0 if onsets is None else float(onsets[0])
    notes = list(header.notes)
    gaps: tuple[tuple[float, float], ...] = ()
    if onsets is not None:
        samples, gaps = _place(
            header, samples, np.rint((onsets - first) * rate).astype(np.int64), rate, notes
        )
    labels = [header.signals[i].label for i in (plus, minus) if i is not None]
    return Signal(
        samples=samples,
        rate=rate,
        start=header.start + timedelta(seconds=first),
        gaps=gaps,
        channel=" - ".join(labels),
        notes=tuple(notes),
    )


def _derivation(label: str) -> str:
    """The name of a derivation without the habits of its writer: "EEG C3-A2" and "c3:m2" are both
    C3-M2."""
    text = re.sub(r"^EEG[\s_:.-]+", "", label.strip().upper())
    text = re.sub(r"\s*[-:/]\s*", "-", text)
    return re.sub(
        r"(?<![A-Z0-9])A([12])(?![0-9])", r"M\1", text
    )  # A1, A2: mastoids in the older notation


def _choose(header: Header, channel: str) -> tuple[int, int | None]:
    """Positions of the signal to read and of its reference, if that is recorded apart."""
    labels = [signal.label for signal in header.signals]
    wanted = [part.strip() for part in channel.split("|") if part.strip()] or list(DEFAULT_CHANNELS)
    derivations = [None if label in ANNOTATION_LABELS else _derivation(label) for label in labels]
    unique = _unique(labels)
    for want in wanted:
        exact = [i for i, label in enumerate(labels) if label == want]
        exact = exact or [i for i, label in enumerate(unique) if label == want]
        found = exact or [i for i, label in enumerate(derivations) if label == _derivation(want)]
        if len(found) > 1:
            names = " or ".join(repr(unique[i]) for i in found)
            raise UserError(
                f"night {header.name}: channel {want!r} is there {len(found)} times; name {names}"
            )
        if found:
            return found[0], None
        parts = _derivation(want).split("-")
        if len(parts) == 2 and all(derivations.count(part) == 1 for part in parts):
            return derivations.index(parts[0]), derivations.index(parts[1])
    there = ", ".join(label for label in unique if label not in ANNOTATION_LABELS)
    asked = (
        f"channel {channel!r}" if channel else f"EEG channel among {', '.join(DEFAULT_CHANNELS)}"
    )
    raise UserError(f"night {header.name}: no {asked}; the PSG holds {there or 'no signals'}")


def _unique(labels: list[str]) -> list[str]:
    """The labels with -0, -1, … after those that are there more than once, as MNE names them."""
    seen: dict[str, int] = {}
    names = []
    for label in labels:
        number = seen.get(label, 0)
        seen[label] = number + 1
        names.append(f"{label}-{number}" if labels.count(label) > 1 else label)
    return names


def _read(header: Header, position: int) -> Float32[np.ndarray, " n"]:
    """All samples of one signal, records joined, in microvolt."""
    import mne

    signal = header.signals[position]
    unit = re.sub(
        "^(\u03bc|\u00b5|\x83\xca)", "u", signal.unit
    )  # Greek mu, the micro sign, mu in Shift JIS
    if unit.lower() not in _MICROVOLTS:
        raise UserError(
            f"night {header.name}: channel {signal.label} has the unit {signal.unit!r}; expected "
            "uV, mV or V"
        )
    if (
        signal.samples == 0
        or signal.physical_min == signal.physical_max
        or signal.digital_min == signal.digital_max
    ):
        raise UserError(
            f"night {header.name}: channel {signal.label} has an empty range in the EDF header"
        )
    reader = mne.io.read_raw_bdf if header.bdf else mne.io.read_raw_edf
    label = _unique([s.label for s in header.signals])[position]
    try:
        # An open file, so that neither the extension matters nor the path appears in a message.
        # Latin-1 never fails; the annotations MNE finds are not used.
        with open(header.path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            raw = reader(
                file,
                include=[label],
                exclude_after_unique=True,
                stim_channel=False,
                preload=True,
                encoding="latin-1",
                verbose="ERROR",
            )
            volts = raw.get_data(verbose="ERROR")[0]
    except UserError:
        raise
    except Exception as error:  # MNE raises many kinds for a damaged file
        raise UserError(
            f"night {header.name}: MNE cannot read channel {signal.label} ({type(error).__name__})"
        ) from error
    count = header.records * signal.samples
    if len(volts) < count:
        raise UserError(
            f"night {header.name}: {len(volts)} samples in {signal.label}, expected {count}"
        )
    scale = _MICROVOLTS[unit.lower()] / _MNE_SCALE.get(unit, 1.0)
    volts = volts[:count]
    volts *= scale
    return volts.astype(np.float32)


def _place(
    header: Header,
    samples: Float32[np.ndarray, " n"],
    starts: Int64[np.ndarray, " records"],
    rate: float,
    notes: list[str],
) -> tuple[Float32[np.ndarray, " m"], tuple[tuple[float, float], ...]]:
    """Puts each record where its onset says; pauses become NaN, jitter of a sample or two is
    bridged."""
    size = len(samples) // len(starts)
    drift = np.diff(starts) - size
    if not drift.any():
        return samples, ()
    if drift.min() < -_SLACK_SAMPLES or starts[-1] + size > MAX_SECONDS * rate:
        if header.discontinuous:
            k = int(drift.argmin()) + 1
            raise UserError(
                f"night {header.name}: record {k + 1} begins before record {k} ends; times are "
                "damaged"
            )
        notes.append(
            "the onsets of the records make no sense; the file says it is continuous and is read so"
        )
        return samples, ()
    placed = np.full(int(starts[-1]) + size, np.nan, np.float32)
    gaps = []
    breaks = [0, *(np.flatnonzero(drift) + 1).tolist(), len(starts)]
    for first, last in itertools.pairwise(breaks):
        begin = int(starts[first])
        placed[begin : begin + (last - first) * size] = samples[first * size : last * size]
        if first:
            end = int(starts[first - 1]) + size
            if 0 < begin - end <= _SLACK_SAMPLES:
                placed[end:begin] = placed[end - 1]
            elif begin > end:
                gaps.append((end / rate, begin / rate))
    return placed, tuple(gaps)


def resample(signal: Signal, rate: float, *, name: str) -> Signal:
    """Resamples a night to `rate` with a zero-phase polyphase filter: sample j stays at j / rate
    seconds.

    Gaps stay NaN: a new sample counts only where its neighbours in the old grid are there.

    Raises:
        UserError: the signal is too slow to be EEG, or no exact ratio of the two rates can be
            found.
    """
    from scipy.signal import resample_poly

    if signal.rate == rate:
        return signal
    if signal.rate < rate / 4:
        raise UserError(
            f"night {name}: {signal.channel} has {signal.rate:g} samples a second; EEG needs "
            f"{rate / 4:g}"
        )
    ratio = Fraction(rate / signal.rate).limit_denominator(20000)
    if abs(float(ratio) * signal.rate / rate - 1) > 1e-8:
        raise UserError(
            f"night {name}: cannot resample {signal.rate!r} to {rate:g} samples a second"
        )
    up, down = ratio.numerator, ratio.denominator
    present = np.isfinite(signal.samples)
    samples = signal.samples
    if not present.all():
        # Bridged by straight lines for the filter's sake, so that one grid serves the whole night.
        positions = np.arange(len(samples))
        samples = np.interp(positions, positions[present], samples[present]).astype(np.float32)
    resampled = resample_poly(samples, up, down, padtype="line").astype(np.float32, copy=False)
    if not present.all():
        nearest = np.minimum(np.arange(len(resampled)) * down // up, len(samples) - 1)
        following = np.minimum(nearest + 1, len(samples) - 1)
        resampled[~(present[nearest] & present[following])] = np.nan
    return replace(signal, samples=resampled, rate=rate)
