"""Names of the files of a staged night, and whether those in a folder are such files."""

import json
from pathlib import Path
from typing import Any

from input_pipeline.errors import UserError

PAGE, STATISTICS, PICTURE = "report.html", "statistics.json", "hypnogram.png"
TABLE, EDF, EDFBROWSER = "hypnogram.csv", "hypnogram.edf", "hypnogram_edfbrowser.csv"
BIDS, BIDS_COLUMNS, YASA = "night_hypnogram.tsv", "night_hypnogram.json", "hypnogram_yasa.json"
ALL = (STATISTICS, TABLE, EDF, EDFBROWSER, BIDS, BIDS_COLUMNS, YASA, PICTURE, PAGE)
"""In the order in which they are written: the first says what the others are."""


def statistics(folder: Path) -> dict[str, Any]:
    """The statistics in a folder; {} where there are none that can be read."""
    try:
        found = json.loads((folder / STATISTICS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def refuse_others(folder: Path) -> None:
    """Refuses to write over files that no staging wrote, such as a scoring called hypnogram.csv.

    Raises:
        UserError: names the first of them.
    """
    if "doubts" in statistics(folder) or (folder / YASA).exists():
        return
    there = [name for name in ALL if (folder / name).exists()]
    if there:
        raise UserError(
            f"{folder}: holds a {there[0]} that is not of a staged night, and would be written "
            "over; expected a folder for the results alone"
        )
