"""Light, movement and breathing of pictures made by hand."""

import numpy as np
import pytest

from sacd_jax.staging.picture_signals import breathing, movement, unusable

RNG = np.random.default_rng(0)
ROOM = RNG.integers(60, 180, (24, 32, 1))


def clip(change: np.ndarray, noise: float = 2.0) -> np.ndarray:
    """60 frames of a room in which the middle brightens and darkens."""
    frames = np.repeat(ROOM[None].astype(float), len(change), axis=0)
    frames[:, 8:16, 10:20] += change[:, None, None, None]
    frames += RNG.normal(0, noise, frames.shape)
    return np.clip(np.round(frames), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("rate", [9.0, 14.0, 20.0])
def test_the_rate_of_breathing_is_found(rate: float) -> None:
    seconds = np.arange(60) / 2
    found = breathing(clip(4 * np.sin(2 * np.pi * rate / 60 * seconds)), 2.0)
    assert found == pytest.approx(rate, abs=1.5)


def test_noise_has_no_rate_and_few_frames_none_either() -> None:
    found = [breathing(clip(np.zeros(60)), 2.0) for _ in range(20)]
    assert np.isnan(found).mean() >= 0.8
    assert np.isnan(breathing(clip(np.zeros(10)), 2.0))
    assert np.isnan(breathing(clip(np.zeros(60)), 0.4))


@pytest.mark.parametrize("period", [8, 12, 20])  # frames; key frames come so regularly
def test_a_codec_does_not_breathe(period: int) -> None:
    """An empty room in a compressed video: each group of pictures begins with a sharper one."""
    frames = clip(np.zeros(60), noise=0.5).astype(float)
    fresh = RNG.normal(0, 4, (60, *ROOM.shape))
    since = np.arange(60) % period
    frames += np.where(since[:, None, None, None] < 2, fresh[0], 0.2 * fresh[1])
    frames += 0.3 * (since < 2)[:, None, None, None]
    assert np.isnan(breathing(np.clip(np.round(frames), 0, 255).astype(np.uint8), 2.0))


def test_movement_is_the_mean_change() -> None:
    still, moving = clip(np.zeros(60)), clip(np.where(np.arange(60) < 30, 0, 60.0))
    assert movement(moving) > movement(still)
    assert movement(np.repeat(still[:1], 5, axis=0)) == 0
    assert np.isnan(movement(still[:1]))


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (clip(np.zeros(60)), ""),
        (np.zeros((60, 24, 32, 1), np.uint8), "dark"),
        (RNG.integers(0, 5, (60, 24, 32, 1)).astype(np.uint8), "dark"),
        (np.full((60, 24, 32, 1), 90, np.uint8), "covered"),
        (np.repeat(clip(np.zeros(1)), 60, axis=0), "frozen"),
    ],
)
def test_pictures_that_show_nothing_are_told(frames, expected) -> None:
    assert unusable(frames) == expected
