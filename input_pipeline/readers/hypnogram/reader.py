"""Opens a night's hypnogram, whichever dialect it is in, and lays its stages on the grid."""

import dataclasses
import re
from pathlib import Path

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import read_text
from input_pipeline.night import NOBODY, Night
from input_pipeline.readers.hypnogram.annotations import read_annotated
from input_pipeline.readers.hypnogram.grid import Hypnogram, grid
from input_pipeline.readers.hypnogram.lines import read_lines, split_lines
from input_pipeline.readers.hypnogram.psg import PsgTime, psg_time
from input_pipeline.readers.hypnogram.scored import MAX_STAGES, Scored, Source, named_scheme
from input_pipeline.readers.hypnogram.scorers import believed
from input_pipeline.readers.hypnogram.table import read_table
from input_pipeline.readers.hypnogram.table_header import check_is_no_table, find_table
from input_pipeline.readers.hypnogram.wfdb import is_rdann, read_rdann
from input_pipeline.readers.hypnogram.xml import read_xml
from input_pipeline.readers.hypnogram.yasa import read_yasa
from input_pipeline.stages import CLIP_SECONDS, UNKNOWN

_EXCEL_MARK = re.compile(r'"?sep=.?"?', re.IGNORECASE)
"""First line by which a spreadsheet is told what separates the cells."""
_JSON_LIST = re.compile(r'\[\s*[-"{\d]')
_EDF_STARTS = (b"0       ", b"\xffBIOSEMI")


def read_hypnogram(night: Night) -> Hypnogram:
    """Reads the scored stages of a night; -1 all through its PSG if nobody scored it.

    Raises:
        UserError: no stages, words or numbers that are not understood, several scorers and none
            chosen, or a scoring that does not fit the PSG.
    """
    if not night.scored:
        return _unscored(night)
    path = night.hypnogram or night.psg_files[0]
    source = Source(night, _psg_time(night), named_scheme(night))
    scored = read_annotated(path, source) if _is_edf(path, night) else _read_text(path, source)
    spans = believed(scored.scorings, night, night.hypnogram_epoch_s)
    hypnogram = grid(spans, name=night.night_id)
    if hypnogram.mixed and not (hypnogram.stage >= 0).any():
        raise UserError(
            f"night {night.night_id}: no 30 s have one stage all through; do the stages last as "
            "long as the hypnogram says, in seconds?"
        )
    notes = dict.fromkeys((*scored.notes, *source.notes))  # of several scorers often the same
    return dataclasses.replace(hypnogram, notes=tuple(notes))


def _unscored(night: Night) -> Hypnogram:
    if night.hypnogram is not None:
        raise UserError(
            f"night {night.night_id}: scorer is {NOBODY!r}, but the manifest names a hypnogram; "
            "expected one of them"
        )
    clips = int(psg_time(night).seconds // CLIP_SECONDS)
    return Hypnogram(np.arange(clips) * CLIP_SECONDS, np.full(clips, UNKNOWN, np.int8))


def _psg_time(night: Night) -> PsgTime | None:
    try:
        found = psg_time(night)
    except UserError:
        return None  # who reads the signals says what is wrong with the PSG
    return found if found.seconds > 0 else None


def _is_edf(path: Path, night: Night) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(8) in _EDF_STARTS
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file name"
        raise UserError(
            f"night {night.night_id}: the hypnogram cannot be read ({reason})"
        ) from None


def _read_text(path: Path, source: Source) -> Scored:
    what = f"night {source.night.night_id}: the hypnogram is neither EDF+ nor readable text"
    text = read_text(path, what, any_encoding=True)
    begin = text[:1000].lstrip()
    if begin.startswith("<"):
        return read_xml(text, source)
    if begin.startswith("{") or _JSON_LIST.match(begin):
        return read_yasa(text, source)
    if text.count("\n") + text.count("\r") > 2 * MAX_STAGES:
        raise UserError(f"{source.name}: more than {MAX_STAGES} lines")
    lines = split_lines(text)
    if is_rdann(lines[0]):
        return read_rdann(lines, source)
    marked = _EXCEL_MARK.fullmatch(lines[0]) is not None
    table = find_table(["", *lines[1:]] if marked else lines)
    if table is not None:
        return read_table(table, lines, source)
    check_is_no_table(lines, source)
    return read_lines(lines, source)
