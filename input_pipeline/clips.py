"""One recorded night -> aligned clips of 30 s: frames, EEG samples and stage on one clock."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.stages import CLIP_SECONDS


@dataclass(frozen=True)
class ClipSettings:
    """What a clip holds.

    Frames are taken at k / frame_rate seconds of each clip, k = 0 … frame_rate * 30 - 1.
    """

    frame_rate: float = 2.0
    """Frames kept a second."""
    height: int = 128
    width: int = 171
    eeg_rate: float = 125.0
    """Samples of EEG a second."""
    max_missing: float = 0.1
    """Share of its frames a clip may lack; beyond it the clip is dropped."""

    def __post_init__(self) -> None:
        for name, per_clip in (("frame_rate", self.frames), ("eeg_rate", self.samples)):
            rate = getattr(self, name)
            if not (rate > 0 and per_clip >= 1 and abs(per_clip - rate * CLIP_SECONDS) < 1e-6):
                raise UserError(f"{name} {rate}: expected a whole number of values in {CLIP_SECONDS:g} s")
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise UserError(f"frame size {self.height}x{self.width}: expected 1 to 4096 pixels")
        if not 0 <= self.max_missing < 1:
            raise UserError(f"max_missing {self.max_missing}: expected 0 to less than 1")

    @property
    def frames(self) -> int:
        """Frames in a clip."""
        return round(self.frame_rate * CLIP_SECONDS)

    @property
    def samples(self) -> int:
        """EEG samples in a clip."""
        return round(self.eeg_rate * CLIP_SECONDS)


class Clips(Iterator[dict[str, Any]]):
    """The clips of one night in order; `counts` says how many were kept and why others were left out."""

    def __init__(self, night: Night, settings: ClipSettings):
        self.night, self.settings = night, settings
        self.counts: dict[str, int] = {"kept": 0}
        self._records = iter(())

    def __next__(self) -> dict[str, Any]:
        return next(self._records)


def clips(night: Night, settings: ClipSettings | None = None) -> Clips:
    """Iterates over the aligned clips of a night.

    Each record holds `video` uint8 [frames, height, width, 1], `eeg` float32 [samples] in microvolt, `stage` (int, -1
    unknown), `subject_id`, `night_id` and `clip_index` (the clip's position on the night's 30-s grid: it jumps where
    clips were left out).

    Raises:
        UserError: a file of the night cannot be used; the line names the night.
    """
    return Clips(night, settings or ClipSettings())
