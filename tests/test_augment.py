"""Crops and mirrors: whole clips move together, pixels stay what they were."""

import jax
import numpy as np
import pytest

from sacd_jax.augment import augment, centre_crop, centred, random_crop, random_flip
from sacd_jax.config import AugmentConfig


@pytest.fixture
def video() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (6, 3, 10, 12, 1), dtype=np.uint8)


def places_of(crop: np.ndarray, clip: np.ndarray) -> list[tuple[int, int]]:
    """Where `crop` [T,h,w,C] is found in `clip` [T,H,W,C]."""
    height, width = crop.shape[1:3]
    return [
        (top, left)
        for top in range(clip.shape[1] - height + 1)
        for left in range(clip.shape[2] - width + 1)
        if np.array_equal(clip[:, top : top + height, left : left + width], crop)
    ]


def test_random_crop_is_one_window_of_the_whole_clip(video):
    crops = np.asarray(random_crop(jax.random.key(1), video, (8, 9)))
    assert crops.dtype == np.uint8 and crops.shape == (6, 3, 8, 9, 1)
    places = [places_of(crop, clip) for crop, clip in zip(crops, video, strict=True)]
    assert all(len(found) == 1 for found in places)
    assert len({found[0] for found in places}) > 1  # clips draw on their own


def test_random_crop_reaches_every_place():
    video = np.tile(np.arange(4, dtype=np.uint8)[None, None, None, :, None], (200, 1, 2, 1, 1))
    crops = np.asarray(random_crop(jax.random.key(0), video, (2, 2)))
    assert set(crops[:, 0, 0, 0, 0]) == {0, 1, 2}


def test_flip_mirrors_whole_clips(video):
    assert np.array_equal(random_flip(jax.random.key(0), video, 0.0), video)
    assert np.array_equal(random_flip(jax.random.key(0), video, 1.0), video[:, :, :, ::-1])
    mixed = np.asarray(random_flip(jax.random.key(3), np.repeat(video, 10, 0), 0.5))
    mirrored = [
        np.array_equal(a, b[:, :, ::-1])
        for a, b in zip(mixed, np.repeat(video, 10, 0), strict=True)
    ]
    assert 15 < sum(mirrored) < 45


def test_centre_crop_and_centred(video):
    assert np.array_equal(centre_crop(video, (8, 8)), video[:, :, 1:9, 2:10])
    config = AugmentConfig(crop=(8, 8))
    batch = {"video": video, "stage": np.arange(6)}
    assert np.array_equal(centred(batch, config)["video"], video[:, :, 1:9, 2:10])
    assert centred(batch, AugmentConfig())["video"] is video


def test_augment_leaves_other_keys_and_batches_without_video():
    config = AugmentConfig(crop=(8, 8))
    batch = {"eeg": np.ones((2, 5), np.float32), "stage": np.arange(2)}
    assert augment(jax.random.key(0), batch, config).keys() == batch.keys()


def test_augment_depends_on_its_key_alone(video):
    config = AugmentConfig(crop=(8, 8))
    once = augment(jax.random.key(5), {"video": video}, config)["video"]
    jitted = jax.jit(lambda rng, batch: augment(rng, batch, config))
    assert np.array_equal(once, jitted(jax.random.key(5), {"video": video})["video"])
    assert not np.array_equal(once, augment(jax.random.key(6), {"video": video}, config)["video"])
