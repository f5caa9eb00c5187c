"""When the rows of a table begin and how long they last: seconds after the PSG's first sample."""

import itertools
import math
import re
from datetime import datetime

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.psg import (
    check_date,
    clock_onsets,
    parse_clock,
    seconds_after,
)
from input_pipeline.readers.hypnogram.scored import Source
from input_pipeline.readers.hypnogram.table_header import SECONDS, Table
from input_pipeline.stages import CLIP_SECONDS

EMPTY = ("", "-", "n/a")
"""Cells that hold nothing, case-folded."""

_WITH_SECONDS = re.compile(r"\d[:.]\d\d[:.]\d\d")
_MANY_ENDS = 20  # fewer may cover a small part of a night
_FAR_BEYOND = 20  # times a PSG that broke off; no EEG has so few samples a second


def read_times(table: Table, role: str, source: Source) -> list[float]:
    """Seconds after the PSG's first sample; NaN where a cell is empty."""
    cells = [table.cell(row, role) for _, row in table.rows]
    seconds = [seconds_of(cell) for cell in cells]
    if all(value is not None for value in seconds):
        begin = _origin(table, source)
        return [math.nan if value is None else begin + value for value in seconds]
    clocks = [None if cell.casefold() in EMPTY else parse_clock(cell) for cell in cells]
    for (number, _), cell, clock in zip(table.rows, cells, clocks, strict=True):
        if clock is None and cell.casefold() not in EMPTY:
            raise UserError(
                f"{source.name} line {number}: the {role} is neither seconds nor a time of day"
            )
    _check_seconds_are_there(table, role, source)
    if not all(clock[0] for clock in clocks if clock):  # dates of another order, apart, or of some
        for cell in (cells[0], table.cell(table.rows[0][1], "date")):
            check_date(cell, source.clock(), source.night)
    placed = iter(clock_onsets([c for c in clocks if c is not None], source.clock(), source.night))
    return [math.nan if clock is None else next(placed) for clock in clocks]


def _origin(table: Table, source: Source) -> float:
    """Seconds of the PSG at which the table's seconds begin; 0 where it says nothing else."""
    if not table.origin:
        return 0.0
    try:  # the digits are the local time, whatever the zone
        moment = datetime.fromisoformat(table.origin).replace(tzinfo=None)
    except ValueError:
        raise UserError(f"{source.name}: its orig_time is no date and time") from None
    return seconds_after(moment, source.clock(), source.night)


def _check_seconds_are_there(table: Table, role: str, source: Source) -> None:
    """Refuses times of day in whole minutes in which several epochs begin, as spreadsheets save
    them."""
    for (_, before), (number, row) in itertools.pairwise(table.rows):
        cell = table.cell(row, role)
        same = cell == table.cell(before, role)
        if same and table.cell(row, "scorer") == table.cell(before, "scorer"):
            clock = parse_clock(cell)
            if clock is not None and not _WITH_SECONDS.search(cell):
                raise UserError(
                    f"{source.name} line {number}: the same {role} as in the row before, without "
                    "seconds; export the times with their seconds"
                )


def check_unit(table: Table, onsets: list[float], durations: list[float], source: Source) -> None:
    """Refuses numbers that are minutes or epochs: taken for seconds, a night would last some
    minutes. So are milliseconds and samples, of which it would last days."""
    ends = {
        onset + (0 if math.isnan(duration) else duration)
        for onset, duration in zip(onsets, durations, strict=True)
        if math.isfinite(onset)
    }
    if source.psg is None or source.night.hypnogram_epoch_s or len(ends) < _MANY_ENDS:
        return
    for unit, seconds in (("minutes", 60), ("epochs", CLIP_SECONDS), ("epochs", 20)):
        if abs(seconds * max(ends) - source.psg.seconds) < 0.02 * source.psg.seconds:
            raise UserError(
                f"{source.name}: its times end at {max(ends):g}, and the PSG lasts "
                f"{source.psg.seconds:.0f} s: are they {unit}? Expected seconds"
            )
    of_day = seconds_of(table.cell(table.rows[0][1], "onset")) is None
    if not of_day and max(ends) > _FAR_BEYOND * source.psg.seconds:
        raise UserError(
            f"{source.name}: its times end at {max(ends):.0f}, and the PSG lasts "
            f"{source.psg.seconds:.0f} s: are they milliseconds or samples? Expected seconds"
        )


def seconds_of(cell: str) -> float | None:
    """Seconds in a cell: NaN where it is empty, None where it holds anything else than a number."""
    if cell.casefold() in EMPTY:
        return math.nan
    return float(cell.replace(",", ".")) if SECONDS.fullmatch(cell) else None


def read_durations(table: Table, onsets: list[float] | None, source: Source) -> list[float]:
    """Seconds that each row lasts; NaN where the table does not say."""
    if "duration" in table.role:
        found = []
        for number, row in table.rows:
            cell = table.cell(row, "duration")
            seconds = seconds_of(cell)
            if seconds is None and cell.count(":") == 2 and (clock := parse_clock(cell)):
                seconds = clock[1]
            if seconds is None:
                raise UserError(f"{source.name} line {number}: the duration is not in seconds")
            found.append(seconds)
        return found
    if onsets is not None and "end" in table.role:
        ends = read_times(table, "end", source)
        return [end - onset for onset, end in zip(onsets, ends, strict=True)]
    if onsets is not None and "epoch" in table.role:
        return [_epoch_length(table, onsets, source)] * len(onsets)
    return [math.nan] * len(table.rows)


def read_epochs(table: Table, source: Source) -> list[int]:
    """Numbers of the epochs, counted from 0."""
    found = []
    for number, row in table.rows:
        cell = table.cell(row, "epoch")
        if not re.fullmatch(r"\d{1,7}(\.0)?", cell):
            raise UserError(f"{source.name} line {number}: the epoch's number is not a number")
        found.append(int(float(cell)))
    return found


def _epoch_length(table: Table, onsets: list[float], source: Source) -> float:
    """Seconds of an epoch, from the numbers and the onsets of all; the two must agree."""
    epochs = read_epochs(table, source)
    span = max(range(len(epochs)), key=lambda k: epochs[k])
    passed = epochs[span] - epochs[0]
    length = (onsets[span] - onsets[0]) / passed if passed else CLIP_SECONDS
    named = source.epoch_s()
    length = named or round(length, 1)
    for (number, _), epoch, onset in zip(table.rows, epochs, onsets, strict=True):
        if not abs(onsets[0] + (epoch - epochs[0]) * length - onset) <= 1.0:
            raise UserError(
                f"{source.name} line {number}: the epoch's number and its time do not agree with "
                f"epochs of {length:g} s from line {table.rows[0][0]} on; was the clock changed?"
            )
    return length
