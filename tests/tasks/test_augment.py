"""Crops and mirrors: whole clips move together, pixels stay what they were."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from sacd_jax.config import AugmentConfig
from sacd_jax.tasks.augment import (
    augment,
    centre_crop,
    centred,
    random_boxes,
    random_crop,
    random_flip,
    random_resized_crop,
    resample,
    resampling,
    shrunk_centre,
)


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


def evenly(numbers: np.ndarray, places: int) -> bool:
    """Whether all of so many places come as often, to five standard deviations."""
    often, expected = np.bincount(numbers, minlength=places), len(numbers) / places
    return len(often) == places and np.abs(often - expected).max() < 5 * np.sqrt(expected)


def test_random_crop_reaches_every_place_as_often():
    frame = 10 * np.arange(4)[:, None] + np.arange(6)
    video = np.tile(frame.astype(np.uint8)[None, None, :, :, None], (1200, 1, 1, 1, 1))
    corner = np.asarray(random_crop(jax.random.key(0), video, (2, 3)))[:, 0, 0, 0, 0]
    assert evenly(corner // 10, 3) and evenly(corner % 10, 4)


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
    assert np.array_equal(centre_crop(video, (8, 6)), video[:, :, 1:9, 3:9])
    config = AugmentConfig(crop=(8, 8))
    batch = {"video": video, "stage": np.arange(6)}
    assert np.array_equal(centred(batch, config)["video"], video[:, :, 1:9, 2:10])
    assert centred(batch, AugmentConfig())["video"] is video


def test_augment_leaves_other_keys_and_batches_without_video():
    config = AugmentConfig(crop=(8, 8))
    batch = {"eeg": np.ones((2, 5), np.float32), "stage": np.arange(2)}
    assert augment(jax.random.key(0), batch, config).keys() == batch.keys()
    assert centred(batch, config).keys() == batch.keys()


def test_augment_depends_on_its_key_alone(video):
    config = AugmentConfig(crop=(8, 8))
    once = augment(jax.random.key(5), {"video": video}, config)["video"]
    assert once.shape == (6, 3, 8, 8, 1)
    jitted = jax.jit(lambda rng, batch: augment(rng, batch, config))
    assert np.array_equal(once, jitted(jax.random.key(5), {"video": video})["video"])
    assert not np.array_equal(once, augment(jax.random.key(6), {"video": video}, config)["video"])


PILLOW = 1.01
"""Pillow rounds to whole levels after each of two passes, we once at the end."""


def test_a_part_resampled_equals_pillow():
    clip = np.random.default_rng(0).integers(0, 256, (1, 2, 24, 32, 3), dtype=np.uint8)
    for top, left, height, width in ((0, 0, 24, 32), (3, 5, 20, 11), (23, 31, 1, 1), (4, 2, 7, 30)):
        one = jnp.ones(1)
        rows = resampling(24, 12, top * one, height * one, cut=True)
        columns = resampling(32, 10, left * one, width * one, cut=True)
        found = np.asarray(resample(clip, rows, columns)).astype(int)
        for frame, ours in zip(clip[0], found[0], strict=True):
            part = Image.fromarray(frame[top : top + height, left : left + width])
            expected = np.asarray(part.resize((10, 12), Image.Resampling.BILINEAR)).astype(int)
            assert np.abs(ours - expected).max() <= PILLOW


@pytest.mark.parametrize(
    ("shape", "size"),
    [((240, 320), (28, 28)), ((48, 64), (24, 28)), ((60, 40), (28, 28)), ((40, 41), (28, 28))],
)
def test_the_centre_of_a_shrunk_frame_equals_pillow(shape, size):
    clip = np.random.default_rng(1).integers(0, 256, (3, 1, *shape, 3), dtype=np.uint8)
    clip[2] = 0  # black stays black
    height, width = size
    shrunk = [height * side // min(shape) for side in shape]
    top, left = (round((side - out) / 2) for side, out in zip(shrunk, size, strict=True))
    found = np.asarray(shrunk_centre(clip, size)).astype(int)
    for one, ours in zip(clip[:, 0], found[:, 0], strict=True):
        image = Image.fromarray(one).resize(shrunk[::-1], Image.Resampling.BILINEAR)
        expected = np.asarray(image).astype(int)[top : top + height, left : left + width]
        assert np.abs(ours - expected).max() <= PILLOW
    assert not found[2].any()


def test_a_random_part_equals_pillow(video):
    config = AugmentConfig(crop=(6, 7), scale=(0.3, 0.8), ratio=(0.7, 1.4))
    boxes = random_boxes(jax.random.key(2), 6, 10, 12, config.scale, config.ratio)
    found = np.asarray(random_resized_crop(jax.random.key(2), video, config)).astype(int)
    for clip, ours, top, left, height, width in zip(video, found, *boxes, strict=True):
        part = Image.fromarray(clip[0, top : top + height, left : left + width, 0])
        expected = np.asarray(part.resize((7, 6), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(ours[0, ..., 0] - expected).max() <= PILLOW


def test_random_boxes_are_those_of_torchvision():
    boxes = random_boxes(jax.random.key(0), 4000, 240, 320, (0.25, 1.0), (3 / 4, 4 / 3))
    top, left, height, width = (np.asarray(value) for value in boxes)
    assert (top >= 0).all() and (top + height <= 240).all()
    assert (left >= 0).all() and (left + width <= 320).all()
    area, ratio = height * width / (240 * 320), width / height
    assert area.min() > 0.24 and area.max() > 0.95 and 0.27 < np.quantile(area, 0.05) < 0.32
    assert 0.74 < ratio.min() < 0.77 and 1.31 < ratio.max() < 1.35
    # Places are even: boxes with room touch either border about equally often.
    room = height < 230
    middle = (top[room] / (240 - height[room])).mean()
    assert middle == pytest.approx(0.5, abs=0.02)


def test_boxes_as_wide_or_as_high_as_the_frame_and_of_one_pixel():
    for ratio, place in ((2.0, 0), (0.5, 1)):
        boxes = random_boxes(jax.random.key(0), 1200, 10, 10, (0.5, 0.5), (ratio, ratio))
        sides = (5, 10) if place == 0 else (10, 5)
        assert [set(np.asarray(side).tolist()) for side in boxes[2:]] == [{side} for side in sides]
        assert evenly(np.asarray(boxes[place]), 6) and not np.asarray(boxes[1 - place]).any()
    boxes = random_boxes(jax.random.key(0), 1200, 10, 10, (0.01, 0.01), (1.0, 1.0))
    assert all((np.asarray(side) == 1).all() for side in boxes[2:])


def test_where_no_box_fits_it_is_the_largest_in_the_middle():
    """As wide or as narrow as the ratio allows, where the frame is wider or narrower."""
    for (height, width), expected in (((10, 100), (0, 43, 10, 13)), ((100, 10), (43, 0, 13, 10))):
        boxes = random_boxes(jax.random.key(0), 3, height, width, (0.9, 1.0), (3 / 4, 4 / 3))
        assert [np.asarray(value).tolist() for value in boxes] == [[n] * 3 for n in expected]


def test_zoom_goes_through_augment_and_centred(video):
    config = AugmentConfig(crop=(6, 7), scale=(0.3, 0.8), flip=0.0)
    zoom = jax.jit(lambda rng, video: augment(rng, {"video": video}, config)["video"])
    zoomed = zoom(jax.random.key(0), video)
    assert zoomed.shape == (6, 3, 6, 7, 1) and zoomed.dtype == jnp.uint8
    still = np.repeat(video[:1, :1], 3, axis=1)  # one frame three times: cut out alike
    frames = np.asarray(zoom(jax.random.key(1), still))
    assert np.array_equal(frames[:, 0], frames[:, 1]) and np.array_equal(frames[:, 0], frames[:, 2])
    assert centred({"video": video}, config)["video"].shape == (6, 3, 6, 7, 1)
