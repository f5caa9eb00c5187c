"""The header of a table: which of its columns holds what."""

import csv
import dataclasses
import itertools
import re
from dataclasses import dataclass, field

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.scored import Source
from input_pipeline.readers.hypnogram.vocabulary import find_word, fold, shown

_PREAMBLE_LINES = 400
_DELIMITERS = "\t;,"
_SPACES = " "  # any number of them, and tabs
_ORIGIN = re.compile(r"# ?orig_time ?: ?(\d.{0,40})")

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
_UNIT = re.compile(
    r" ?[\[(](hh mm ss(?: [a-z]{1,6})?|s|sec|secs|seconds)[\])]| (s|sec|secs|seconds)$"
)
SECONDS = re.compile(r"[+-]?\d{1,15}(?:[.,]\d{0,15})?(?:[eE][+-]?\d{1,2})?")
"""Of a cell that holds a number of seconds."""


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
    origin: str = ""
    """The date and time that its seconds count from, where a line above says so (MNE-Python)."""
    rows: list[tuple[int, list[str]]] = field(default_factory=list)
    """Line number and cells."""

    def cell(self, row: list[str], role: str) -> str:
        """The cell that holds `role`; empty where there is none."""
        position = self.role.get(role)
        return "" if position is None else row[position]


def find_table(lines: list[str]) -> Table | None:
    """The table that begins with the first line of column names, or None if there is none."""
    filled = [number for number, line in enumerate(lines[:_PREAMBLE_LINES], 1) if line]
    stages_alone = None
    for number in filled:
        line = lines[number - 1]
        for delimiter in [mark for mark in _DELIMITERS if mark in line] or [","]:
            if len(line) < 10_000 and (table := _header(line, number, delimiter)):
                if table.role.keys() & {"onset", "epoch", "duration"}:
                    return _with_what_stands_around(table, lines)
                alone = number == filled[0] and not table.role.keys() - {"stage", "scorer"}
                if alone and not _holds_stages(line, delimiter, len(filled)):
                    stages_alone = stages_alone or table  # unless it is the title of what follows
    if stages_alone is not None:
        return _with_what_stands_around(stages_alone, lines)
    for number in filled:  # last, as any sentence has spaces
        line = lines[number - 1]
        if len(line) < 1000 and (table := _header(line, number, _SPACES)):
            known = all(name in _ROLES for name in table.names)
            if known and table.role.keys() & {"onset", "epoch", "duration"}:
                return _with_what_stands_around(table, lines)
    return _without_header(lines, filled[0]) if filled else None


def _with_what_stands_around(table: Table, lines: list[str]) -> Table:
    """The table with the origin of its times from above it, and with the names of rows that R
    writes in front of each and not in the header: "1", "2", …"""
    origins = [found[1] for line in lines[: table.line - 1] if (found := _ORIGIN.fullmatch(line))]
    table = dataclasses.replace(table, origin=origins[-1] if origins else "")
    try:
        below = [line for line in lines[table.line : table.line + 50] if line][:3]
        rows = [cells_of(line[:10_000], table.delimiter) for line in below]
    except csv.Error:
        return table  # who reads the rows says which
    if not rows or [row[0].strip() for row in rows] != [str(k + 1) for k in range(len(rows))]:
        return table
    if not all(len(row) == table.width + 1 and row[-1].strip() for row in rows):
        return table
    return dataclasses.replace(
        table,
        width=table.width + 1,
        role={name: position + 1 for name, position in table.role.items()},
        by_scorer={name: position + 1 for name, position in table.by_scorer.items()},
        names=("", *table.names),
    )


def _holds_stages(line: str, delimiter: str, count: int) -> bool:
    """Whether what may be the only header of `count` lines is a stage, or all stages in one line.

    "Sleep stage 1" is; "stage 1;stage 2" above other lines are two scorers' columns.
    """
    cells = [cell for cell in cells_of(line, delimiter) if cell.strip()]
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
    if len(cells) != 3 or not all(map(SECONDS.fullmatch, cells[:2])) or not find_word(cells[2]):
        return None
    return Table(first - 1, ",", 3, {"onset": 0, "duration": 1, "stage": 2}, {})


def _header(line: str, number: int, delimiter: str) -> Table | None:
    try:  # NumPy and MNE-Python begin a header with "# "
        cells = cells_of(line.removeprefix("# "), delimiter)
        names = [fold(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name[:200])) for name in cells]
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


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of a line that is a row of its own."""
    if delimiter == _SPACES:
        line = " ".join(line.split())
    if '"' not in line:
        return line.split(delimiter)
    return next(csv.reader([line], delimiter=delimiter, strict=True, skipinitialspace=True))


def _is_stage_column(name: str) -> bool:
    what = _ROLES.get(name, ("", 0))[0]
    return what == "stage" or (not what and bool(_BY_SCORER.fullmatch(name)))
