"""Features of a split in its order, and means over neighbours that never cross a gap."""

from pathlib import Path

import numpy as np
import pytest

from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.split_features import split_features, with_neighbours
from tests.input_pipeline.fake_nights import SETTINGS, fake_clips, fake_manifest


def table(night: list[str], clip_index: list[int]) -> ClipTable:
    zeros = np.zeros(len(night))
    return ClipTable.of_columns(night, night, clip_index, zeros, zeros)


def test_means_are_triangular_and_stay_within_an_unbroken_piece() -> None:
    nights = table(["a"] * 5 + ["b"] * 4, [0, 1, 2, 5, 6, 7, 8, 9, 10])  # gap in a; b follows it
    features = np.array([1.0, 2, 4, 100, 200, 1000, 1000, 4000, 1000])[:, None]
    found = with_neighbours(features, nights, (3,))
    assert np.array_equal(found[:, :1], features)
    expected = [4 / 3, 9 / 4, 10 / 3, 400 / 3, 500 / 3, 1000, 7000 / 4, 10000 / 4, 2000]
    np.testing.assert_allclose(found[:, 1], expected)


def test_a_change_beyond_a_gap_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    nights = table(["a"] * 30 + ["b"] * 30, [*range(20), *range(21, 31), *range(31, 61)])
    features = rng.normal(size=(60, 3))
    before = with_neighbours(features, nights, (5, 15))
    features[20:30] += 10.0
    after = with_neighbours(features, nights, (5, 15))
    changed = (before != after).any(axis=1)
    assert changed[20:30].all() and not changed[:20].any() and not changed[30:].any()


def test_clips_of_too_few_frames_are_refused(tmp_path: Path) -> None:
    manifest, _ = fake_manifest(tmp_path, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
        dataset = prepare(settings, tmp_path / "data", jobs=1)
    with pytest.raises(UserError, match="12 frames with 1 channels; breathing needs 30"):
        split_features(dataset, "train", jobs=1)
