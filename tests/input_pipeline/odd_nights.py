"""A study as a sleep laboratory keeps it, and as the page "Bring your own nights" takes it up.

Simulated sleepers in files of the usual odd kind: EDF of eight channels against a common reference,
at 200 Hz in one room and 256 Hz in the other, dated 1985; the camera's picture in files of twenty
minutes named by its own clock, which nobody set; a hypnogram of clock times per subject; a table of
subjects with decimal commas. Every frame shows its number in a strip, as recorders show the clock.
"""

import argparse
import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from itertools import groupby
from pathlib import Path

import av
import edfio
import numpy as np

from input_pipeline.simulation.psg import simulate_psg
from input_pipeline.simulation.recording import (
    Clocks,
    HiddenSignals,
    Recording,
    hidden_signals,
    plan,
)
from input_pipeline.simulation.settings import SimulationSettings
from input_pipeline.simulation.video import frames
from input_pipeline.stages import CLIP_SECONDS

RATES = (200, 256)
FILE_SECONDS = 1200
STRIP = 8
"""Rows at the bottom of the picture that show the frame's number."""

WORDS = ("WK", "N1", "N2", "N3", "REM")
_PATIENT = "Erika_Mustermann"
_ANONYMOUS = datetime(1985, 1, 1)
_BITS = 16
_SCRAMBLE = 40503  # every block blinks all the time, as the digits of a clock do


@dataclass(frozen=True)
class Truth:
    """What really happened in one night."""

    stage: np.ndarray
    """Of each clip, as it was scored."""
    clocks: Clocks
    frame_rate: float

    def psg_seconds(self, numbers: np.ndarray) -> np.ndarray:
        """Moments of the PSG at which the frames of these numbers were taken."""
        return self.clocks.psg_time(numbers / self.frame_rate)


def truths(subjects: int = 10, hours: float = 1.0) -> dict[str, Truth]:
    """What happens in the nights that `write_study` writes, by subject."""
    return {
        name: Truth(recording.scored, recording.clocks, settings.frame_rate)
        for name, settings, recording in _plans(subjects, hours)
    }


def write_study(folder: Path, subjects: int = 10, hours: float = 1.0) -> None:
    """Writes `psg/`, `video/`, `scoring/` and `subjects.csv`."""
    rows = []
    for name, settings, recording in _plans(subjects, hours):
        hidden = hidden_signals(settings, recording)
        for part in ("psg", "scoring", f"video/{name}"):
            (folder / part).mkdir(parents=True, exist_ok=True)
        _write_psg(folder / "psg" / f"{name}.edf", settings, recording, hidden)
        _write_scoring(folder / "scoring" / f"{name}.csv", recording)
        _write_video(folder / "video" / name, settings, recording, hidden)
        ahi = f"{recording.ahi:.1f}".replace(".", ",")
        rows.append([name, round(recording.subject.age), recording.subject.sex, ahi])
    with (folder / "subjects.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([["Subject", "Age", "Sex", "AHI"], *rows])


def _plans(subjects: int, hours: float) -> Iterator[tuple[str, SimulationSettings, Recording]]:
    for number in range(subjects):
        rate = RATES[number % 2]
        settings = SimulationSettings(subjects, hours, dropped_frames=0.0, eeg_rate=rate)
        yield f"P{number + 1:02d}", settings, plan(settings, number)[0]


def _psg_start(recording: Recording) -> datetime:
    return recording.clocks.psg_start.replace(microsecond=0)


def numbered(picture: np.ndarray, number: int) -> np.ndarray:
    """The picture [height, width] with `number` in its strip, as black and white blocks."""
    bits = ((number * _SCRAMBLE >> np.arange(_BITS)) & 1).reshape(2, 8)
    blocks = np.where(bits, 200, 40).astype(np.uint8)
    size = (STRIP // 2, picture.shape[1] // 8)
    return np.vstack([picture[:-STRIP], np.kron(blocks, np.ones(size, np.uint8))])


def numbers(pictures: np.ndarray) -> np.ndarray:
    """The numbers that pictures [n, height, width] show."""
    strips = pictures[:, -STRIP:]
    n, height, width = strips.shape
    blocks = strips.reshape(n, 2, height // 2, 8, width // 8).mean((2, 4)).reshape(n, _BITS)
    scrambled = (blocks > 120) @ (1 << np.arange(_BITS))
    return scrambled * pow(_SCRAMBLE, -1, 1 << _BITS) % (1 << _BITS)


def _write_psg(
    path: Path, settings: SimulationSettings, recording: Recording, hidden: HiddenSignals
) -> None:
    made = {channel.label: channel for channel in simulate_psg(settings, recording, hidden)}
    central = [channel for label, channel in made.items() if label.startswith("EEG")]
    rng = np.random.default_rng(recording.night)
    # Electrodes against a common reference: only the difference is the EEG that was simulated.
    ears = 5 * rng.normal(size=(2, len(central[0].samples)))
    signals = [
        (f"{name}-REF", channel.rate, channel.samples + ear, "uV", 800)
        for name, channel, ear in zip(("C4", "C3"), central, ears, strict=True)
    ]
    signals += [
        (f"{name}-REF", central[0].rate, ear, "uV", 800)
        for name, ear in zip(("A1", "A2"), ears, strict=True)
    ]
    for label in ("EOG E1-A2", "EMG chin", "Effort THO", "Effort ABD"):
        channel = made[label]
        signals.append((label, channel.rate, channel.samples, channel.unit, channel.limit))
    edfio.Edf(
        [
            edfio.EdfSignal(
                np.clip(samples, -limit, limit),
                rate,
                label=label,
                physical_dimension=unit,
                physical_range=(-limit, limit),
            )
            for label, rate, samples, unit, limit in signals
        ],
        patient=edfio.Patient(name=_PATIENT),
        recording=edfio.Recording(startdate=_ANONYMOUS.date()),
        starttime=_psg_start(recording).time(),
    ).write(path)


def _write_scoring(path: Path, recording: Recording) -> None:
    """One line an epoch: its number, the time of day and the stage; midnight may be crossed."""
    rows = []
    for epoch, stage in enumerate(recording.scored):
        begins = _psg_start(recording) + timedelta(seconds=epoch * CLIP_SECONDS)
        rows.append([epoch + 1, begins.time(), WORDS[stage]])
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=";").writerows([["Epoch", "Time", "Stage"], *rows])


def _write_video(
    folder: Path, settings: SimulationSettings, recording: Recording, hidden: HiddenSignals
) -> None:
    rate = Fraction(settings.frame_rate)
    per_file = int(FILE_SECONDS * rate)
    pictures = (
        (int(number), picture)
        for chunk, shown in frames(settings, recording, hidden)
        for number, picture in zip(chunk, shown, strict=True)
    )
    for file, its_pictures in groupby(pictures, lambda pair: pair[0] // per_file):
        began = recording.clocks.video_start + timedelta(seconds=file * FILE_SECONDS)
        with av.open(str(folder / f"cam1_{began:%Y%m%d_%H%M%S}.mp4"), "w") as container:
            output = container.add_stream("libx264", rate=rate, options={"preset": "veryfast"})
            output.width, output.height = settings.width, settings.height
            output.pix_fmt = "yuv420p"
            output.codec_context.time_base = 1 / rate
            for number, picture in its_pictures:
                frame = av.VideoFrame.from_ndarray(numbered(picture, number), format="gray")
                frame = frame.reformat(format="yuv420p")
                frame.pts, frame.time_base = number % per_file, 1 / rate
                container.mux(output.encode(frame))
            container.mux(output.encode(None))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    write_study(parser.parse_args().folder)
