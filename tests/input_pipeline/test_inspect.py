"""The inspection of a manifest: every problem of every night, one line each."""

from dataclasses import replace

import numpy as np
import pytest

from input_pipeline import ClipSettings, Night, write_manifest
from input_pipeline.errors import UserError
from input_pipeline.inspect import inspect_night, main

from .recordings import START, steady, write_psg, write_video

NOISE = np.random.default_rng(0).normal(0, 30, 240 * 125)
SETTINGS = ClipSettings(height=8, width=8)
STAGES = ["W", "N1", "N2", "N3", "R", "W", "W", "W"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("inspect")
    write_psg(made / "p.edf", 240, stages=STAGES, samples=NOISE)
    write_video(made / "v.mp4", steady(480, 2))
    write_video(made / "short.mp4", steady(120, 2))
    (made / "junk.mp4").write_bytes(b"junk" * 100)
    return made


@pytest.fixture
def night(folder):
    return Night("n1", "s1", folder / "v.mp4", folder / "p.edf", ahi=3.0, video_start=START)


def run(capsys, folder, nights, *arguments):
    """What the command prints, and the error it ends with."""
    write_manifest(folder / "nights.csv", nights)
    error = ""
    try:
        main(["--manifest", str(folder / "nights.csv"), "--jobs", "1", *arguments])
    except UserError as raised:
        error = str(raised)
    return capsys.readouterr().out.splitlines(), error


@pytest.mark.parametrize("arguments", [[], ["--full"]])
def test_a_good_night(capsys, folder, night, arguments):
    assert run(capsys, folder, [night], *arguments) == (["1 nights can be used"], "")


def test_a_video_with_fewer_frames_than_a_clip_needs(capsys, folder, night):
    lines, error = run(capsys, folder, [night], "--frame-rate", "5")
    assert lines == [
        "note: night n1: 2 frames a second in the video, 5 in a clip; clips that lack too many are "
        "left out (--frame-rate takes fewer)",
        "1 nights can be used",
    ]
    lines, error = run(capsys, folder, [night], "--frame-rate", "5", "--full")
    assert "not one clip of the scored night can be used (8 missing frames)" in lines[0]
    assert error == "1 of 1 nights cannot be used"


def test_every_problem_of_every_night(capsys, folder, night):
    nights = [
        night,
        replace(night, night_id="n2", video=folder / "junk.mp4", psg_channel="O1-Cz"),
        replace(night, night_id="n3", video=folder / "short.mp4"),
        replace(night, night_id="n4", video_start=None, ahi=None),
    ]
    lines, error = run(capsys, folder, nights)
    assert error == "3 of 4 nights cannot be used"
    starts = [
        "unusable: night n2: no channel 'O1-Cz'; the PSG holds EEG C3-A2",
        "unusable: night n2: the video cannot be opened",
        "unusable: night n3: the video lacks 6 of 8 scored clips",
        "unusable: night n4: nothing says when the video began",
        "note: night n4: no AHI in the manifest",
    ]
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)
    assert "junk" not in "".join(lines)


def test_nights_of_different_channels_are_noted(capsys, folder, night):
    both = ["C3-REF", "A2-REF", "C4-M1"]
    write_psg(folder / "apart.edf", 240, stages=STAGES, samples=NOISE, labels=both[:2])
    write_psg(folder / "other.edf", 240, stages=STAGES, samples=NOISE, labels=both)
    nights = [
        night,
        replace(night, night_id="n2", subject_id="s2", psg=folder / "apart.edf", video=None),
        replace(night, night_id="n3", subject_id="s3", psg=folder / "other.edf", video=None),
    ]
    lines, error = run(capsys, folder, nights)
    expected = "C3-M2 in 2 (as n1), C4-M1 in 1 (as n3); one can be named (psg_channel)"
    assert error == "" and f"note: nights are read from different channels: {expected}" in lines
    named = [replace(each, psg_channel="C3-A2") for each in nights]
    assert not any("different channels" in line for line in run(capsys, folder, named)[0])


def test_problems_of_the_manifest_come_first(capsys, folder, night):
    missing = replace(night, night_id="n2", video=folder / "gone.mp4")
    lines, error = run(capsys, folder, [missing, night])
    assert lines == [
        f"unusable: manifest {folder / 'nights.csv'}, line 2, column video (night n2): no such "
        "file; expected a file"
    ]
    assert error == "1 problems in the manifest's rows"


def test_a_manifest_without_a_right_row_speaks_of_no_nights(capsys, tmp_path):
    (tmp_path / "p.edf").touch()
    (tmp_path / "nights.csv").write_text('night_id,subject_id,psg,ahi\nn,s,p.edf,"8,6"\n')
    with pytest.raises(UserError, match="^1 problems in the manifest's rows$"):
        main(["--manifest", str(tmp_path / "nights.csv")])
    assert "decimal point" in capsys.readouterr().out


def test_what_deserves_a_look_but_stops_nothing(folder, night, tmp_path):
    lost = [k / 2 for k in range(480) if not 200 <= k < 240]
    odd = replace(
        night,
        psg=write_psg(tmp_path / "p.edf", 240, stages=["W"] * 8, unit="nV", samples=NOISE),
        video=write_video(tmp_path / "v.mkv", lost, metadata={"creation_time": START.isoformat()}),
        video_start=None,
    )
    findings = inspect_night(odd, SETTINGS, full=True)
    assert findings.errors == []
    notes = " ".join(findings.notes)
    assert "not that of an EEG" in notes
    assert "no clip of N1, N2, N3, REM" in notes
    assert "creation time; check that it is local time" in notes
    assert "1 clips left out (missing frames), 7 kept" in notes


def test_pauses_cut_files_and_scoring_off_the_grid_are_noted(shared_data, folder, night, tmp_path):
    (tmp_path / "h.csv").write_text("onset,duration,stage\n0,45,W\n45,75,N2\n")
    paused = shared_data / "edf-edge-cases" / "made_edf_plus_D_gap.edf"
    findings = inspect_night(Night("n", "s", None, paused, tmp_path / "h.csv", ahi=1.0), SETTINGS)
    assert findings.errors == []
    assert findings.notes[0] == "night n: pauses in the PSG: 1, 125.5 s in all"
    assert "scoring changes inside 1 of 4 clips" in findings.notes[1]
    (tmp_path / "h.csv").write_text("?\n?\n")
    findings = inspect_night(replace(night, hypnogram=tmp_path / "h.csv"), SETTINGS)
    assert findings.errors == ["night n1: no clip of a known stage"]


def test_the_command_says_so_in_one_line_and_exits_with_1(folder, run_python):
    done = run_python("input_pipeline.inspect", "--manifest", str(folder / "none.csv"), check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: manifest") and done.stderr.count("\n") == 1
