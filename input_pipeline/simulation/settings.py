"""Settings of the simulator, and the random streams it draws from."""

import math
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.stages import CLIP_SECONDS

VERSION = 1
"""Incremented when the same settings come to mean different nights."""

ID_PREFIX = "sim"


@dataclass(frozen=True)
class SimulationSettings:
    """Settings of the simulator. The same settings give the same files.

    Night i depends on the seed and on i alone, so more nights can be added to a folder later.
    """

    nights: int = 24
    """Number of nights, each of its own subject; the four AHI groups take turns."""
    hours: float = 1.0
    """Length of a window, cut from its night at random; 0 records the whole night (about 8 h)."""
    windows: int = 1
    """Windows per night, without overlap; each becomes a recording with its own files."""
    height: int = 48
    width: int = 64
    frame_rate: float = 2.0
    """Frames per second of the MP4."""
    seed: int = 0
    eeg_rate: int = 125
    """Sampling rate of both EEG channels in Hz; the other channels have lower ones."""
    difficulty: float = 0.5
    """Spread of EEG band powers and graphoelements between subjects and clips; 0 is a textbook."""
    label_noise: float = 0.6
    """How often the scorer is wrong, relative to two human scorers' disagreement (kappa 0.76)."""
    video_spread: float = 0.6
    """Spread of breathing and movement between subjects and clips; 0 makes stages obvious."""
    wake_hours: float = 0.0
    """Wake added after the night's last sleep; hospitals that record 10 h have 2 to 3 of them."""
    crf: int = 23
    """Quality of the H.264 video at up to 5 frames per second; above 25 it loses breathing.
    Higher frame rates are encoded better, see `encoder_crf`."""
    dropped_frames: float = 0.001
    """Share of frames the camera loses; the MP4 has gaps in their place."""

    def __post_init__(self) -> None:
        checks = (
            ("nights", self.nights >= 1, "1 or more"),
            ("hours", self.hours == 0 or 0.05 <= self.hours <= 6, "0 (whole night) or 0.05 to 6"),
            ("windows", self.windows >= 1, "1 or more"),
            ("windows", self.hours > 0 or self.windows == 1, "1 when whole nights are recorded"),
            ("windows", self.hours * self.windows <= 6, "windows of at most 6 h in all"),
            ("height", self.height >= 32 and self.height % 2 == 0, "an even number from 32"),
            ("width", self.width >= 32 and self.width % 2 == 0, "an even number from 32"),
            ("frame_rate", 0.5 <= self.frame_rate <= 60, "0.5 to 60 frames per second"),
            ("seed", self.seed >= 0, "0 or more"),
            ("eeg_rate", 100 <= self.eeg_rate <= 1000, "100 to 1000 Hz"),
            ("difficulty", 0 <= self.difficulty <= 2, "0 to 2"),
            ("label_noise", 0 <= self.label_noise <= 2, "0 to 2"),
            ("video_spread", 0 <= self.video_spread <= 3, "0 to 3"),
            ("wake_hours", 0 <= self.wake_hours <= 4, "0 to 4"),
            ("crf", 0 <= self.crf <= 51, "0 to 51"),
            ("dropped_frames", 0 <= self.dropped_frames <= 0.5, "0 to 0.5"),
        )
        for name, right, expected in checks:
            if not right:
                value = getattr(self, name)
                raise UserError(f"simulation setting {name}: found {value!r}, expected {expected}")

    @property
    def window_clips(self) -> int:
        """Clips of one window; 0 when whole nights are recorded."""
        return round(self.hours * 3600 / CLIP_SECONDS)

    @property
    def encoder_crf(self) -> float:
        """The CRF that the encoder is given.

        At 25 frames per second, breathing moves so little between frames that H.264 discards it as
        noise at a CRF that preserves it well at 5 (docs/simulator.md).
        """
        return max(self.crf - 2.5 * max(math.log2(self.frame_rate / 5), 0), 0)

    def identity(self) -> dict[str, Any]:
        """The settings that decide what a night is; all but `nights`, which may grow."""
        values = {"version": VERSION, **asdict(self)}
        del values["nights"]
        return values


def stream(seed: int, night: int, name: str) -> np.random.Generator:
    """The random stream of one part of one night.

    Each part has its own, so that a change in the video leaves every EEG sample as it was.
    """
    return np.random.default_rng([seed, night, zlib.crc32(name.encode())])
