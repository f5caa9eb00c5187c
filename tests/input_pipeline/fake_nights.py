"""Nights whose clips are made up on the spot, to test what comes after the readers."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from input_pipeline.clips import ClipSettings
from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.night import Night, write_manifest

SETTINGS = ClipSettings(frame_rate=0.4, height=4, width=6)
"""12 frames of 4x6 pixels a clip."""

GAP = 7
"""The clip that every night lacks."""

AHIS = (2.0, 10.0, 20.0, 40.0)


def fake_clip(night_id: str, clip_index: int, settings: ClipSettings = SETTINGS) -> dict[str, Any]:
    """The one clip of that name, the same at every call; every fifth stage is unknown."""
    rng = np.random.default_rng([*night_id.encode(), clip_index])
    shape = (settings.frames, settings.height, settings.width, 1)
    return {
        "video": rng.integers(0, 256, shape, dtype=np.uint8),
        "eeg": rng.normal(0, 30, settings.samples).astype(np.float32),
        "stage": -1 if clip_index % 5 == 4 else int(rng.integers(0, 5)),
        "clip_index": clip_index,
    }


def clip_indices(night_id: str) -> list[int]:
    """Positions of the night's clips: some 20, with a hole at `GAP`."""
    length = 18 + sum(night_id.encode()) % 5
    return [clip_index for clip_index in range(length) if clip_index != GAP]


class FakeClips(Iterator[dict[str, Any]]):
    """The clips that every fake night has, counted as `input_pipeline.clips.Clips` counts them."""

    def __init__(
        self,
        night: Night,
        settings: ClipSettings,
        clip_index: Sequence[int],
        then: Callable[[], None] = lambda: None,
    ):
        """`then` is called after each clip, when the next one is asked for."""
        self._then = then
        identity = {"night_id": night.night_id, "subject_id": night.subject_id}
        made = (fake_clip(night.night_id, index, settings) | identity for index in clip_index)
        self._made, self.counts = made, Counter({"kept": 0, "gap in PSG": 1})
        self.notes, self.clock_source = ["made up on the spot"], "manifest"

    def __next__(self) -> dict[str, Any]:
        if self.counts["kept"]:
            self._then()
        made = next(self._made)
        self.counts["kept"] += 1
        return made


def fake_clips(night: Night, settings: ClipSettings) -> FakeClips:
    """Stands in for `input_pipeline.clips.clips`."""
    return FakeClips(night, settings, clip_indices(night.night_id))


def fake_night(
    folder: Path, number: int, ahi: float | None = None, subject: int | None = None
) -> Night:
    """A night whose files are there, if only just."""
    psg = folder / f"psg{number:02d}.edf"
    psg.write_bytes(b"x" * (number + 1))
    name = f"s{number if subject is None else subject:02d}"
    about = {"ahi": AHIS[number % 4] if ahi is None else ahi, "age": 21.0 + number}
    return Night(f"n{number:02d}", name, psg, psg, **about, sex="FM"[number % 2])


def fake_manifest(folder: Path, nights: int) -> tuple[Path, Sequence[Night]]:
    """A manifest of nights of as many subjects, running through the AHI groups."""
    made = [fake_night(folder, number) for number in range(nights)]
    write_manifest(folder / "nights.csv", made)
    return folder / "nights.csv", made


def fake_dataset(folder: Path, nights: int = 12) -> Path:
    """Builds their data set; whoever prepares the manifest's in `folder/data` finds it there."""
    manifest, _ = fake_manifest(folder, nights)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
        return prepare(settings, folder / "data", jobs=1)


def settings_of(manifest: Path, **changes) -> DatasetSettings:
    """Of a data set of a manifest of made-up nights."""
    return DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS, **changes)


BUILD = """
import os, signal, sys, time
from pathlib import Path
from input_pipeline.datasets import DatasetSettings, building, decode, prepare
from tests.input_pipeline.fake_nights import SETTINGS, FakeClips, clip_indices

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
stop_at = sys.argv[3]

def stop():
    os.write(1, b"here\\n")
    time.sleep(60)
    os._exit(0)

def clips(night, settings):
    then = stop if night.night_id == stop_at else int
    return FakeClips(night, settings, clip_indices(night.night_id), then)

def advance(self, count=1, note=None):
    if stop_at == self.description:
        stop()

decode.clips = clips
building.Progress.advance = advance
prepare(DatasetSettings("s3ve", Path(sys.argv[1]), clips=SETTINGS), Path(sys.argv[2]), jobs=1)
"""
"""A program that builds a data set: of a manifest, into a folder, until a night or a part of the
work, where it says so and waits to be stopped."""
