"""Units of voltage as writers of EDF files spell them, and whether an EEG has an EEG's size."""

import re

import numpy as np
from jaxtyping import Float32

from input_pipeline.errors import UserError
from input_pipeline.foreign_text import describe
from input_pipeline.night import PSG_UNITS

UNITS = dict(zip(PSG_UNITS, (1e-3, 1.0, 1e3, 1e6), strict=True))
"""Microvolts in each unit that a manifest may name."""

PLAUSIBLE_MICROVOLT = (1.0, 300.0)
"""Typical size of an EEG; outside it the unit in the header is probably wrong."""

# DREAMS writes UV and MV: case means nothing here.
_MICROVOLTS = {unit.lower(): factor for unit, factor in UNITS.items()}
_PREFIXES = {"": "", "nano": "n", "micro": "u", "milli": "m", "n": "n", "u": "u", "m": "m"}
_OTHERS = ("%", "degc", "deg", "bpm", "mmhg", "cmh2o", "ohm", "kohm", "hz", "s", "l/min", "db", "g")
# Greek mu and the micro sign, also as UTF-8 or Shift JIS that was taken for Latin-1.
_MU = re.compile("^(?:\u03bc|\u00b5|\u00c2\u00b5|\u00ce\u00bc|\x83\xca)")


def microvolts(unit: str) -> float | None:
    """Microvolts in one `unit`: "uV", "mV", "µV", "microvolt", …; None if it is none of volts."""
    word = re.sub(r"[\s\[\]()]", "", _MU.sub("u", unit.strip().strip("[]() "))).lower()
    word = word.rstrip(".")  # not in front, where ".V" is a micro sign that was lost
    if word in _MICROVOLTS:
        return _MICROVOLTS[word]
    long = re.fullmatch("(nano|micro|milli|[num]?)-?v(?:olts?)?", word)
    return _MICROVOLTS[_PREFIXES[long[1]] + "v"] if long else None


def signal_scale(unit: str, override: str, *, name: str, channel: str) -> float:
    """Factor that turns the numbers of a channel into microvolt.

    Args:
        unit: as the header states it.
        override: as the manifest states it (a key of `UNITS`), which wins; or "".
        name: what errors call the recording (a night_id).
        channel: what errors call the channel.

    Raises:
        UserError: the unit is none of volts and the manifest names none.
    """
    if override:
        return UNITS[override]
    factor = microvolts(unit)
    if factor is None:
        found = repr(unit) if unit.lower() in _OTHERS else describe(unit)
        raise UserError(
            f"night {name}: {channel} has the unit {found}; expected uV, mV or V (the manifest "
            "column psg_unit names it where the header does not)"
        )
    return factor


def size_note(samples: Float32[np.ndarray, " n"]) -> str | None:
    """What to say of a signal (microvolt, NaN in gaps) that is too large or small for an EEG."""
    present = samples[:: max(1, len(samples) // 1_000_000)]
    present = present[np.isfinite(present)]
    if not len(present):
        return None
    # The middle half, so that electrodes that fall off for an hour do not speak for the night.
    low, high = np.percentile(present, (25, 75))
    size = (high - low) / 1.349
    if PLAUSIBLE_MICROVOLT[0] <= size <= PLAUSIBLE_MICROVOLT[1]:
        return None
    digits = ".2g" if size < 10 else ".0f"
    return (
        f"a typical size of {size:{digits}} µV, which is not that of an EEG; check the channel and "
        "its unit (the manifest column psg_unit overrides that of the header)"
    )
