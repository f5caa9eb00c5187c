"""When a video began, by its name."""

import re
from datetime import datetime
from pathlib import Path

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_EDF_VIDEO_NAME = re.compile(
    r".*_(\d{2})-([A-Za-z]{3})-(\d{4})_(\d{2})[Hh](\d{2})[Mm](\d{2})(?:\.(\d{1,6}))?[Ss]_Video\.[A-Za-z0-9]+"
)
_DIGITS = re.compile(
    r"(?<!\d)((?:19|20)\d\d)([-_.]?)(\d\d)\2(\d\d)(?:[-_. T@]{0,3}| at )"
    r"(\d\d)([-_.:hH]?)(\d\d)(?:\6|[mM])?(\d\d)(?:[.,]?(\d{3}))?[sS]?(?!\d)"
    r"(?P<half>[ \u202f]?[AaPp][Mm](?![A-Za-z]))?(?P<zone>Z(?![A-Za-z])|[+]\d\d:?\d\d(?!\d))?"
)


def start_from_name(path: Path) -> datetime | None:
    """Start time in a video's name by the EDF video specification, None for other names.

    `<ID>_DD-MMM-YYYY_HHhMMmSS.fffs_Video.<ext>` (edfplus.info/specs/video.html; Kemp & Roessen,
    Sleep 2013;36:1111).
    """
    found = _EDF_VIDEO_NAME.fullmatch(path.name)
    if not found or found[2].upper() not in _MONTHS:
        return None
    month = _MONTHS.index(found[2].upper()) + 1
    return _moment(found[3], month, found[1], found[4], found[5], found[6], found[7])


def start_from_digits(path: Path) -> datetime | None:
    """Date and time in a video's name as recorders write them, year first, None if there is none.

    Such as `cam1_20240305_225740.mp4`, `2024-03-05 22-57-40.mkv`, `20240305225740123.ts`. Where a
    name holds two, the second is the end.
    """
    for found in _DIGITS.finditer(path.stem):
        hour, half = found[5], (found["half"] or "").strip().upper()
        if half and 1 <= int(hour) <= 12:
            hour = str(int(hour) % 12 + 12 * (half == "PM"))
        moment = _moment(found[1], found[3], found[4], hour, found[7], found[8], found[9])
        if moment is not None:
            return moment
    return None


def states_zone(path: Path) -> bool:
    """Whether the digits in a video's name are followed by Z or a difference to UTC."""
    return any(found["zone"] for found in _DIGITS.finditer(path.stem))


def _moment(
    year: str, month: str | int, day: str, hour: str, minute: str, second: str, fraction: str | None
) -> datetime | None:
    numbers = (int(text) for text in (year, month, day, hour, minute, second))
    try:
        return datetime(*numbers, int((fraction or "").ljust(6, "0")))  # pyrefly: ignore
    except ValueError:
        return None
