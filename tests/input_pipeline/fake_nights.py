"""Nights whose clips are made up on the spot, to test what comes after the readers."""

from collections.abc import Iterator, Sequence
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


def fake_clips(night: Night, settings: ClipSettings) -> Iterator[dict[str, Any]]:
    """Stands in for `input_pipeline.clips.clips`."""
    for clip_index in clip_indices(night.night_id):
        identity = {"night_id": night.night_id, "subject_id": night.subject_id}
        yield fake_clip(night.night_id, clip_index, settings) | identity


def fake_night(
    folder: Path, number: int, ahi: float | None = None, subject: int | None = None
) -> Night:
    """A night whose files are there, if only just."""
    psg = folder / f"psg{number:02d}.edf"
    psg.write_bytes(b"x" * (number + 1))
    name = f"s{number if subject is None else subject:02d}"
    return Night(f"n{number:02d}", name, psg, psg, ahi=AHIS[number % 4] if ahi is None else ahi)


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
