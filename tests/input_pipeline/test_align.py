"""The command on simulated nights, whose clocks are known."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from input_pipeline import align
from input_pipeline.alignment import reading
from input_pipeline.alignment.match import Search, match
from input_pipeline.errors import UserError
from input_pipeline.night import Night, read_manifest, write_manifest
from input_pipeline.readers.sync import Clock
from input_pipeline.readers.sync import clock as night_clock
from input_pipeline.simulation.nights import simulate_nights
from input_pipeline.simulation.settings import SimulationSettings


def test_aligns_a_night_and_refuses_another_nights_video(tmp_path, capsys):
    nights = simulate_nights(SimulationSettings(nights=2, hours=0.4, seed=3), tmp_path, jobs=1)
    manifest = tmp_path / "off.csv"
    assert nights[0].video_start is not None
    late = nights[0].video_start - timedelta(seconds=77.7)  # and no offset or drift of its own
    wrong = replace(nights[1], video=nights[0].video, sync_offset_s=1.25)
    write_manifest(manifest, [replace(nights[0], video_start=late), wrong])
    before = manifest.read_bytes()
    with pytest.raises(UserError, match="1 of 2 nights were refused"):
        align.main(["--manifest", str(manifest), "--jobs", "1"])
    first, second, last = capsys.readouterr().out.splitlines()
    assert first.startswith("night sim0000: offset 77.7")
    assert "night sim0001: refused: no offset" in second
    assert "1 of 2 nights aligned" in last
    assert manifest.read_bytes() == before
    aligned = read_manifest(tmp_path / "off.aligned.csv")
    assert aligned[0].sync_offset_s == pytest.approx(77.7, abs=0.1)
    assert (aligned[1].sync_offset_s, aligned[1].sync_drift_ppm) == (1.25, nights[1].sync_drift_ppm)

    out = tmp_path / "alignment"
    assert (out / "sim0000.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert sorted(path.name for path in out.iterdir()) == [
        "sim0000.png",
        "sim0000_frame_times.npy",
        "sim0001.png",
    ]
    frames = np.load(out / "sim0000_frame_times.npy")
    with np.load(tmp_path / "truth" / "sim0000.npz") as file:
        assert frames[0] == pytest.approx(float(file["video_begin"]), abs=0.1)


def test_the_manifest_itself_changes_only_if_asked(tmp_path, monkeypatch, capsys):
    psg = tmp_path / "psg.edf"
    psg.touch()
    manifest = tmp_path / "nights.csv"
    write_manifest(manifest, [Night("n1", "s1", psg, psg), Night("n2", "s2", psg, psg)])
    cells = {"sync_offset_s": "1.250", "sync_drift_ppm": "-3.0"}
    monkeypatch.setattr(
        align, "align_night", lambda night, **_: align.Aligned(night.night_id, "fine", cells)
    )
    before = manifest.read_bytes()
    align.main(["--manifest", str(manifest), "--jobs", "1"])
    assert manifest.read_bytes() == before
    align.main(["--manifest", str(manifest), "--jobs", "1", "--write"])
    assert manifest.read_bytes() == (tmp_path / "nights.aligned.csv").read_bytes()
    assert [night.sync_offset_s for night in read_manifest(manifest)] == [1.25, 1.25]


def test_a_night_that_cannot_be_read_is_one_line(tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.touch()
    write_manifest(
        tmp_path / "nights.csv",
        [Night("n1", "s1", None, empty), Night("n2", "s2", empty, empty)],
    )
    with pytest.raises(UserError, match="2 of 2 nights were refused"):
        align.main(["--manifest", str(tmp_path / "nights.csv"), "--jobs", "1"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == "night n1: refused: no video in the manifest"
    assert second.startswith("night n2: refused: not an EDF")
    assert not (tmp_path / "nights.aligned.csv").exists()


@pytest.mark.slow
def test_ten_nights_with_large_offsets_and_drifts(tmp_path, monkeypatch):
    nights = simulate_nights(SimulationSettings(nights=10, hours=1.0, seed=11), tmp_path)
    videos = [reading.read_video_side(night) for night in nights]
    offsets = np.random.default_rng(0).uniform(-120, 120, len(nights))
    everything = {"belt": 3, "EMG": 4, "EEG": 2}
    for most, error_s, most_refused in (
        (everything, 0.1, 0),
        ({"belt": 3}, 0.1, 0),
        ({"EEG": 2}, 0.5, 6),  # muscle noise in the EEG places few windows of an hour
    ):
        monkeypatch.setattr(reading, "_MOST_CHANNELS", most)
        errors, refused, alarms = [], 0, 0
        for k, (night, video, offset) in enumerate(zip(nights, videos, offsets, strict=True)):
            psg = reading.read_psg_side(night)
            truth = night_clock(night, psg.start, None)
            prior = Clock(truth.offset_s - offset)
            # Its own video and those of two other nights: all of them take half an hour.
            for other in (video, videos[k - 1], videos[k - 2]):
                found = match(other, psg, prior, Search())
                assert not isinstance(found, str), found
                if other is not video:
                    alarms += found.refusal is None
                elif found.refusal is not None:
                    refused += 1
                else:
                    ends = np.array([0.0, 3600.0])
                    away = found.clock.psg_seconds(ends) - truth.psg_seconds(ends)
                    errors.append(float(np.abs(away).max()))
        print(*most, "largest error of each night, s:", np.round(errors, 3), f"{refused} refused")
        assert max(errors) < error_s
        assert refused <= most_refused
        assert alarms == 0
