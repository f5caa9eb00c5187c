"""What a stager says of one night, epoch by epoch."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32

from input_pipeline.stages import CLIP_SECONDS, STAGES, UNKNOWN, VIEWS

LOW_CONFIDENCE = 0.5
"""An epoch whose most likely stage has less than this probability is marked."""


@dataclass(frozen=True)
class StagedNight:
    """The stages of a night in epochs of 30 s from the start of its video.

    Attributes:
        probabilities: of the five stages, f32 [epochs, 5]; NaN in an epoch that is not scored.
        reasons: why an epoch is not scored; "" where it is.
        movement: mean change between frames half a second or so apart, grey levels of 255; NaN
            where there is no picture.
        breaths_a_minute: rate of the strongest rhythm of breathing, NaN where none stands out.
        start: local clock time of the first epoch; None: not known.
        clock: where the start is known from; "" if it is not.
        notes: what is odd about the video, one line each.
        model: facts about the network and how it was trained and tested, as plain JSON.
    """

    probabilities: Float32[np.ndarray, "epochs 5"]
    reasons: tuple[str, ...]
    movement: Float32[np.ndarray, " epochs"]
    breaths_a_minute: Float32[np.ndarray, " epochs"]
    start: datetime | None = None
    clock: str = ""
    notes: tuple[str, ...] = ()
    model: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.reasons)

    @property
    def scored(self) -> np.ndarray:
        """Whether each epoch has a stage, bool [epochs]."""
        return np.array([not reason for reason in self.reasons], bool)

    @property
    def stage(self) -> Int32[np.ndarray, " epochs"]:
        """The most likely stage of each epoch, -1 where it is not scored."""
        likely = np.nan_to_num(self.probabilities, nan=-1.0).argmax(-1)
        return np.where(self.scored, likely, UNKNOWN).astype(np.int32)

    @property
    def confidence(self) -> Float32[np.ndarray, " epochs"]:
        """Probability of that stage, NaN where it is not scored."""
        return np.where(self.scored, np.nan_to_num(self.probabilities).max(-1), np.nan)

    @property
    def low_confidence(self) -> np.ndarray:
        """Whether an epoch has a stage that is less likely than not, bool [epochs]."""
        return self.scored & (np.nan_to_num(self.confidence, nan=1.0) < LOW_CONFIDENCE)

    def view(self, classes: int) -> tuple[tuple[str, ...], np.ndarray]:
        """Names and labels of the most likely of 5, 4, 3 or 2 classes; probabilities are added up.

        Returns:
            names of the classes, and the label of each epoch, -1 where it is not scored.
        """
        names, class_of = VIEWS[classes]
        summed = np.zeros((len(self), len(names)), np.float64)
        for stage, label in enumerate(class_of):
            summed[:, label] += np.nan_to_num(self.probabilities[:, stage])
        return names, np.where(self.scored, summed.argmax(-1), UNKNOWN)

    def onset_s(self, epoch: int) -> float:
        """Seconds from the start of the video."""
        return epoch * CLIP_SECONDS

    def clock_time(self, epoch: int) -> datetime | None:
        """Local clock time at which an epoch begins, where it is known."""
        return None if self.start is None else self.start + timedelta(seconds=self.onset_s(epoch))


def stage_name(label: int) -> str:
    """Name of a stage's label; "not scored" for -1."""
    return STAGES[label] if label >= 0 else "not scored"
