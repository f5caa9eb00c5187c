"""Tables with a header: CSV, TSV and the text exports of scoring programs.

One reader for all, because they differ only in the names of columns, the delimiter and what stands
before the header:

- `onset,duration,stage` in seconds after the PSG's first sample (YASA's `as_events`, HMC's
  `Recording onset`), also `start,end,stage`;
- BIDS `events.tsv` and `_hypnogram.tsv` (bids-specification, "Events"): `onset`, `duration`,
  `trial_type`, with `n/a` for what is not known;
- clock times (`Epoch;Time;Stage`), midnight may be crossed;
- RemLogic's and Embla's "Event Export" (as in PhysioNet's CAP Sleep Database): a preamble, then
  `Sleep Stage`, `Position`, `Time [hh:mm:ss]`, `Event`, `Duration[s]`, `Location`, of which the
  events `SLEEP-S0` … `SLEEP-REM` are the scoring;
- `epoch,stage` and `stage` alone, one row an epoch;
- U-Time's `.ids` (perslev/U-Time): onset, duration and stage without a header;
- a column `scorer`, or a column of stages for each scorer.
"""

import csv
import itertools
import math

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.events import Event, stage_spans
from input_pipeline.readers.hypnogram.grid import Span
from input_pipeline.readers.hypnogram.psg import check_clock_was_not_set, parse_clock
from input_pipeline.readers.hypnogram.scored import Scored, Source
from input_pipeline.readers.hypnogram.table_header import Table, cells_of
from input_pipeline.readers.hypnogram.table_times import (
    EMPTY,
    check_unit,
    read_durations,
    read_epochs,
    read_times,
    seconds_of,
)
from input_pipeline.readers.hypnogram.vocabulary import find_word
from input_pipeline.stages import UNKNOWN

_TIME_WORDS = frozenset(
    ("start", "end", "begin", "stop", "first", "last", "onset", "offset", "duration", "from", "to")
)


def read_table(table: Table, lines: list[str], source: Source) -> Scored:
    """Reads the rows below a table's header; see the module for the dialects.

    Raises:
        UserError: a row that cannot be understood; it is named by its line, its cells are not
        shown.
    """
    _read_rows(table, lines, source)
    _check_times_are_read(table, source)
    onsets = read_times(table, "onset", source) if "onset" in table.role else None
    durations = read_durations(table, onsets, source)
    if onsets is not None:
        check_unit(table, onsets, durations, source)
    groups: dict[str, list[int]] = {}
    for k, (_, row) in enumerate(table.rows):
        groups.setdefault(table.cell(row, "scorer").strip(), []).append(k)
    scored = Scored({})
    words = [table.role[role] for role in ("stage", "value", "event") if role in table.role]
    columns = table.by_scorer or {"": words[0]}
    is_mixed = onsets is not None and not table.by_scorer and _stages_are_events(table)
    if not is_mixed:
        _check_no_other_stages(table, source)
    for scorer, members in groups.items():
        if is_mixed:
            assert onsets is not None
            events = _events(table, members, onsets, durations, source)
            where = "the hypnogram file"
            spans, notes = stage_spans(events, source.night, source.scheme, where)
            scored.notes += notes
            scored.scorings[scorer] = spans
            continue
        for column, position in columns.items():
            name = " ".join(part for part in (scorer, column) if part)
            scored.scorings[name] = _spans(table, members, position, onsets, durations, source)
    if any(seconds_of(table.cell(row, "onset")) is None for _, row in table.rows):  # times of day
        for spans in scored.scorings.values():
            check_clock_was_not_set(spans, source.clock(), source.night)
    return scored


def _read_rows(table: Table, lines: list[str], source: Source) -> None:
    needed = {*table.role.values(), *table.by_scorer.values()}
    timed = "onset" in table.role or "epoch" in table.role
    last = max((k for k, line in enumerate(lines, 1) if line), default=0)
    for number in range(table.line + 1, last + 1):
        line, where = lines[number - 1], f"{source.name} line {number}"
        try:
            cells = [cell.strip() for cell in cells_of(line, table.delimiter)]
        except csv.Error:
            raise UserError(
                f"{where}: an unbalanced quote, a cell over several lines or one of more than "
                f"{csv.field_size_limit()} characters"
            ) from None
        if not any(cells):
            if timed:
                continue
            cells = [""] * table.width  # one row an epoch: this one is unscored
        if (len(cells) < table.width and len(cells) <= max(needed)) or any(cells[table.width :]):
            raise UserError(f"{where}: {len(cells)} cells, expected {table.width}")
        table.rows.append((number, cells))
    if not table.rows:
        raise UserError(f"{source.name}: a header in line {table.line}, but no stages below it")


def _check_times_are_read(table: Table, source: Source) -> None:
    """Refuses a table whose times stand in a column of another name than those that are known."""
    if "onset" in table.role:
        return
    _, row = table.rows[0]
    clocks = [k for k, cell in enumerate(row, 1) if ":" in cell and parse_clock(cell)]
    if clocks or table.role.keys() & {"duration", "end"}:
        column = f"; is it column {clocks[0]}?" if clocks else ""
        raise UserError(
            f"{source.name} line {table.line}: times, but no column named onset, start or "
            f"time{column}"
        )
    read = {*table.role.values(), *table.by_scorer.values()}
    for position, name in enumerate(table.names):
        if position not in read and not _TIME_WORDS.isdisjoint(name.split()):
            raise UserError(
                f"{source.name} line {table.line}: column {position + 1} may say when stages begin "
                "or end, and its name is not known; call it onset, end or duration, in seconds, or "
                "take it away"
            )
    if "epoch" not in table.role:
        for position in sorted(set(range(table.width)) - read):
            _check_no_row_is_missing(table, position, source)


def _check_no_row_is_missing(table: Table, position: int, source: Source) -> None:
    """Refuses stages without times beside a column of rising numbers (an index, a sample, seconds)
    that does not count every row from the begin on: rows were taken away, and the stages behind
    them would move."""
    rows = [(number, seconds_of(row[position])) for number, row in table.rows if any(row)]
    numbers = [math.nan if value is None else value for _, value in rows]
    steps = [after - before for before, after in itertools.pairwise(numbers)]
    if len(steps) < 3 or not all(step > 0 for step in steps):  # NaN is not
        return
    usual, slack = steps[0], 1e-3 * min(steps)
    jumps = [k for k, step in enumerate(steps, 1) if abs(step - usual) > slack]
    if jumps or min(abs(numbers[0]), abs(numbers[0] - usual), abs(numbers[0] - 1)) > slack:
        where = rows[jumps[0] if jumps else 0][0]
        odd = "jump" if jumps else "begin neither with 0 nor with 1"
        raise UserError(
            f"{source.name} line {where}: the numbers in column {position + 1} {odd}, so that rows "
            "may be missing, and its name is not known; call it epoch, or onset if it is in "
            "seconds, or take it away"
        )


def _check_no_other_stages(table: Table, source: Source) -> None:
    """Refuses a table that has full words for stages in a column of a name that is not known."""
    read = {*table.role.values(), *table.by_scorer.values()}
    for number, row in table.rows[:1000]:
        for position, cell in enumerate(row):
            word = find_word(cell) if cell and position not in read else None
            if word is not None and word.full:
                raise UserError(
                    f"{source.name} line {number}: column {position + 1} holds stages as well, and "
                    "its name is not known; take the wrong one away"
                )


def _stages_are_events(table: Table) -> bool:
    """Whether stages are to be looked for among the events of a column (see `events`)."""
    if "event" not in table.role:
        return False
    words = [find_word(text) for text in {table.cell(row, "event") for _, row in table.rows}]
    if "stage" in table.role:
        return any(word is not None and word.full for word in words)
    return "value" not in table.role or any(word is not None for word in words)


def _events(
    table: Table, members: list[int], onsets: list[float], durations: list[float], source: Source
) -> list[Event]:
    events = []
    for k in members:
        number, row = table.rows[k]
        text = table.cell(row, "event")
        if math.isnan(onsets[k]):
            if find_word(text) is not None:
                raise UserError(f"{source.name} line {number}: a stage without onset")
            continue
        events.append((onsets[k], durations[k], text))
    return events


def _spans(
    table: Table,
    members: list[int],
    position: int,
    onsets: list[float] | None,
    durations: list[float],
    source: Source,
) -> list[Span]:
    """Spans where every row holds a stage."""
    stages = []
    for k in members:
        number, row = table.rows[k]
        cell = row[position]
        empty = cell.casefold() in EMPTY
        where = f"{source.name} line {number}"
        stages.append(UNKNOWN if empty else source.stage(cell, where))
        if onsets is not None and not math.isfinite(onsets[k]):
            raise UserError(f"{where}: onset and duration must be seconds")
    if onsets is not None:
        return [(onsets[k], durations[k], stage) for k, stage in zip(members, stages, strict=True)]
    if "epoch" not in table.role:
        return source.sequence(stages)
    return _numbered(table, members, stages, source)


def _numbered(table: Table, members: list[int], stages: list[int], source: Source) -> list[Span]:
    """Spans of numbered epochs; numbers that are left out are unscored."""
    numbers = read_epochs(table, source)
    epochs = [numbers[k] for k in members]
    first = min(numbers)  # of all scorers: one of them may have left out the first epochs
    if first not in (0, 1):
        raise UserError(
            f"{source.name} line {table.rows[numbers.index(first)][0]}: the first epoch's number "
            f"is {first}; expected 0 or 1 at the begin of the PSG"
        )
    for k, (before, after) in enumerate(itertools.pairwise(epochs), 1):
        if after <= before:
            line = table.rows[members[k]][0]
            raise UserError(f"{source.name} line {line}: the epochs' numbers do not increase")
    if epochs[-1] - epochs[0] > 10**6:
        raise UserError(f"{source.name}: an epoch of number {epochs[-1]}; expected days at most")
    filled = [UNKNOWN] * (epochs[-1] - epochs[0] + 1)
    for epoch, stage in zip(epochs, stages, strict=True):
        filled[epoch - epochs[0]] = stage
    return source.sequence(filled, first=epochs[0] - first)
