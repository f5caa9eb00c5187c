"""A small built dataset for tests of what reads it."""

from pathlib import Path

import pytest

from input_pipeline.datasets import DatasetSettings, decode, prepare

from .fake_nights import SETTINGS, fake_clips, fake_manifest


def _build(folder: Path, frame_storage: str) -> Path:
    manifest, _ = fake_manifest(folder, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        settings = DatasetSettings(
            "s3ve", manifest=manifest, clips=SETTINGS, frame_storage=frame_storage
        )
        return prepare(settings, folder / "data", jobs=1)


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataset of 12 fake nights; frames in files."""
    return _build(tmp_path_factory.mktemp("small_dataset"), "files")


@pytest.fixture(scope="session")
def recorded_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with whole clips in TFDS records."""
    return _build(tmp_path_factory.mktemp("recorded_dataset"), "records")
