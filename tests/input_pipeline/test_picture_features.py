"""Breathing and movement by signal processing: found where they are, defined where they are not."""

import numpy as np
import pytest
from scipy.signal import periodogram

from input_pipeline.picture_features import (
    BREATHING,
    NO_BREATH,
    breathing_statistics,
    movement_statistics,
    picture_features,
    shrunk,
)

RATE = 2.0


def sleeper(signal: np.ndarray, seed: int = 0, size: tuple[int, int] = (48, 56)) -> np.ndarray:
    """uint8 frames of a grey bed in noise, a chest in which brightens with the signal."""
    rng = np.random.default_rng(seed)
    frames = rng.normal(120, 2, (len(signal), *size))
    frames[:, 15:35, 20:40] += signal[:, None, None]
    return frames.round().clip(0, 255).astype(np.uint8)[..., None]


@pytest.mark.parametrize("breaths", [9, 14, 19, 27])
def test_the_rate_is_that_of_scipys_periodogram_of_the_true_signal(breaths: int) -> None:
    time = np.arange(60) / RATE
    signal = 6 * np.sin(2 * np.pi * breaths / 60 * time)
    hertz, power = periodogram(signal, RATE, "hann", nfft=480)
    expected = 60 * hertz[power.argmax()]
    found = breathing_statistics(shrunk(sleeper(signal)), RATE)
    assert found["rate"] == pytest.approx(expected, abs=0.6)
    assert found["rate_of_peaks"] == pytest.approx(breaths, abs=1.5)


def test_regular_breathing_is_told_from_irregular() -> None:
    time = np.arange(60) / RATE
    rng = np.random.default_rng(1)
    regular = 6 * np.sin(2 * np.pi * 0.25 * time)
    irregular = 6 * np.sin(2 * np.pi * np.cumsum(rng.uniform(0.12, 0.45, 60)) / RATE)
    one, two = (breathing_statistics(shrunk(sleeper(s)), RATE) for s in (regular, irregular))
    assert one["sharpness"] > two["sharpness"] + 0.05
    assert one["self_similarity"] > two["self_similarity"]


def test_movement_is_seen_when_it_happens() -> None:
    frames = sleeper(np.zeros(60))
    frames[45:49] = np.roll(frames[45:49], 3, axis=1)
    frames[46, :20] //= 2
    quiet = movement_statistics(shrunk(sleeper(np.zeros(60))))
    found = movement_statistics(shrunk(frames))
    assert quiet["bouts"] == 0 and quiet["longest_stillness"] == 1
    assert found["bouts"] >= 1 and found["late"] > 10 * max(found["early"], found["middle"], 0.01)


@pytest.mark.parametrize("value", [0, 255])
def test_pictures_that_show_nothing_give_defined_values(value: int) -> None:
    frames = np.full((60, 48, 56, 1), value, np.uint8)
    found = breathing_statistics(shrunk(frames), RATE)
    assert found["rate_of_peaks"] == found["interval_spread"] == NO_BREATH
    features = picture_features(frames, RATE)
    assert len(BREATHING) == len(found) and np.isfinite(features).all()


def test_large_frames_are_averaged_over_blocks() -> None:
    frames = np.arange(60, dtype=np.uint8)[:, None, None, None].repeat(240, 1).repeat(320, 2)
    small = shrunk(frames)
    assert small.shape == (60, 60, 80, 1)
    assert np.array_equal(small[:, 0, 0, 0], np.arange(60))
