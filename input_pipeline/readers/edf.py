"""EEG and annotations of a PSG (EDF, EDF+, BDF, BDF+; one file or several), on one clock.

Every record is placed where it says that it began, so that a pause of the recorder, or the time
between two files, becomes NaN and never shifts what follows it.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64

from input_pipeline.errors import UserError
from input_pipeline.readers import edf_records
from input_pipeline.readers.edf_header import MAX_SECONDS, Header, read_header
from input_pipeline.readers.edf_records import Annotations, read_samples, record_times
from input_pipeline.readers.montage import choose, shown
from input_pipeline.readers.units import microvolts, signal_scale, size_note

__all__ = ["Annotations", "Signal", "read_annotations", "read_signal", "recorded_time", "resample"]

MAX_RATE = 100_000.0
"""Samples a second; beyond it a header is damaged."""
MAX_SAMPLES = 1 << 28
"""Of one channel, pauses included: 1 GB in memory, a day at 3 kHz."""

_MAX_STRETCH, _FREE_SAMPLES = 100, 10_000_000
# A file may grow by its pauses to so many times its samples, and by so many samples anyway.
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
    """Label(s) the samples were read from, as messages may show them."""
    notes: tuple[str, ...] = ()
    """What was odd in the file but could be mended, one line each."""
    date_known: bool = True
    """False where the date of `start` is a stand-in, such as 1 January 1985."""

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


def read_signal(
    psg: Path | Sequence[Path],
    channel: str = "",
    *,
    name: str,
    unit: str = "",
    any_unit: bool = False,
) -> Signal:
    """Reads one EEG channel of a PSG.

    Args:
        psg: an EDF or BDF file, or several of one night, whose pieces are put on one clock.
        channel: label as in the file, or another name of the same derivation (C3-A2 = C3-M2 = "EEG
            C3-A2"), or several separated by "|", of which the first that is there is read; empty:
            `montage.DEFAULT_CHANNELS`. Where C3 and A2 are recorded apart, C3-A2 is their
            difference. Of channels with the same label, "LABEL-0", "LABEL-1" … are the first, the
            second …
        name: what errors call the recording (a night_id).
        unit: what the numbers of the channel are in whatever the header says (a key of
            `units.UNITS`); empty: believe the header.
        any_unit: take a channel that is no voltage as well (an effort belt), in the file's unit.

    Raises:
        UserError: one line; if the channel is not there it lists those that are.
    """
    paths = [psg] if isinstance(psg, Path) else list(psg)
    if len(paths) == 1:
        signal, _ = _read_file(paths[0], channel, unit, any_unit, name)
    else:
        names = [_part(name, k) for k in range(len(paths))]
        read = [
            _read_file(path, channel, unit, any_unit, part)
            for path, part in zip(paths, names, strict=True)
        ]
        signal = _join(read, name)
    if not any_unit and (note := size_note(signal.samples)):
        signal = replace(signal, notes=(*signal.notes, f"{signal.channel} has {note}"))
    return signal


def recorded_time(psg: Path | Sequence[Path], *, name: str) -> tuple[datetime, float]:
    """Clock time of the first sample of a PSG, to fractions of a second, and seconds from there to
    the end of its last record, pauses included.

    Raises:
        UserError: a file cannot be read.
    """
    files = (psg,) if isinstance(psg, Path) else psg
    names = [name] if len(files) == 1 else [_part(name, k) for k in range(len(files))]
    headers = [read_header(path, name=part) for path, part in zip(files, names, strict=True)]
    times = [record_times(header) for header in headers]
    starts, seconds = [], []
    for header, time in zip(headers, times, strict=True):
        starts.append(header.start + timedelta(seconds=time.first_s))
        last = header.record_seconds * (header.records - 1)
        if time.onset_s is not None:
            last = float(time.onset_s[-1]) - time.first_s
        seconds.append(last + header.record_seconds)
    order = _clock_order(starts, all(header.date_known for header in headers))
    begin = order[0][1]
    return begin, max((at - begin).total_seconds() + seconds[k] for k, at in order)


def read_annotations(psg: Path | Sequence[Path], *, name: str) -> Annotations:
    """Reads all annotations of a PSG; onsets count from its first sample.

    Raises:
        UserError: a file cannot be read.
    """
    if isinstance(psg, Path):
        return edf_records.read_annotations(psg, name=name)
    parts = [edf_records.read_annotations(path, name=_part(name, k)) for k, path in enumerate(psg)]
    order = _clock_order([part.start for part in parts], all(part.date_known for part in parts))
    start = order[0][1]
    onset = np.concatenate([parts[k].onset_s + (at - start).total_seconds() for k, at in order])
    by_onset = np.argsort(onset, kind="stable")
    texts = [text for k, _ in order for text in parts[k].text]
    return Annotations(
        start=start,
        onset_s=onset[by_onset],
        duration_s=np.concatenate([parts[k].duration_s for k, _ in order])[by_onset],
        text=tuple(texts[i] for i in by_onset),
        date_known=all(part.date_known for part in parts),
        notes=tuple(f"PSG file {k + 1}: {note}" for k, _ in order for note in parts[k].notes),
    )


def _part(name: str, number: int) -> str:
    return f"{name}, PSG file {number + 1}"


def _clock_order(starts: Sequence[datetime], dates_known: bool) -> list[tuple[int, datetime]]:
    """(number, start) of the files of a night, in the order of time.

    Without dates they follow each other as they are listed, and a start that is earlier than the
    one before is on the next day.
    """
    if dates_known:
        return sorted(enumerate(starts), key=lambda numbered: numbered[1])
    order: list[tuple[int, datetime]] = []
    for number, start in enumerate(starts):
        if order:
            before = order[-1][1]
            start = datetime.combine(before.date(), start.time())
            start += timedelta(days=start < before)
        order.append((number, start))
    return order


def _read_file(
    path: Path, channel: str, unit: str, any_unit: bool, name: str
) -> tuple[Signal, tuple[str, ...]]:
    """The channel of one file, and the derivation that it is."""
    header = read_header(path, name=name)
    if header.record_seconds <= 0:
        raise UserError(f"night {name}: the PSG file holds no signals (its records last 0 s)")
    labels = [None if signal.annotations else signal.label for signal in header.signals]
    choice = choose(labels, channel, name=name)
    names = [shown(labels[i] or "", i) for i in (choice.plus, choice.minus) if i is not None]
    samples = _microvolts(header, choice.plus, unit, any_unit, names[0])
    if choice.minus is not None:
        if header.signals[choice.plus].samples != header.signals[choice.minus].samples:
            raise UserError(
                f"night {name}: {names[0]} and {names[1]} have different sampling rates; name a "
                "channel that is recorded against its reference"
            )
        samples -= _microvolts(header, choice.minus, unit, any_unit, names[1])
    rate = header.signals[choice.plus].samples / header.record_seconds
    times = record_times(header)
    notes = [*header.notes, *times.notes]
    if choice.note:
        notes.append(choice.note)
    gaps: tuple[tuple[float, float], ...] = ()
    if times.onset_s is not None:
        samples, gaps = _place(header, samples, times.onset_s - times.first_s, rate, notes)
    signal = Signal(
        samples=samples,
        rate=rate,
        start=header.start + timedelta(seconds=times.first_s),
        gaps=gaps,
        channel=" - ".join(names),
        notes=tuple(notes),
        date_known=header.date_known,
    )
    return signal, choice.derivation


def _microvolts(
    header: Header, position: int, unit: str, any_unit: bool, channel: str
) -> Float32[np.ndarray, " n"]:
    signal = header.signals[position]
    if any_unit and not unit and microvolts(signal.unit) is None:
        scale = 1.0
    else:
        scale = signal_scale(signal.unit, unit, name=header.name, channel=channel)
    count = header.records * signal.samples
    if signal.samples > MAX_RATE * header.record_seconds:
        raise UserError(
            f"night {header.name}: {channel} has more than {MAX_RATE:g} samples a second; the "
            "record duration in the EDF header is damaged"
        )
    _check_size(count, count, header.name)
    samples = read_samples(header, position)
    if scale != 1:
        samples *= np.float32(scale)
    return samples


def _check_size(count: float, stored: int, name: str) -> None:
    if count > MAX_SAMPLES or count > _MAX_STRETCH * stored + _FREE_SAMPLES:
        raise UserError(
            f"night {name}: the EEG and its pauses have more than {MAX_SAMPLES} samples or "
            f"{_MAX_STRETCH} times what the file stores; expected a night"
        )


def _place(
    header: Header,
    samples: Float32[np.ndarray, " n"],
    onset_s: Float64[np.ndarray, " records"],
    rate: float,
    notes: list[str],
) -> tuple[Float32[np.ndarray, " m"], tuple[tuple[float, float], ...]]:
    """Puts each record where its onset says; pauses become NaN, jitter of a sample or two is
    bridged.

    Args:
        onset_s: seconds after the first record's first sample.
    """
    size = len(samples) // len(onset_s)
    starts = np.rint(onset_s * rate).astype(np.int64)
    drift = np.diff(starts) - size
    if not drift.any():
        return samples, ()
    if drift.min() < -_SLACK_SAMPLES or onset_s[-1] > MAX_SECONDS:
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
    _check_size(int(starts[-1]) + size, len(samples), header.name)
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


def _join(read: Sequence[tuple[Signal, tuple[str, ...]]], name: str) -> Signal:
    """One signal of those of several files; the time between them is NaN."""
    signals = [signal for signal, _ in read]
    for number, (signal, derivation) in enumerate(read[1:], 2):
        if derivation != read[0][1]:
            raise UserError(
                f"night {name}: PSG file {number} holds {signal.channel} where file 1 holds "
                f"{signals[0].channel}; name a channel that is in all (psg_channel)"
            )
        if abs(signal.rate / signals[0].rate - 1) > 1e-9:
            raise UserError(
                f"night {name}: {signals[0].rate:g} samples a second in PSG file 1 and "
                f"{signal.rate:g} in file {number}; expected one rate"
            )
    known = all(signal.date_known for signal in signals)
    order = _clock_order([signal.start for signal in signals], known)
    rate, start = signals[0].rate, order[0][1]
    first = [round((at - start).total_seconds() * rate) for _, at in order]
    ends = [begin + len(signals[k].samples) for begin, (k, _) in zip(first, order, strict=True)]
    for (one, _), (other, _), end, begin in zip(order, order[1:], ends, first[1:], strict=False):
        moved = abs(abs(begin - end) - 3600 * rate) <= 2 * rate
        at = signals[other].start
        if known and moved and at.weekday() == 6 and at.hour < 5:
            raise UserError(
                f"night {name}: between PSG file {one + 1} and file {other + 1} the clock moves by "
                "an hour, as where summer time begins or ends; correct the start in the header of "
                "the later one"
            )
        if begin < end - _SLACK_SAMPLES:
            raise UserError(
                f"night {name}: PSG file {other + 1} begins {(end - begin) / rate:.1f} s before "
                f"file {one + 1} ends; expected one after the other"
            )
    _check_size(ends[-1], sum(len(signal.samples) for signal in signals), name)
    samples = np.full(ends[-1], np.nan, np.float32)
    gaps: list[tuple[float, float]] = []
    end = 0
    for begin, (k, _) in zip(first, order, strict=True):
        begin = max(begin, end)  # an overlap of a sample or two is jitter
        stop = min(begin + len(signals[k].samples), len(samples))
        samples[begin:stop] = signals[k].samples[: stop - begin]
        if 0 < begin - end <= _SLACK_SAMPLES:
            samples[end:begin] = samples[end - 1]
        elif begin > end:
            gaps.append((end / rate, begin / rate))
        gaps += [(begin / rate + a, begin / rate + b) for a, b in signals[k].gaps]
        end = stop
    return Signal(
        samples=samples,
        rate=rate,
        start=start,
        gaps=tuple(gaps),
        channel=signals[order[0][0]].channel,
        notes=tuple(f"PSG file {k + 1}: {note}" for k, _ in order for note in signals[k].notes),
        date_known=known,
    )


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
    count = len(signal.samples) * rate / signal.rate
    for most in (20_000, 100_000, 1_000_000):  # the filter is as long
        ratio = Fraction(rate / signal.rate).limit_denominator(most)
        if abs(float(ratio) * signal.rate / rate - 1) * count <= 0.1:
            break
    else:
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
