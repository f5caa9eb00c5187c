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
import re
from dataclasses import dataclass, field

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.events import Event, stage_spans
from input_pipeline.readers.hypnogram.grid import Span
from input_pipeline.readers.hypnogram.psg import (
    check_clock_was_not_set,
    check_date,
    clock_onsets,
    parse_clock,
)
from input_pipeline.readers.hypnogram.scored import Scored, Source
from input_pipeline.readers.hypnogram.vocabulary import find_word, fold, shown
from input_pipeline.stages import CLIP_SECONDS, UNKNOWN

_PREAMBLE_LINES = 400
_DELIMITERS = "\t;,"
_EMPTY = ("", "-", "n/a")

# Names of columns by what they hold, the surest first.
_NAMES = {
    "stage": "stage|stages|sleep stage|sleep stages|sleepstage|hypnogram|hypno|staging|stage label|"
    "sleep stage label|stage name|stadium|schlafstadium|stade|stade de sommeil|scoring|score",
    "event": "event|trial type|annotation|annotations|description|label|class|evenement|ereignis",
    "value": "value|stage code|code",
    "onset": "recording onset|onset|onset time|start|start time|begin|begin time|from|time|clock|"
    "clock time|heure|uhrzeit|zeit",
    "date": "date|datum",
    "end": "end|end time|stop|to",
    "duration": "duration|dur|length|duree|dauer",
    "epoch": "epoch|epochs|epoch number|epoch no|epoch nr|epoch id|epoche|epoque|#|nr|no|index",
    "scorer": "scorer|rater|annotator|expert|observer|reader|source|method",
}
_ROLES = {
    name: (role, rank)
    for role, names in _NAMES.items()
    for rank, name in enumerate(names.split("|"))
}
_BY_SCORER = re.compile(
    r"(sleep )?(stage|hypnogram|scorer|rater|expert|annotator|human|manual|auto|automatic|ai|"
    r"consensus)( ?[a-z0-9]{1,20}){0,2}"
)
_UNIT = re.compile(r" ?[\[(](hh mm ss|s|sec|secs|seconds)[\])]| (s|sec|secs|seconds)$")
_WITH_SECONDS = re.compile(r"\d[:.]\d\d[:.]\d\d")
_TIME_WORDS = frozenset(
    ("start", "end", "begin", "stop", "first", "last", "onset", "offset", "duration", "from", "to")
)
_MANY_ENDS = 20  # fewer may cover a small part of a night
_SECONDS = re.compile(r"[+-]?\d{1,15}(?:[.,]\d{0,15})?(?:[eE][+-]?\d{1,2})?")


@dataclass
class Table:
    """A table's columns by what they hold, and its rows."""

    line: int
    """Of the header."""
    delimiter: str
    width: int
    """Columns of the header."""
    role: dict[str, int]
    """Position of the column that holds it."""
    by_scorer: dict[str, int]
    """Position of each scorer's column of stages, where there are several."""
    names: tuple[str, ...] = ()
    """Of all columns, folded; none where there is no header."""
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    """Line number and cells."""

    def cell(self, row: list[str], role: str) -> str:
        """The cell that holds `role`; empty where there is none."""
        position = self.role.get(role)
        return row[position] if position is not None and position < len(row) else ""


def find_table(lines: list[str]) -> Table | None:
    """The table that begins with the first line of column names, or None if there is none."""
    filled = [number for number, line in enumerate(lines[:_PREAMBLE_LINES], 1) if line]
    for number in filled:
        line = lines[number - 1]
        for delimiter in [mark for mark in _DELIMITERS if mark in line] or [","]:
            if len(line) < 10_000 and (table := _header(line, number, delimiter)):
                timed = table.role.keys() & {"onset", "epoch", "duration"}
                alone = number == filled[0] and not table.role.keys() - {"stage", "scorer"}
                if timed or (alone and not _holds_stages(line, delimiter, len(filled))):
                    return table
    return _without_header(lines, filled[0]) if filled else None


def _holds_stages(line: str, delimiter: str, count: int) -> bool:
    """Whether what may be the only header of `count` lines is a stage, or all stages in one line.

    "Sleep stage 1" is; "stage 1;stage 2" above other lines are two scorers' columns.
    """
    cells = [cell for cell in _cells(line, delimiter) if cell.strip()]
    return (len(cells) == 1 or count == 1) and all(map(find_word, cells))


def check_is_no_table(lines: list[str], source: Source) -> None:
    """Refuses a file in which `find_table` finds no table, but whose first line may be a header.

    Raises:
        UserError: the columns of stages have names that are not known, such as those of persons; or
            "stage 1" is the first line, and no other one has such a word.
    """
    filled = ((number, line) for number, line in enumerate(lines, 1) if line)
    number, line = next(filled, (0, ""))
    if find_word(line) and _header(line, number, ","):
        others = [find_word(other) for _, other in itertools.islice(filled, _PREAMBLE_LINES)]
        if others and not any(word is not None and word.full for word in others):
            raise UserError(
                f"{source.name} line {number}: {shown(line)} may be the name of the column or the "
                "first epoch's stage; expected stage as the name, or one kind of words"
            )
    for delimiter in _DELIMITERS:
        names = [_UNIT.sub("", fold(name)).strip() for name in line[:10_000].split(delimiter)]
        times = [name for name in names if _ROLES.get(name, ("",))[0] in ("onset", "duration")]
        if times and len(names) > len(times):
            raise UserError(
                f"{source.name} line {number}: columns {', '.join(times)}, but none of stages that "
                "has a known name; call it stage, or stage 1, stage 2 … where each scorer has one"
            )


def _without_header(lines: list[str], first: int) -> Table | None:
    """The table of a file whose first line is a row of seconds, seconds and a stage already."""
    cells = [cell.strip() for cell in lines[first - 1][:200].split(",")]
    if len(cells) != 3 or not all(map(_SECONDS.fullmatch, cells[:2])) or not find_word(cells[2]):
        return None
    return Table(first - 1, ",", 3, {"onset": 0, "duration": 1, "stage": 2}, {})


def _header(line: str, number: int, delimiter: str) -> Table | None:
    try:
        names = [fold(name) for name in _cells(line, delimiter)]
    except csv.Error:
        return None
    names = [_UNIT.sub("", name).strip() for name in names]
    role: dict[str, int] = {}
    rank: dict[str, int] = {}
    for position, name in enumerate(names):
        what, place = _ROLES.get(name, ("", 0))
        if what and place < rank.get(what, 99):
            role[what], rank[what] = position, place
    columns = [k for k, name in enumerate(names) if _is_stage_column(name)]
    by_scorer = {names[k] + (f" {k + 1}" if names.count(names[k]) > 1 else ""): k for k in columns}
    if len(columns) == 1:
        role["stage"], by_scorer = columns[0], {}
    if not by_scorer and not role.keys() & {"stage", "event", "value"}:
        return None
    return Table(number, delimiter, len(names), role, by_scorer, tuple(names))


def _cells(line: str, delimiter: str) -> list[str]:
    """The cells of a line that is a row of its own."""
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))


def _is_stage_column(name: str) -> bool:
    what = _ROLES.get(name, ("", 0))[0]
    return what == "stage" or (not what and bool(_BY_SCORER.fullmatch(name)))


def read_table(table: Table, lines: list[str], source: Source) -> Scored:
    """Reads the rows below a table's header; see the module for the dialects.

    Raises:
        UserError: a row that cannot be understood; it is named by its line, its cells are not
        shown.
    """
    _read_rows(table, lines, source)
    _check_times_are_read(table, source)
    onsets = _times(table, "onset", source) if "onset" in table.role else None
    durations = _durations(table, onsets, source)
    if onsets is not None:
        _check_unit(table, onsets, durations, source)
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
    if any(_seconds(table.cell(row, "onset")) is None for _, row in table.rows):  # times of day
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
            cells = [cell.strip() for cell in _cells(line, table.delimiter)]
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


def _times(table: Table, role: str, source: Source) -> list[float]:
    """Seconds after the PSG's first sample; NaN where a cell is empty."""
    cells = [table.cell(row, role) for _, row in table.rows]
    seconds = [_seconds(cell) for cell in cells]
    if all(value is not None for value in seconds):
        return [math.nan if value is None else value for value in seconds]
    clocks = [None if cell.casefold() in _EMPTY else parse_clock(cell) for cell in cells]
    for (number, _), cell, clock in zip(table.rows, cells, clocks, strict=True):
        if clock is None and cell.casefold() not in _EMPTY:
            raise UserError(
                f"{source.name} line {number}: the {role} is neither seconds nor a time of day"
            )
    _check_seconds_are_there(table, role, source)
    if not any(clock and clock[0] for clock in clocks):  # dates of another order, or apart
        for cell in (cells[0], table.cell(table.rows[0][1], "date")):
            check_date(cell, source.clock(), source.night)
    placed = iter(clock_onsets([c for c in clocks if c is not None], source.clock(), source.night))
    return [math.nan if clock is None else next(placed) for clock in clocks]


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


def _check_unit(table: Table, onsets: list[float], durations: list[float], source: Source) -> None:
    """Refuses numbers that are minutes or epochs: taken for seconds, a night would last some
    minutes."""
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


def _seconds(cell: str) -> float | None:
    """Seconds in a cell: NaN where it is empty, None where it holds anything else than a number."""
    if cell.casefold() in _EMPTY:
        return math.nan
    return float(cell.replace(",", ".")) if _SECONDS.fullmatch(cell) else None


def _durations(table: Table, onsets: list[float] | None, source: Source) -> list[float]:
    """Seconds that each row lasts; NaN where the table does not say."""
    if "duration" in table.role:
        found = []
        for number, row in table.rows:
            cell = table.cell(row, "duration")
            seconds = _seconds(cell)
            if seconds is None and cell.count(":") == 2 and (clock := parse_clock(cell)):
                seconds = clock[1]
            if seconds is None:
                raise UserError(f"{source.name} line {number}: the duration is not in seconds")
            found.append(seconds)
        return found
    if onsets is not None and "end" in table.role:
        ends = _times(table, "end", source)
        return [end - onset for onset, end in zip(onsets, ends, strict=True)]
    if onsets is not None and "epoch" in table.role:
        return [_epoch_length(table, onsets, source)] * len(onsets)
    return [math.nan] * len(table.rows)


def _epochs(table: Table, source: Source) -> list[int]:
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
    epochs = _epochs(table, source)
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
        cell = row[position] if position < len(row) else ""
        empty = cell.casefold() in _EMPTY
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
    numbers = _epochs(table, source)
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
