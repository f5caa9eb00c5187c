"""Sleep stages: their names, order and views. The one place that knows them."""

import numpy as np

STAGES = ("W", "N1", "N2", "N3", "REM")
"""AASM stages in label order: the integer of a stage is its position here."""

UNKNOWN = -1
"""Label of a clip nobody scored; kept in the night, left out of loss, banks and metrics."""

CLIP_SECONDS = 30.0
"""Length of one scored clip (the sleep field's epoch)."""

# Coarser views others in the field report: new label of each of the five stages.
VIEWS: dict[int, tuple[tuple[str, ...], tuple[int, ...]]] = {
    5: (STAGES, (0, 1, 2, 3, 4)),
    4: (("W", "Light", "Deep", "REM"), (0, 1, 1, 2, 3)),
    3: (("W", "NREM", "REM"), (0, 1, 1, 1, 2)),
    2: (("W", "Sleep"), (0, 1, 1, 1, 1)),
}
"""Number of classes -> (class names, class of each stage)."""

AHI_GROUPS = ("normal", "mild", "moderate", "severe")
"""Apnoea severity by AHI, events an hour: < 5, 5 to < 15, 15 to 30, > 30 (paper, Fig. 8)."""


def ahi_group(ahi: float) -> int:
    """Index into `AHI_GROUPS` of an apnoea-hypopnoea index in events an hour."""
    if not np.isfinite(ahi) or ahi < 0:
        raise ValueError(f"AHI {ahi!r} is not a number of events an hour (expected >= 0)")
    if ahi < 5:
        return 0
    if ahi < 15:
        return 1
    return 2 if ahi <= 30 else 3
