"""PhysioNet's `rdann` text, as beside Sleep-EDF in the WFDB format: sample numbers, and
"Sleep_stage_2 duration: 390" in the last column."""

import re

from input_pipeline.errors import UserError
from input_pipeline.readers.hypnogram.scored import Scored, Source
from input_pipeline.readers.hypnogram.vocabulary import shown, word_stage

_RATE = re.compile(r"## time resolution: (\d{1,9}(?:\.\d{1,9})?)$")
_STAGE = re.compile(
    r"\[[^\]]{0,40}\]\s+(\d{1,15})\s.{0,100}\t(\S{1,60}) duration: (\d{1,9}(?:\.\d{1,9})?)$"
)


def is_rdann(line: str) -> bool:
    """Whether a file's first line is the header of `rdann`."""
    return "Sample #" in line[:200] and "Aux" in line[:200]


def read_rdann(lines: list[str], source: Source) -> Scored:
    """Reads the text of `rdann`.

    Raises:
        UserError: a word that is no stage, no time resolution, or no stages.
    """
    rate = 0.0
    spans = []
    for number, line in enumerate(lines, 1):
        line = line[:1000]
        if found := _RATE.search(line):
            rate = float(found[1])
        if not (found := _STAGE.match(line)):
            continue
        where = f"{source.name} line {number}"
        stage = word_stage(found[2])
        if stage is None:
            raise UserError(f"{where}: {shown(found[2])} is no sleep stage that is known")
        if not rate:
            raise UserError(f"{where}: no time resolution before the first stage")
        spans.append((int(found[1]) / rate, float(found[3]), stage))
    if not spans:
        raise UserError(f"{source.name}: no sleep stages in the text of rdann")
    return Scored({"": spans})
