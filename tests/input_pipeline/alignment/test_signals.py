"""Movement and breathing out of pictures and channels that hold them at known moments."""

import numpy as np
import pytest

from input_pipeline.alignment.reading import channel_kind
from input_pipeline.alignment.signals import (
    WINDOW_BINS,
    WINDOW_SECONDS,
    belt_breathing,
    belt_jerks,
    bin_centres,
    excursions,
    muscle_size,
    picture_breathing,
    picture_change,
    steady_pixels,
)


@pytest.mark.parametrize("rate", [100.0, 128.0, 250.0, 199.9])
def test_muscles_are_found_where_they_tense(rate):
    rng = np.random.default_rng(0)
    seconds = np.arange(int(rate * 300)) / rate
    samples = 20 * np.sin(2 * np.pi * 1.0 * seconds)  # slow waves are no movement
    tense = (seconds >= 100.0) & (seconds < 104.0)
    samples += np.where(tense, 30, 3) * rng.normal(size=len(seconds))
    samples[seconds >= 250] = np.nan
    movement = excursions(muscle_size(samples, rate))
    moving = bin_centres(len(movement))[movement > 3]
    np.testing.assert_allclose(moving, 100 + bin_centres(16), atol=0.001)


def test_a_belt_gives_breathing_and_jerks_apart():
    rng = np.random.default_rng(0)
    seconds = np.arange(25 * 300) / 25
    breath = np.sin(2 * np.pi * 0.25 * seconds)
    jerk = (seconds >= 200) & (seconds < 203)
    samples = breath + 0.02 * rng.normal(size=len(seconds)) + jerk * rng.normal(size=len(seconds))
    wave = belt_breathing(samples, 25.0)
    truth = np.sin(2 * np.pi * 0.25 * bin_centres(len(wave)))
    assert np.corrcoef(wave, truth)[0, 1] > 0.98
    movement = excursions(belt_jerks(samples, 25.0))
    moving = bin_centres(len(movement))[movement > 3]
    assert len(moving) in (12, 13, 14)  # the filter rings for a bin
    assert moving.mean() == pytest.approx(201.5)


def test_nothing_is_found_in_silence_and_in_gaps():
    for samples in (np.zeros(30000), np.full(30000, np.nan), np.zeros(30000, np.float32)):
        assert not excursions(muscle_size(samples, 100.0)).any()
        assert not belt_breathing(samples, 100.0).any()


@pytest.mark.parametrize("rate", [2.0, 5.0])
def test_breathing_is_seen_in_pictures(rate):
    rng = np.random.default_rng(0)
    times = 240 + np.arange(int(WINDOW_SECONDS * rate)) / rate
    breath = np.sin(2 * np.pi * 0.23 * times)
    pictures = np.full((len(times), 24, 32), 100.0)
    pictures[:, 10:14, 8:20] += 3 * breath[:, None, None]
    pictures += 30 * np.sin(times)[:, None, None]  # the light of the whole room
    pictures += rng.normal(size=pictures.shape)
    waves = picture_breathing(pictures.astype(np.uint8), times, 240.0)
    truth = np.sin(2 * np.pi * 0.23 * (240 + bin_centres(WINDOW_BINS)))
    assert abs(np.corrcoef(waves[0], truth)[0, 1]) > 0.95
    np.testing.assert_allclose(waves @ waves.T, np.eye(len(waves)), atol=1e-4)
    few = slice(0, len(times) // 2)
    assert not picture_breathing(pictures[few].astype(np.uint8), times[few], 240.0).any()


def test_change_of_a_picture_is_not_change_of_the_light():
    rng = np.random.default_rng(0)
    before = rng.integers(0, 200, (24, 32)).astype(np.uint8)
    moved = before.copy()
    moved[:6] = moved[:6, ::-1]
    assert picture_change(before, before + np.uint8(20)) == 0
    assert picture_change(before, moved) > 5


@pytest.mark.parametrize(
    ("kind", "labels"),
    [
        ("belt", "Effort THO|Thorax|ABDO|Abdomen|RIP Thora|ribcage|Chest|VTH|Effort ABD"),
        ("EMG", "EMG chin|Chin1-Chin2|EMG submental|LLEG|Leg L|RAT|PLMl|Tib. ant."),
        ("EEG", "EEG C3-A2|C4M1|Fpz-Cz|EEG Pz-Oz|F3-M2|O2-A1|C3A2"),
        ("other", "EOG E1-A2|Airflow|Resp oro-nasal|ECG|SpO2|Snore|Pulse|Lefteye|Nasal Pressure"),
    ],
)
def test_labels_tell_what_a_channel_measures(kind, labels):
    assert {label: channel_kind(label) for label in labels.split("|")} == dict.fromkeys(
        labels.split("|"), kind
    )


@pytest.mark.parametrize("rate", [2.0, 4.0])
def test_a_clock_in_the_picture_is_looked_past(rate):
    rng = np.random.default_rng(0)
    times = np.arange(int(WINDOW_SECONDS * rate)) / rate
    pictures = 100 + rng.normal(size=(len(times), 24, 32))
    pictures[:, 10:14, 8:20] += 3 * np.sin(2 * np.pi * 0.25 * times)[:, None, None]
    moving = (times > 40) & (times < 60)  # a sleeper who turns over is no clock
    pictures[moving, 8:20, 4:24] += 40 * rng.normal(size=(moving.sum(), 12, 20))
    assert steady_pixels(pictures.clip(0, 255).astype(np.uint8)).all()
    digits = rng.normal(size=(WINDOW_SECONDS, 2, 8))
    pictures[:, 1:3, 1:9] += 30 * digits[times.astype(int)]
    pictures = pictures.clip(0, 255).astype(np.uint8)
    found = steady_pixels(pictures)
    assert not found[1:3, 1:9].any() and found[4:].all() and found[:, 10:].all()
    assert steady_pixels(rng.integers(0, 255, pictures.shape, dtype=np.uint8)).all()
    assert steady_pixels(pictures[:1]).all()
