"""A small built dataset for tests of what reads it."""

from pathlib import Path

import pytest

from input_pipeline.datasets import DatasetSettings, decode, prepare

from .fake_nights import SETTINGS, fake_clips, fake_manifest


@pytest.fixture(scope="session")
def small_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a dataset of 12 fake nights, built by the TFDS builder."""
    folder = tmp_path_factory.mktemp("small_dataset")
    manifest, _ = fake_manifest(folder, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
        return prepare(settings, folder / "data", jobs=1)
