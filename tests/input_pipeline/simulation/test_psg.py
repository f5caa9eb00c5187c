import numpy as np
import pytest
from scipy.signal import butter, sosfiltfilt, welch

from input_pipeline.simulation.eeg import BANDS
from input_pipeline.simulation.hypnogram import N1, N2, N3, REM, W
from input_pipeline.simulation.psg import simulate_psg
from input_pipeline.simulation.recording import hidden_signals, plan
from input_pipeline.simulation.settings import SimulationSettings

SETTINGS = SimulationSettings(nights=8, hours=1, seed=4)


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    """Each channel of eight hours as [clips, samples]; `stage`, and `moved` (any movement)."""
    parts: dict[str, list] = {}
    for night in range(SETTINGS.nights):
        recording = plan(SETTINGS, night)[0]
        for channel in simulate_psg(SETTINGS, recording, hidden_signals(SETTINGS, recording)):
            shaped = channel.samples.reshape(len(recording.stages), 30 * channel.rate)
            parts.setdefault(channel.label, []).append(shaped)
        parts.setdefault("stage", []).append(recording.stages)
        begin = 30 * np.arange(len(recording.stages))
        moved = [
            any(m.end > b and m.onset < b + 30 and m.kind == "large" for m in recording.movements)
            for b in begin
        ]
        parts.setdefault("moved", []).append(np.array(moved))
    return {name: np.concatenate(values) for name, values in parts.items()}


@pytest.fixture(scope="module")
def bands(clips) -> np.ndarray:
    """Median power of delta, theta, alpha, sigma, beta in quiet clips of each stage."""
    frequency, power = welch(clips["EEG C3-A2"], SETTINGS.eeg_rate, nperseg=500, axis=-1)
    step = frequency[1]
    per_clip = np.stack(
        [power[:, (frequency >= a) & (frequency < b)].sum(axis=1) * step for a, b in BANDS], axis=1
    )
    quiet = ~clips["moved"]
    return np.stack([np.median(per_clip[quiet & (clips["stage"] == s)], axis=0) for s in range(5)])


def test_all_stages_are_there(clips):
    assert np.bincount(clips["stage"], minlength=5).min() > 20


def test_bands_are_ordered_as_in_real_sleep(bands):
    delta, theta, _, sigma, beta = bands.T
    assert delta[N3] > 1.7 * delta[N2] > 1.7 * 1.7 * delta[REM]
    shares = bands / bands.sum(axis=1, keepdims=True)
    assert shares[:, 2].argmax() == W
    assert sigma[N2] > sigma[N1] and sigma[N2] > sigma[REM]
    assert shares[N2, 3] > shares[N3, 3]
    assert beta[W] == beta.max()
    assert theta[N1] > theta[W]


def test_levels_are_those_measured(bands):
    # DREAMS excerpts, C3-A1: two patients each; a factor of two either way covers both and ages.
    measured = {N1: (98, 18, 10), N2: (262, 46, 16), N3: (650, 58, 22)}
    for stage, levels in measured.items():
        assert bands[stage, :3] == pytest.approx(levels, rel=0.75), stage


def test_chin_is_slack_in_rem(clips):
    emg = np.median(clips["EMG chin"].std(axis=1)[:, None], axis=1)
    levels = [np.median(emg[clips["stage"] == stage]) for stage in range(5)]
    assert levels[REM] < 0.35 * min(levels[N2], levels[N3])
    assert levels[W] > 1.3 * levels[N2]


def test_an_independent_detector_counts_the_spindles_of_n2(clips):
    sos = butter(4, [12, 15.5], "band", fs=SETTINGS.eeg_rate, output="sos")
    quiet = ~clips["moved"]

    def per_minute(stage: int) -> float:
        wave = sosfiltfilt(sos, clips["EEG C3-A2"][quiet & (clips["stage"] == stage)], axis=1)
        window = np.ones(SETTINGS.eeg_rate // 4) / (SETTINGS.eeg_rate // 4)
        level = np.sqrt(np.apply_along_axis(np.convolve, 1, wave**2, window, "same"))
        above = level > 5.5
        starts = above[:, 1:] & ~above[:, :-1]
        return starts.sum() / len(wave) * 2

    assert 2 <= per_minute(N2) <= 6  # two experts on the same night: 2.8 and 4.5
    assert per_minute(N2) > 2.5 * max(per_minute(REM), per_minute(N1))


def test_what_moves_in_the_video_shakes_the_electrodes(clips):
    asleep = np.isin(clips["stage"], (N1, N2, REM))
    swing = np.ptp(clips["EEG C3-A2"], axis=1)
    assert np.median(swing[asleep & clips["moved"]]) > 1.3 * np.median(
        swing[asleep & ~clips["moved"]]
    )


def test_both_hemispheres_tell_the_same_story_but_not_the_same_samples(clips):
    quiet = ~clips["moved"]
    left, right = clips["EEG C3-A2"][quiet].ravel(), clips["EEG C4-A1"][quiet].ravel()
    assert 0.6 < np.corrcoef(left, right)[0, 1] < 0.98


def test_signals_go_on_over_clip_boundaries(clips):
    eeg = clips["EEG C3-A2"][~clips["moved"]]
    inside = np.abs(np.diff(eeg, axis=1)).mean()
    first = plan(SETTINGS, 0)[0]
    whole = simulate_psg(SETTINGS, first, hidden_signals(SETTINGS, first))[0].samples
    seams = np.arange(1, len(first.stages)) * 30 * SETTINGS.eeg_rate
    assert np.median(np.abs(whole[seams] - whole[seams - 1])) < 1.5 * inside
