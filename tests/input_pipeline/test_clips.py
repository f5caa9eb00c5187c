"""Clips of a night: both clocks right to one sample and one frame, and nothing lost in silence."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_pipeline import ClipSettings, Night, clips
from input_pipeline.clips import read_clip
from input_pipeline.errors import UserError

from .recordings import later, numbers, steady, with_onsets, write_psg, write_video

SETTINGS = ClipSettings(height=32, width=64)
FPS = 10
SECONDS = 240
STAGES = ["W", "1", "2", "3", "4", "R", "?", "W"]


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """Four minutes: EEG sample i is i microvolt, video frame n (ten a second) shows n."""
    folder = tmp_path_factory.mktemp("night")
    wide = [(0.0, 1.0, "leaves room for other onsets")]
    return Night(
        night_id="n1",
        subject_id="s1",
        video=write_video(folder / "v.mp4", steady(SECONDS * FPS, FPS)),
        psg=write_psg(
            folder / "p.edf", SECONDS, start=later(0.25), stages=STAGES, annotations=wide
        ),
        video_start=later(0.25),
    )


def test_a_record_is_what_it_says(night):
    made = list(clips(night, SETTINGS))
    assert [clip["clip_index"] for clip in made] == list(range(8))
    assert [clip["stage"] for clip in made] == [0, 1, 2, 3, 3, 4, -1, 0]
    for clip in made:
        assert clip["video"].shape == (60, 32, 64, SETTINGS.channels)
        assert clip["video"].dtype == np.uint8
        assert clip["eeg"].shape == (3750,) and clip["eeg"].dtype == np.float32
        assert (clip["subject_id"], clip["night_id"]) == ("s1", "n1")
        first = clip["clip_index"] * 30
        assert numbers(clip["video"]) == [first * FPS + 5 * k for k in range(60)]
        np.testing.assert_array_equal(clip["eeg"], np.arange(first * 125, (first + 30) * 125))


def test_a_night_that_nobody_scored_has_all_clips_and_no_stage(night):
    nobodys = replace(night, scorer="nobody")
    found, scored = list(clips(nobodys, SETTINGS)), list(clips(night, SETTINGS))
    assert [clip["clip_index"] for clip in found] == list(range(8))
    for one, other in zip(found, scored, strict=True):
        assert one["stage"] == -1
        np.testing.assert_array_equal(one["eeg"], other["eeg"])
        np.testing.assert_array_equal(one["video"], other["video"])
    with pytest.raises(UserError, match="night n1: scorer is 'nobody', but .* names a hypnogram"):
        list(clips(replace(nobodys, hypnogram=night.psg), SETTINGS))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    lag_ms=st.integers(-40_000, 40_000),
    offset=st.floats(-40, 40),
    drift=st.floats(-10000, 10000),
    frame_rate=st.sampled_from([0.5, 2.0, 5.0]),
)
def test_the_clock_is_right_to_one_frame(night, lag_ms, offset, drift, frame_rate):
    """Frame n of the video lies at lag + offset + n / FPS (1 + drift) of the PSG, by definition."""
    lag = lag_ms / 1000
    shifted = replace(
        night,
        video_start=later(0.25 + lag),
        sync_offset_s=offset,
        sync_drift_ppm=drift,
    )
    every = ClipSettings(frame_rate=frame_rate, height=32, width=64, max_uncovered=0.99)
    frame_at = lag + offset + np.arange(SECONDS * FPS) / FPS * (1 + drift * 1e-6)
    made = clips(shifted, every)
    kept = list(made)
    for clip in kept:
        begin = clip["clip_index"] * 30
        moments = begin + np.arange(every.frames) / frame_rate
        shown = frame_at[numbers(clip["video"])]
        covered = (moments >= frame_at[0]) & (moments <= frame_at[-1])
        # Nearest frame, except that a clip's first moment takes no frame from before the clip.
        assert np.abs(shown - moments)[1:][covered[1:]].max() <= 0.5 / FPS * 1.011
        if covered[0]:
            assert -1e-5 <= shown[0] - begin <= 1.011 / FPS
        assert covered.mean() >= 1 - every.max_missing - 1 / every.frames
    whole = [
        k for k in range(8) if frame_at[0] <= 30 * k and 30 * (k + 1) <= frame_at[-1] + 1 / FPS
    ]
    assert set(whole) <= {clip["clip_index"] for clip in kept}
    assert sum(made.counts.values()) == 8 and made.counts["kept"] == len(kept)


@pytest.mark.parametrize("rate", [100, 256, 500])
def test_the_clock_is_right_to_one_sample_at_any_rate(night, tmp_path, rate):
    def wave(seconds):
        return 1000 * np.sin(2 * np.pi * 1.7 * seconds)  # a sample late is 85 microvolt off

    samples = wave(np.arange(SECONDS * rate) / rate)
    path = write_psg(tmp_path / "p.edf", SECONDS, rate=rate, samples=samples, stages=STAGES)
    made = list(clips(replace(night, psg=path, video_start=later(0)), SETTINGS))
    assert len(made) == 8
    for clip in made:
        expected = wave(clip["clip_index"] * 30 + np.arange(3750) / 125)
        assert np.abs(clip["eeg"] - expected)[50:-50].max() < 3


def test_scoring_that_begins_later_than_the_psg(night, tmp_path):
    (tmp_path / "h.csv").write_text("onset,duration,stage\n47.6,60,N2\n107.6,30,REM\n")
    made = list(clips(replace(night, hypnogram=tmp_path / "h.csv"), SETTINGS))
    assert [(clip["clip_index"], clip["stage"]) for clip in made] == [(0, 2), (1, 2), (2, 4)]
    for clip, first in zip(made, (47.6, 77.6, 107.6), strict=True):
        np.testing.assert_array_equal(clip["eeg"], round(first * 125) + np.arange(3750))
        assert numbers(clip["video"])[:3] == [round(first * FPS) + 5 * k for k in range(3)]


def test_clips_that_touch_a_pause_are_left_out_and_labels_stay(night, tmp_path):
    """A pause of 45 s after 100 s: what follows it keeps its own time."""
    (tmp_path / "h.csv").write_text("onset,duration,stage\n0,100,W\n145,125,N2\n")
    onsets = [f"+{k + 0.25 + (45 if k >= 100 else 0):.2f}" for k in range(SECONDS)]
    paused = replace(
        night,
        psg=with_onsets(night.psg, tmp_path / "gap.edf", onsets),
        hypnogram=tmp_path / "h.csv",
    )
    made = clips(paused, SETTINGS)
    kept = {clip["clip_index"]: clip for clip in made}
    # On the grid 0, 30, 60, 90 (touches the pause), and from 145 s on a grid of its own.
    assert {k: clip["stage"] for k, clip in kept.items()} == {0: 0, 1: 0, 2: 0, 4: 2, 5: 2, 6: 2}
    assert made.counts["gap in PSG"] == 1
    np.testing.assert_array_equal(kept[4]["eeg"], 100 * 125 + np.arange(3750))
    assert numbers(kept[4]["video"])[0] == 1450


def test_lost_frames_are_bridged_up_to_the_limit_and_no_further(night, tmp_path):
    """Ten seconds without frames in clip 1 (a third), two in clip 3 (a fifteenth)."""
    lost = [*range(400, 500), *range(1000, 1020)]
    stamps = [k / FPS for k in range(SECONDS * FPS) if k not in lost]
    gappy = replace(night, video=write_video(tmp_path / "v.mkv", stamps))
    made = clips(gappy, SETTINGS)
    kept = {clip["clip_index"]: clip for clip in made}
    assert sorted(kept) == [0, 2, 3, 4, 5, 6, 7]
    assert dict(made.counts) == {"kept": 7, "missing frames": 1}
    shown = np.array(stamps)[numbers(kept[3]["video"])]
    moments = 90 + np.arange(60) / 2
    inside = (moments >= 100) & (moments < 102)
    assert np.abs(shown - moments)[~inside].max() < 0.26
    # Held from before the hole; its edges still have a frame within half a step.
    assert set(shown[inside]) <= {99.9, 102.0}


def test_frames_farther_than_half_a_step_are_lost_and_a_clip_begins_with_the_first_it_has(
    night, tmp_path
):
    lost = [*range(1000, 1018), *range(1500, 1513)]
    stamps = [k / FPS for k in range(SECONDS * FPS) if k not in lost]
    gappy = replace(night, video=write_video(tmp_path / "v.mkv", stamps))
    kept = {clip["clip_index"]: clip for clip in clips(gappy, SETTINGS)}
    shown = {k: np.array(stamps)[numbers(clip["video"])] for k, clip in kept.items()}
    # 101.5 s is 0.3 s from the next frame, 102 s is there.
    np.testing.assert_allclose(shown[3][20:25], [99.9, 99.9, 99.9, 99.9, 102.0])
    np.testing.assert_allclose(shown[5][:5], [151.5, 151.5, 151.5, 151.5, 152.0])


def test_scoring_that_exceeds_the_psg_at_both_ends(night, tmp_path):
    (tmp_path / "h.csv").write_text("onset,duration,stage\n-60,420,N2\n")
    made = clips(replace(night, hypnogram=tmp_path / "h.csv"), SETTINGS)
    kept = {clip["clip_index"]: clip["eeg"][0] for clip in made}
    assert kept == {k: (k - 2) * 3750 for k in range(2, 10)}
    assert dict(made.counts) == {"kept": 8, "outside PSG": 6}


def test_a_video_in_pieces_with_a_gap(night, tmp_path):
    """Two files, 20 s apart, whose names say when they began; frame n is still n / FPS."""
    paths = []
    for begin, end in ((0, 100), (120, SECONDS)):
        path = tmp_path / f"bed7_{later(begin):%Y%m%d-%H%M%S}.mp4"
        write_video(path, steady((end - begin) * FPS, FPS), first=begin * FPS)
        paths.append(path)
    many = replace(night, video=tuple(paths), video_start=None, sync_offset_s=0.25)
    made = clips(many, SETTINGS)
    for clip in made:
        begin = clip["clip_index"] * 30
        assert numbers(clip["video"]) == [begin * FPS + 5 * k for k in range(60)]
    assert dict(made.counts) == {"kept": 7, "missing frames": 1}
    assert made.clock_source == "digits in the file name"
    assert any("gaps between its files: 1, 20 s" in note for note in made.notes)


def test_what_lies_behind_a_restart_is_left_out_and_counted(night, tmp_path):
    pieces = [
        write_video(tmp_path / f"{k}.ts", steady(seconds * FPS, FPS), first=k * 10_000)
        for k, seconds in enumerate((200, 40))
    ]
    path = tmp_path / "v.ts"
    path.write_bytes(b"".join(piece.read_bytes() for piece in pieces))
    made = clips(replace(night, video=path), SETTINGS)
    for clip in made:
        assert numbers(clip["video"])[0] == clip["clip_index"] * 30 * FPS
    assert made.counts["kept"] == 6 and made.counts["behind a restart of the video"] == 1
    assert not any("sync_drift_ppm" in note for note in made.notes)
    assert any("starts anew after 199.9 s" in note and "40 s behind" in note for note in made.notes)


def test_a_video_that_ends_early_is_refused(night, tmp_path):
    short = replace(night, video=write_video(tmp_path / "v.mp4", steady(60 * FPS, FPS)))
    with pytest.raises(UserError, match="night n1: the video lacks 6 of 8 .* lasts 60 s") as raised:
        next(clips(short, SETTINGS))
    assert "\n" not in str(raised.value)


def test_a_video_cut_off_is_refused_though_its_header_promises_more(night, tmp_path):
    path = write_video(tmp_path / "v.mkv", steady(SECONDS * FPS, FPS))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 4])
    made = clips(replace(night, video=path), SETTINGS)
    with pytest.raises(UserError, match="night n1: the video lacks . of 8 scored clips"):
        list(made)
    assert 1 <= made.counts["kept"] <= 3


def test_a_little_less_video_is_counted(night, tmp_path):
    short = replace(night, video=write_video(tmp_path / "v.mp4", steady(185 * FPS, FPS)))
    made = clips(short, SETTINGS)
    assert [clip["clip_index"] for clip in made] == [0, 1, 2, 3, 4, 5]
    assert dict(made.counts) == {"kept": 6, "missing frames": 1, "outside video": 1}


def test_clocks_that_share_no_moment(night, tmp_path):
    with pytest.raises(UserError, match="night n1: the video lacks 8 of 8 .* or its clock wrong"):
        list(clips(replace(night, sync_offset_s=3600.0), SETTINGS))
    (tmp_path / "h.csv").write_text("onset,duration,stage\n7200,60,N2\n")
    with pytest.raises(UserError, match="scored from 7200 to 7260 s, but the PSG lasts from 0 to"):
        list(clips(replace(night, hypnogram=tmp_path / "h.csv"), SETTINGS))


def test_a_night_without_video(night):
    with pytest.raises(UserError, match="night n1: the manifest names no video"):
        list(clips(replace(night, video=None), SETTINGS))


def test_filters_of_the_eeg_are_off_unless_asked_for(night):
    assert not {"eeg_band_hz", "eeg_notch_hz"} & set(SETTINGS.identity())
    asked = replace(SETTINGS, eeg_band_hz=(0.5, 35.0), eeg_notch_hz=50.0)
    assert asked.identity()["eeg_band_hz"] == (0.5, 35.0)
    clip = list(clips(night, asked))[3]
    assert np.abs(clip["eeg"]).max() < 1 and clip["stage"] == 3  # the ramp is all below 0.5 Hz


@pytest.mark.parametrize(
    "wrong",
    [
        {"eeg_band_hz": (35.0, 0.3)},
        {"eeg_band_hz": (0.3, 62.5)},
        {"eeg_band_hz": (0.3,)},
        {"eeg_band_hz": (0.0, 35.0)},
        {"eeg_band_hz": ()},
        {"eeg_notch_hz": 62.5},
        {"eeg_notch_hz": 0.0},
        {"frame_rate": 0},
        {"frame_rate": 0.123},
        {"frame_rate": 33_400.0},
        {"frame_rate": float("nan")},
        {"eeg_rate": -125.0},
        {"height": 0},
        {"height": 4097},
        {"width": 0},
        {"width": 4097},
        {"max_missing": 1.0},
        {"max_uncovered": 1.0},
        {"max_missing": -0.1},
        {"max_uncovered": -0.1},
    ],
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(UserError):
        ClipSettings(**wrong)


@pytest.mark.parametrize(
    "extreme",
    [
        {"height": 1, "width": 1},
        {"height": 4096, "width": 4096},
        {"max_missing": 0.0, "max_uncovered": 0.0},
        {"frame_rate": 1 / 30},  # one frame a clip
        {"eeg_rate": 60.0},  # less than twice 35 Hz: no filter was asked for
        {"eeg_band_hz": (0.01, 62.4)},
        {"eeg_notch_hz": 62.4},
        {"eeg_notch_hz": 0.5},
    ],
)
def test_settings_at_their_limits(extreme):
    ClipSettings(**extreme)


def test_settings_are_the_papers_unless_said():
    assert ClipSettings().identity() == {
        **{"frame_rate": 2.0, "height": 128, "width": 171, "eeg_rate": 125.0},
        **{"max_missing": 0.1, "max_uncovered": 0.1},
    }
    assert (ClipSettings().frames, ClipSettings().samples) == (60, 3750)


@pytest.mark.parametrize(
    ("present", "shown"),
    [
        ("1111111111", "0123456789"),
        ("1011100111", "0023444789"),  # the frame before
        ("0011110111", "2223455789"),  # at the begin the first there is
        ("1111111000", "0123456666"),
        ("1111110000", "missing frames"),
        ("0000000001", "missing frames"),
        ("0000000000", "why from 60.0 to 64.5"),
    ],
)
def test_which_frame_a_moment_shows(present, shown):
    """Up to three of ten frames may be missing: a share of 0.3."""
    asked = {}

    class Video:
        def read_frames(self, moments_s, height, width, **limits):
            asked.update(limits, size=(height, width))
            frames = np.arange(10, dtype=np.uint8).reshape(10, 1, 1, 1)
            there = np.array([c == "1" for c in present])
            return np.where(there[:, None, None, None], frames, 77), there

        def why_absent(self, begin_s, end_s):
            return f"why from {begin_s} to {end_s}"

    wanted = ClipSettings(frame_rate=1 / 3, height=1, width=1, max_missing=0.3)
    frames, reason = read_clip(Video(), 60 + np.arange(10) / 2, wanted)
    assert asked == {"tolerance_s": 1.5, "not_before_s": 60.0, "size": (1, 1)}
    assert (reason if frames is None else "".join(map(str, frames.ravel()))) == shown


def test_a_night_of_which_no_clip_can_be_used(night, tmp_path):
    """Five seconds of pause after every twenty."""
    onsets = [f"+{k + 0.25 + k // 20 * 5:.2f}" for k in range(SECONDS)]
    paused = replace(night, psg=with_onsets(night.psg, tmp_path / "gap.edf", onsets))
    with pytest.raises(UserError, match=r"not one clip of the night .* \(9 gap in PSG\)"):
        list(clips(replace(paused, scorer="nobody"), SETTINGS))
    (tmp_path / "h.csv").write_text("onset,duration,stage\n0,240,W\n")
    with pytest.raises(UserError, match=r"not one clip of the scored night .* \(8 gap in PSG\)"):
        list(clips(replace(paused, hypnogram=tmp_path / "h.csv"), SETTINGS))


def test_importing_the_package_is_cheap():
    code = "import sys, input_pipeline; print({'mne','av','scipy','jax'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
