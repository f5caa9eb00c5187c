"""Staged nights made by hand."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np

from input_pipeline.stages import STAGES
from sacd_jax.staging.staged_night import StagedNight

EPOCHS_AN_HOUR = 120


def staged(stages: Sequence[str], sure: float = 0.9, **more: Any) -> StagedNight:
    """A night with these stages, each with the probability `sure`; "" is an epoch without one."""
    probabilities = np.full((len(stages), 5), np.nan, np.float32)
    for epoch, name in enumerate(stages):
        if name:
            probabilities[epoch] = (1 - sure) / 4
            probabilities[epoch, STAGES.index(name)] = sure
    defaults: dict[str, Any] = {
        "reasons": tuple("" if name else "missing frames" for name in stages),
        "movement": np.linspace(1, 2, len(stages), dtype=np.float32),
        "breaths_a_minute": np.full(len(stages), 14, np.float32),
        "start": datetime(2024, 3, 5, 22, 57, 40, 250000),
        "clock": "given",
    }
    return StagedNight(probabilities, **(defaults | more))
