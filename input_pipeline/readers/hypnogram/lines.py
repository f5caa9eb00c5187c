"""Stages without a table: one a line, all in one line, Elan's `.hyp`, Visbrain's stage and
duration.

- One stage a line, or all in one line with commas, semicolons, tabs or spaces: the first begins
  with the PSG, an empty line or cell between others is an unscored epoch. Luna's `.eannot` is such
  a file.
- Elan's `.hyp` as Visbrain writes it (visbrain/io/rw_hypno.py in EtienneCmb/visbrain): four lines
  `time_base`, `sampling_period`, `epoch_nb`, `epoch_list`, then one number for every `time_base`
  seconds: -2 and -1 unknown, 0 W, 1 N1, 2 N2, 3 and 4 N3, 5 REM.
- Visbrain's text in stage-duration encoding (the same file): lines that begin with `*` say
  something about the recording, all others are a word and the second at which the stage ends.
"""

import itertools
import re

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.grid import Span
from input_pipeline.readers.hypnogram.scored import MAX_STAGES, Scored, Source
from input_pipeline.readers.hypnogram.vocabulary import SCHEMES, find_word, is_number, text_stage
from input_pipeline.stages import UNKNOWN

_EMPTY = ("", "-", '""')
_DREAMS_TITLE = re.compile(r"\[hypnogram[a-z&]{0,10}\]", re.IGNORECASE)
"""First line of the files of the DREAMS databases, such as "[HypnogramAASM]"."""
_STAGE_END = re.compile(r"(?P<word>\S(?:.{0,40}\S)?)[\t ,;]+(?P<end>\d{1,9}(?:\.\d{0,9})?)")


def split_lines(text: str) -> list[str]:
    """The lines of a text, stripped; what other characters break lines elsewhere does not count."""
    *ended, last = text.split("\n")
    pieces = [*(piece.rstrip("\r") for piece in ended), last]
    return [line.strip() for piece in pieces for line in piece.split("\r")]


def read_lines(lines: list[str], source: Source) -> Scored:
    """Reads a file without a table's header; see the module for the dialects.

    Raises:
        UserError: a line that is no stage, or nothing at all.
    """
    title = int(bool(lines and _DREAMS_TITLE.fullmatch(lines[0])))
    lines = lines[title:]
    filled = [number for number, line in enumerate(lines, 1) if line]
    if not filled:
        raise UserError(f"{source.name}: the file is empty")
    first, last = filled[0], filled[-1]
    if lines[first - 1].split()[0] == "time_base":
        return Scored({"": _elan(lines, filled, source)})
    if any(line.startswith("*") for line in lines) or _ends_with_psg(lines, source):
        return Scored({"": _stage_ends(lines, source)})
    if len(filled) == 1:
        return Scored({"": _one_line(lines[first - 1], first, source)})
    if len(filled) > 3 and all(b - a == 2 for a, b in itertools.pairwise(filled)):
        raise UserError(
            f"{source.name}: every second line is empty, so it is open whether that epoch is "
            "unscored; expected one stage a line"
        )
    stages = [
        UNKNOWN if line in _EMPTY else source.stage(line, f"{source.name} line {k}")
        for k, line in enumerate(lines[:last], 1 + title)
    ]
    notes = []
    if first > 1:
        notes.append(f"{first - 1} empty lines before the first stage are unscored epochs")
    return Scored({"": source.sequence(stages)}, notes)


def _one_line(line: str, number: int, source: Source) -> list[Span]:
    mark = next((mark for mark in ",;\t" if mark in line), None)
    if line.count(mark or " ") > MAX_STAGES:
        raise UserError(f"{source.name}: more than {MAX_STAGES} stages in a line")
    cells = [cell.strip() for cell in (line.split(mark) if mark else [line])]
    if len(cells) == 1 and find_word(line) is None and all(map(_may_be_stage, line.split())):
        cells = line.split()
    while cells and not cells[-1]:
        cells.pop()  # a mark at the end of the line
    where = f"{source.name} line {number}"
    return source.sequence(
        [
            UNKNOWN if cell in _EMPTY else source.stage(cell, f"{where}, value {k}")
            for k, cell in enumerate(cells, 1)
        ]
    )


def _may_be_stage(cell: str) -> bool:
    return find_word(cell) is not None or is_number(cell)


def _elan(lines: list[str], filled: list[int], source: Source) -> list[Span]:
    header: dict[str, str] = {}
    for number in filled[:4]:
        key, *value = lines[number - 1].split()
        header[key] = value[0] if value else ""
    if "epoch_list" not in header:
        raise UserError(f"{source.name}: time_base but no epoch_list; a damaged .hyp file?")
    seconds, count = (header.get(key, "") for key in ("time_base", "epoch_nb"))
    if not re.fullmatch(r"\d{1,4}(\.\d{1,9})?", seconds) or not re.fullmatch(r"\d{1,7}", count):
        raise UserError(f"{source.name}: time_base or epoch_nb is not a number")
    values = filled[len(header) :]
    inner = values[-1] - values[0] + 1 if values else 0
    if abs(len(values) - int(count)) > 1 or inner != len(values):  # Visbrain may round down
        raise UserError(
            f"{source.name}: {len(values)} values, and epoch_nb says {int(count)}; cut off?"
        )
    scheme = source.scheme or SCHEMES["elan"]
    stages = [
        text_stage(lines[number - 1], scheme, f"{source.name} line {number}") for number in values
    ]
    return source.sequence(stages, stated=float(seconds))


def _stage_and_end(line: str) -> re.Match[str] | None:
    return _STAGE_END.fullmatch(line) if len(line) < 100 else None


def _ends_with_psg(lines: list[str], source: Source) -> bool:
    """Whether all lines are a word and a second, these increase, and the last is the PSG's end."""
    found = [_stage_and_end(line) for line in lines if line]
    if source.psg is None or not all(found):
        return False
    ends = [float(match["end"]) for match in found if match]
    rising = all(a < b for a, b in itertools.pairwise([0.0, *ends]))
    return rising and abs(ends[-1] - source.psg.seconds) <= 30


def _stage_ends(lines: list[str], source: Source) -> list[Span]:
    spans, begin = [], 0.0
    for number, line in enumerate(lines, 1):
        if not line or line.startswith("*"):
            continue
        found = _stage_and_end(line)
        if found is None or float(found["end"]) <= begin:
            problem = "not a stage and the second of its end"
            if found:
                problem = "the stage ends before it begins"
            raise UserError(f"{source.name} line {number}: {problem}")
        end = float(found["end"])
        stage = source.stage(found["word"], f"{source.name} line {number}")
        spans.append((begin, end - begin, stage))
        begin = end
    return spans
