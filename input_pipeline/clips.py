"""One recorded night -> aligned clips of 30 s: frames, EEG samples and stage on one clock."""

from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8

from input_pipeline.checks import compare_times, hypnogram_notes, signal_notes, video_notes
from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.edf import Signal, read_signal, resample
from input_pipeline.readers.filters import filtered
from input_pipeline.readers.hypnogram import Hypnogram, read_hypnogram
from input_pipeline.readers.sync import Clock, open_night_video, rate_note, video_start
from input_pipeline.readers.sync import clock as night_clock
from input_pipeline.readers.video import VideoReader, VideoRecording
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
    eeg_band_hz: tuple[float, float] | None = None
    """Band-pass of the EEG in Hz, such as (0.3, 35); None: as it was recorded."""
    eeg_notch_hz: float | None = None
    """Frequency of the mains to take out of the EEG; None: none."""
    max_missing: float = 0.1
    """Share of its frames a clip may lack; beyond it the clip is left out."""
    max_uncovered: float = 0.1
    """Share of a night's scored clips that may begin before or end after the video; beyond it (and
    beyond two minutes) the night is refused, since its video is cut off or a clock is wrong."""

    def __post_init__(self) -> None:
        for name in ("frame_rate", "eeg_rate"):
            per_clip = getattr(self, name) * CLIP_SECONDS
            if not 1 <= per_clip <= 1e6 or abs(per_clip - round(per_clip)) > 1e-6:
                raise UserError(
                    f"{name} {getattr(self, name)}: expected a whole number of values in "
                    f"{CLIP_SECONDS:g} s"
                )
        band = self.eeg_band_hz
        if band is not None and not (len(band) == 2 and 0 < band[0] < band[1] < self.eeg_rate / 2):
            raise UserError(
                f"eeg_band_hz {self.eeg_band_hz}: expected two rising frequencies between 0 and "
                f"{self.eeg_rate / 2:g} Hz"
            )
        if self.eeg_notch_hz is not None and not 0 < self.eeg_notch_hz < self.eeg_rate / 2:
            raise UserError(
                f"eeg_notch_hz {self.eeg_notch_hz}: expected 0 to {self.eeg_rate / 2:g} Hz"
            )
        if not (1 <= self.height <= 4096 and 1 <= self.width <= 4096):
            raise UserError(f"frame size {self.height}x{self.width}: expected 1 to 4096 pixels")
        for name in ("max_missing", "max_uncovered"):
            if not 0 <= getattr(self, name) < 1:
                raise UserError(f"{name} {getattr(self, name)}: expected 0 to less than 1")

    def identity(self) -> dict[str, Any]:
        """What determines a clip; a filter that is off is not mentioned."""
        return {key: value for key, value in asdict(self).items() if value is not None}

    @property
    def frames(self) -> int:
        """Frames in a clip."""
        return round(self.frame_rate * CLIP_SECONDS)

    @property
    def channels(self) -> int:
        """Colours of a frame: infrared is grey."""
        return 1

    @property
    def samples(self) -> int:
        """EEG samples in a clip."""
        return round(self.eeg_rate * CLIP_SECONDS)


class Clips(Iterator[dict[str, Any]]):
    """The clips of one night in order; `counts` says how many were kept and why others were left
    out.

    Keys of `counts`: kept, and where there are any: outside PSG, gap in PSG, outside video, missing
    frames.
    """

    def __init__(self, night: Night, settings: ClipSettings):
        self.night, self.settings = night, settings
        self.counts: Counter[str] = Counter(kept=0)
        self.notes: list[str] = []
        """What a user should know of the files, one line each."""
        self.clock_source: str | None = None
        """Where the start of the video is known from (`sync.video_start`), once it is."""
        self._records = self._read()

    def __next__(self) -> dict[str, Any]:
        return next(self._records)

    def close(self) -> None:
        """Closes the files before the last clip."""
        self._records.close()

    def _read(self) -> Generator[dict[str, Any]]:
        night, settings = self.night, self.settings
        if night.video is None:
            raise UserError(f"night {night.night_id}: the manifest names no video; clips need one")
        signal = read_signal(night.psg, night.psg_channel, name=night.night_id, unit=night.psg_unit)
        self.notes += signal_notes(signal)
        signal = resample(signal, settings.eeg_rate, name=night.night_id)
        signal = filtered(signal, settings.eeg_band_hz, settings.eeg_notch_hz)
        hypnogram = read_hypnogram(night)
        self.notes += hypnogram_notes(hypnogram)
        with open_night_video(night) as video:
            clock = night_clock(night, signal.start, video.creation_time)
            _, self.clock_source = video_start(night, video.creation_time)

            def compare(video_s: float | None) -> list[str]:
                return compare_times(
                    *(night.night_id, hypnogram.onset_s, signal.seconds, clock, video_s),
                    settings.max_uncovered,
                    [f"video: {note}" for note in video.notes],
                    night.scored,
                )

            compare(video.declared_s)
            scored = self._scored_eeg(signal, hypnogram)
            for clip_index in scored.tolist():
                onset = hypnogram.onset_s[clip_index]
                frames = self._frames(video, clock, onset)
                if frames is None:
                    continue
                first = round(onset * settings.eeg_rate)
                self.counts["kept"] += 1
                yield {
                    "video": frames,
                    "eeg": signal.samples[first : first + settings.samples].copy(),
                    "stage": int(hypnogram.stage[clip_index]),
                    "subject_id": night.subject_id,
                    "night_id": night.night_id,
                    "clip_index": clip_index,
                }
            end_s = video.declared_s if video.end_s is None else video.end_s
            self.notes += compare(end_s)
            if video.one_clock and (note := rate_note(clock, end_s, signal.seconds)):
                self.notes.append(note)
            rates = video.frame_rate, settings.frame_rate
            self.notes += video_notes(self.clock_source, video.declared_s, video.end_s, *rates)
        if not self.counts["kept"]:
            why = ", ".join(f"{count} {reason}" for reason, count in self.counts.items() if count)
            what = "scored night" if night.scored else "night"
            raise UserError(
                f"night {night.night_id}: not one clip of the {what} can be used ({why})"
            )

    def _scored_eeg(self, signal: Signal, hypnogram: Hypnogram) -> np.ndarray:
        """Positions on the grid whose 30 s are all in the PSG."""
        first = np.rint(hypnogram.onset_s * signal.rate).astype(np.int64)
        inside = (first >= 0) & (first + self.settings.samples <= len(signal.samples))
        lost = np.concatenate([[0], np.cumsum(~np.isfinite(signal.samples))])
        first = np.where(inside, first, 0)
        whole = lost[first + self.settings.samples * inside] == lost[first]
        for reason, count in (
            ("outside PSG", (~inside).sum()),
            ("gap in PSG", (inside & ~whole).sum()),
        ):
            if count:
                self.counts[reason] = int(count)
        return np.flatnonzero(inside & whole)

    def _frames(
        self, video: VideoReader | VideoRecording, clock: Clock, onset: float
    ) -> np.ndarray | None:
        """The frames of one clip, or None (and counted) where too many are missing."""
        settings = self.settings
        moments = clock.video_seconds(onset + np.arange(settings.frames) / settings.frame_rate)
        frames, reason = read_clip(video, moments, settings)
        if frames is None:
            self.counts[reason] += 1
        return frames


def read_clip(
    video: VideoReader | VideoRecording,
    moments_s: Float64[np.ndarray, " frames"],
    settings: ClipSettings,
) -> tuple[UInt8[np.ndarray, "frames height width 1"] | None, str]:
    """The frames of one clip, grey and scaled.

    Args:
        moments_s: seconds of the video, one a frame.
        settings: size of the frames, their distance, and how many may be missing.

    Returns:
        The frames and "", or None and why there are none (a key of `Clips.counts`).
    """
    frames, present = video.read_frames(
        moments_s,
        settings.height,
        settings.width,
        tolerance_s=0.5 / settings.frame_rate,
        not_before_s=moments_s[0],  # [t, t + 30): a frame before t belongs to the clip before
    )
    if (~present).sum() > settings.max_missing * settings.frames:
        reason = video.why_absent(float(moments_s[0]), float(moments_s[-1]))
        return None, "missing frames" if present.any() else reason
    if not present.all():
        # A lost frame shows the one before it (or the first that is there), as a player would.
        source = np.maximum.accumulate(np.where(present, np.arange(len(present)), -1))
        source[source < 0] = present.argmax()
        frames = frames[source]
    return frames, ""


def clips(night: Night, settings: ClipSettings | None = None) -> Clips:
    """Iterates over the aligned clips of a night in one pass over its files.

    Each record holds `video` uint8 [frames, height, width, 1], `eeg` float32 [samples] in
    microvolt, `stage` (int, -1 unknown), `subject_id`, `night_id` and `clip_index` (the clip's
    position on the night's 30-s grid: it jumps where clips were left out). Clips that touch a gap
    of the PSG or lack too many frames are left out and counted.

    Raises:
        UserError: on iteration, if a file of the night cannot be used; the line names the night.
    """
    return Clips(night, settings or ClipSettings())
