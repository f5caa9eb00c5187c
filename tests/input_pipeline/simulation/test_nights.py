import dataclasses
import hashlib
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import mne
import numpy as np
import pytest

from input_pipeline import simulate
from input_pipeline.clips import ClipSettings, clips
from input_pipeline.errors import UserError
from input_pipeline.night import read_manifest
from input_pipeline.readers.edf import read_signal
from input_pipeline.simulation import SimulationSettings
from input_pipeline.simulation.nights import simulate_nights
from input_pipeline.simulation.psg import simulate_psg
from input_pipeline.simulation.recording import hidden_signals, plan
from input_pipeline.simulation.settings import stream
from tests.conftest import ROOT

SHORT = SimulationSettings(nights=2, hours=0.05, seed=1)


def hashes(folder) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    folder = tmp_path_factory.mktemp("short")
    simulate_nights(SHORT, folder, jobs=1)
    return folder


def test_the_same_seed_gives_the_same_bytes(short, tmp_path):
    again = tmp_path / "again"
    simulate_nights(SHORT, again, jobs=2)
    found = hashes(again)
    assert found == hashes(short)
    assert {"nights.csv", "simulation.json", "sim0001/psg.edf", "sim0001/video.mp4"} <= set(found)


def test_another_seed_gives_other_nights(short, tmp_path):
    other = dataclasses.replace(SHORT, seed=2, nights=1)
    simulate_nights(other, tmp_path, jobs=1)
    mine, theirs = hashes(short), hashes(tmp_path)
    assert mine["sim0000/psg.edf"] != theirs["sim0000/psg.edf"]
    assert mine["sim0000/video.mp4"] != theirs["sim0000/video.mp4"]


def test_a_killed_run_goes_on_and_ends_the_same(short, tmp_path):
    command = [sys.executable, "-m", "input_pipeline.simulate", "--out", str(tmp_path)]
    command += ["--nights", "2", "--hours", "0.05", "--seed", "1", "--jobs", "1"]
    child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".unfinished-*sim*")) and not (tmp_path / "sim0000").exists():
        assert child.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "nights.csv").exists()
    simulate_nights(SHORT, tmp_path, jobs=1)
    assert hashes(tmp_path) == hashes(short)


def test_finished_nights_are_kept_and_more_can_be_added(short, tmp_path):
    simulate_nights(dataclasses.replace(SHORT, nights=1), tmp_path, jobs=1)
    before = (tmp_path / "sim0000" / "video.mp4").stat().st_mtime_ns
    nights = simulate_nights(SHORT, tmp_path, jobs=1)
    assert [night.night_id for night in nights] == ["sim0000", "sim0001"]
    assert (tmp_path / "sim0000" / "video.mp4").stat().st_mtime_ns == before
    assert hashes(tmp_path) == hashes(short)


def test_nights_of_other_settings_are_not_mixed(short):
    with pytest.raises(UserError, match="crf 23, expected 20"):
        simulate_nights(dataclasses.replace(SHORT, crf=20), short)


def test_changed_settings_of_nights_are_noticed(short, tmp_path):
    (tmp_path / "simulation.json").write_text(
        (short / "simulation.json").read_text().replace('"crf": 23', '"crf": 24')
    )
    with pytest.raises(UserError, match="simulation.json: is damaged or was changed"):
        simulate_nights(SHORT, tmp_path)


def test_the_manifest_reads_back_as_written(settings, folder):
    written = simulate_nights(settings, folder)
    read = read_manifest(folder / "nights.csv")
    assert read == written
    assert sum(night.hypnogram is not None for night in read) == 1
    assert len({night.subject_id for night in read}) == settings.nights


def test_clips_come_back_with_the_scored_stage_and_the_simulated_sample(settings, folder, truths):
    for number, night in enumerate(read_manifest(folder / "nights.csv")):
        recording = plan(settings, number)[0]
        c3 = simulate_psg(settings, recording, hidden_signals(settings, recording))[0]
        step = 2 * c3.limit / 65535
        records = list(clips(night, ClipSettings(height=48, width=64)))
        assert len(records) >= len(recording.stages) - 3
        for record in records:
            clip = record["clip_index"]
            assert record["stage"] == truths[night.night_id]["scored"][clip]
            samples = np.clip(c3.samples[clip * 3750 : (clip + 1) * 3750], -400, 400)
            np.testing.assert_allclose(record["eeg"], samples, atol=step)


def test_both_clocks_are_honest(settings, folder):
    for number, night in enumerate(read_manifest(folder / "nights.csv")):
        clocks = plan(settings, number)[0].clocks
        start = read_signal(night.psg, name=night.night_id).start
        assert abs(start - clocks.psg_start) < timedelta(milliseconds=4)  # half a sample
        raw = mne.io.read_raw_edf(night.psg, verbose="error")  # knows whole seconds
        whole = clocks.psg_start.replace(microsecond=0)
        assert raw.info["meas_date"].replace(tzinfo=None) == whole
        assert raw.n_times / raw.info["sfreq"] == settings.hours * 3600
        shown = night.video_start + timedelta(seconds=night.sync_offset_s)
        begin = (shown - clocks.psg_start).total_seconds()
        assert begin == pytest.approx(clocks.video_begin, abs=1e-3)
        end = begin + 3600 * (1 + 1e-6 * night.sync_drift_ppm)
        assert end == pytest.approx(float(clocks.psg_time(np.array(3600.0))), abs=2e-3)


def test_recordings_differ_in_where_their_stages_are(tmp_path):
    forms = [plan(SHORT, night)[0].hypnogram_form for night in range(5)]
    assert set(forms) == {"annotations", "edf", "csv"}
    night = forms.index("csv")
    settings = dataclasses.replace(SHORT, nights=night + 1)
    nights = simulate_nights(settings, tmp_path, jobs=1)
    records = list(clips(nights[night], ClipSettings(height=32, width=32)))
    scored = plan(settings, night)[0].scored
    assert [r["stage"] for r in records] == [scored[r["clip_index"]] for r in records]


def test_the_video_s_settings_leave_every_eeg_sample_as_it_was():
    other = dataclasses.replace(SHORT, height=96, width=128, frame_rate=5.0, crf=18)
    one, two = (
        simulate_psg(s, plan(s, 0)[0], hidden_signals(s, plan(s, 0)[0])) for s in (SHORT, other)
    )
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)


def test_the_eeg_s_difficulty_leaves_the_breathing_as_it_was():
    other = dataclasses.replace(SHORT, difficulty=1.5, label_noise=0.0)
    one, two = (hidden_signals(s, plan(s, 1)[0]) for s in (SHORT, other))
    np.testing.assert_array_equal(one.breathing.chest, two.breathing.chest)
    np.testing.assert_array_equal(one.motion, two.motion)


def test_streams_of_different_names_are_different():
    assert stream(0, 0, "eeg").random() != stream(0, 0, "video").random()
    assert stream(0, 1, "eeg").random() != stream(0, 0, "eeg").random()


@pytest.mark.parametrize(
    ("name", "value"), [("height", 47), ("nights", 0), ("hours", 9.0), ("crf", 60), ("windows", 0)]
)
def test_settings_that_cannot_be_are_named(name, value):
    with pytest.raises(UserError, match=f"{name}: found {value}"):
        SimulationSettings(**{name: value})


def test_command_writes_nights_and_draws_one(tmp_path, capsys):
    picture = tmp_path / "night.png"
    arguments = ["--nights", "1", "--hours", "0.05", "--seed", "1", "--jobs", "1"]
    simulate.main(["--out", str(tmp_path / "nights"), *arguments, "--figure", str(picture)])
    assert "1 simulated recordings" in capsys.readouterr().out
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "nights" / "nights.csv").exists()


def test_command_says_in_one_line_what_is_wrong(run_python, tmp_path):
    result = run_python(
        "input_pipeline.simulate", "--out", str(tmp_path), "--height", "47", check=False
    )
    assert result.returncode == 1
    assert result.stderr.strip() == (
        "error: simulation setting height: found 47, expected an even number from 32"
    )
