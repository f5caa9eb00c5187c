import dataclasses

import numpy as np
import pytest

from input_pipeline.readers.video import VideoReader
from input_pipeline.simulation.recording import hidden_signals, plan, truth
from input_pipeline.simulation.settings import SimulationSettings
from input_pipeline.simulation.video import frame_numbers, frames, write_mp4


@pytest.fixture(scope="module")
def recordings(settings):
    return [plan(settings, night)[0] for night in range(settings.nights)]


def decoded(path, settings, recording) -> tuple[np.ndarray, np.ndarray]:
    """All frames of an MP4 as the reader gives them, float32, and their moments in the PSG."""
    times = frame_numbers(settings, recording) / settings.frame_rate
    with VideoReader(path, name="test") as video:
        shown, present = video.read_frames(
            times, settings.height, settings.width, tolerance_s=0.1 / settings.frame_rate
        )
    assert present.all()
    return shown[..., 0].astype(np.float32), recording.clocks.psg_time(times)


def breathing_seen(shown: np.ndarray, times: np.ndarray, truth: dict) -> np.ndarray:
    """Correlation of the true breathing with what still clips show, one value a clip."""
    rate = float(truth["rate"])
    found = []
    for clip in range(len(truth["stage"])):
        here = (times >= 30 * clip) & (times < 30 * clip + 30)
        samples = slice(round(30 * clip * rate), round((30 * clip + 30) * rate))
        moving = truth["motion"][samples].max() + truth["twitch"][samples].max() > 0
        if here.sum() < 50 or moving:
            continue
        flat = shown[here].reshape(here.sum(), -1)
        flat = flat - flat.mean(axis=0)
        waves = np.linalg.eigh(flat @ flat.T)[1][:, -2:]  # the two strongest common changes
        index = np.minimum((times[here] * rate).round().astype(int), len(truth["chest"]) - 1)
        true = truth["abdomen"][index], truth["chest"][index]
        found.append(max(abs(np.corrcoef(w, t)[0, 1]) for w in waves.T for t in true))
    return np.array(found)


def test_breathing_survives_the_codec(settings, folder, truths, recordings):
    seen = np.concatenate(
        [
            breathing_seen(
                *decoded(folder / r.night_id / "video.mp4", settings, r), truths[r.night_id]
            )
            for r in recordings
        ]
    )
    assert len(seen) > 10
    assert np.median(seen) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize(("size", "rate"), [((48, 56), 2.0), ((96, 128), 5.0), ((96, 128), 25.0)])
def test_breathing_survives_at_other_sizes_and_frame_rates(tmp_path, size, rate):
    settings = SimulationSettings(
        nights=3, hours=0.05, height=size[0], width=size[1], frame_rate=rate, seed=5
    )
    recording = plan(settings, 2)[0]
    hidden = hidden_signals(settings, recording)
    write_mp4(tmp_path / "v.mp4", settings, recording, hidden)
    seen = breathing_seen(
        *decoded(tmp_path / "v.mp4", settings, recording), truth(settings, recording, hidden)
    )
    assert len(seen) >= 4
    assert np.median(seen) > 0.8


def test_movements_survive_the_codec_at_their_moments(settings, folder, truths, recordings):
    """Also tells the clocks: the picture changes when the truth says so, not a frame off."""
    restless = [r for r in recordings if truths[r.night_id]["motion"].max() > 5]
    assert len(restless) >= 2
    for recording in restless:
        shown, times = decoded(folder / recording.night_id / "video.mp4", settings, recording)
        truth = truths[recording.night_id]
        change = np.abs(np.diff(shown, axis=0)).mean(axis=(1, 2))
        middle = (times[1:] + times[:-1]) / 2
        rate, step = float(truth["rate"]), 1 / settings.frame_rate
        motion = np.convolve(truth["motion"], np.ones(round(rate * step)), "same")
        clock = np.arange(len(motion)) / rate
        use = (middle > 5) & (middle < clock[-1] - 5)
        lags = np.arange(-3, 3.01, 0.25)
        score = [
            np.corrcoef(np.sqrt(np.interp(middle[use] + lag, clock, motion)), change[use])[0, 1]
            for lag in lags
        ]
        assert max(score) > 0.6
        assert abs(lags[int(np.argmax(score))]) <= step


def test_frames_are_the_camera_s_and_noise_is_in_them(settings, recordings):
    recording = recordings[0]
    hidden = hidden_signals(settings, recording)
    numbers, pictures = zip(*frames(settings, recording, hidden), strict=True)
    numbers, pictures = np.concatenate(numbers), np.concatenate(pictures)
    np.testing.assert_array_equal(numbers, frame_numbers(settings, recording))
    assert pictures.shape == (len(numbers), settings.height, settings.width)
    assert 40 < pictures.mean() < 160
    assert (pictures == 255).mean() < 0.01
    still = pictures[10:30].astype(float)
    assert 1 < np.median(still.std(axis=0)) < 6


def test_size_and_frame_rate_are_the_user_s(tmp_path):
    import av

    settings = SimulationSettings(nights=1, hours=0.05, height=66, width=90, frame_rate=5.0)
    recording = plan(settings, 0)[0]
    write_mp4(tmp_path / "v.mp4", settings, recording, hidden_signals(settings, recording))
    with av.open(str(tmp_path / "v.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.height, stream.width, stream.pix_fmt) == (66, 90, "yuv420p")
        moments = [float(frame.pts * frame.time_base) for frame in container.decode(stream)]
    np.testing.assert_allclose(moments, frame_numbers(settings, recording) / 5, atol=1e-6)


def test_lost_frames_leave_holes_in_the_clock(tmp_path):
    import av

    settings = SimulationSettings(nights=1, hours=0.05, dropped_frames=0.2)
    recording = plan(settings, 0)[0]
    write_mp4(tmp_path / "v.mp4", settings, recording, hidden_signals(settings, recording))
    with av.open(str(tmp_path / "v.mp4")) as container:
        moments = [float(f.pts * f.time_base) for f in container.decode(video=0)]
    numbers = np.array(moments) * settings.frame_rate
    np.testing.assert_allclose(numbers, frame_numbers(settings, recording), atol=1e-6)
    assert np.diff(numbers).max() > 1.5


def test_a_picture_of_another_size_shows_the_same_night(settings, recordings):
    larger = dataclasses.replace(settings, height=96, width=128)
    recording = recordings[1]
    small, large = (
        np.concatenate([p for _, p in frames(s, recording, hidden_signals(s, recording))])[::40]
        for s in (settings, larger)
    )
    halved = large.reshape(len(large), 48, 2, 64, 2).mean(axis=(2, 4))
    assert np.corrcoef(small.ravel(), halved.ravel())[0, 1] > 0.85
