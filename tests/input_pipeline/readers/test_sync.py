"""The two clocks of a night: signs, inverses and where the video's start is known from."""

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers import sync
from input_pipeline.readers.sync import Clock, clock, open_night_video, rate_note, video_start

from ..recordings import START, later


def night(video="v.mp4", **clocks) -> Night:
    files = video if isinstance(video, tuple) else Path(video)
    return Night("n", "s", files, Path("p.edf"), **clocks)


@given(
    lag_ms=st.integers(-7_200_000, 7_200_000),
    offset=st.floats(-3600, 3600),
    drift=st.floats(-200, 200),
    elapsed=st.floats(0, 36000),
)
def test_the_clock_follows_its_definition(lag_ms, offset, drift, elapsed):
    """psg_time = video_time + sync_offset_s + drift * 1e-6 * (time since the video began)."""
    lag = timedelta(milliseconds=lag_ms)
    recorded = night(video_start=START + lag, sync_offset_s=offset, sync_drift_ppm=drift)
    made = clock(recorded, START, None)
    video_time = lag.total_seconds() + elapsed  # both since the PSG began
    psg_time = video_time + offset + drift * 1e-6 * elapsed
    assert made.psg_seconds(elapsed) == pytest.approx(psg_time, abs=1e-6)
    assert made.video_seconds(psg_time) == pytest.approx(elapsed, abs=1e-6)


def test_a_positive_offset_means_the_camera_is_behind():
    # The camera says 22:15:03 when the PSG says 22:15:08: what it shows first, the PSG has at 5 s.
    behind = clock(night(video_start=START, sync_offset_s=5.0), START, None)
    assert behind.psg_seconds(0.0) == 5.0


@pytest.mark.parametrize("days", [-14274, -1, 0, 1])
@pytest.mark.parametrize("lag", [-7200.0, -3.5, 0.0, 7200.0])
def test_confirmed_dates_leave_the_time_of_day(days, lag):
    late = START.replace(hour=23, minute=59)  # midnight lies between the two starts
    begun = late + timedelta(days=days, seconds=lag)
    confirmed = night(video_start=begun, sync_offset_s=2.0, hypnogram_confirm="date")
    assert clock(confirmed, late, None).psg_seconds(0.0) == pytest.approx(lag + 2.0)
    as_stated = night(video_start=begun, sync_offset_s=2.0)
    assert clock(as_stated, late, None).psg_seconds(0.0) == pytest.approx(86400 * days + lag + 2)


def test_drift_over_a_night():
    assert Clock(0.0, 50.0).psg_seconds(36000.0) == pytest.approx(36001.8)


def test_the_manifest_is_asked_first_then_the_name_then_the_container():
    named = "ID_31-JAN-2024_22h15m03.000s_Video.mp4"
    created = later(7)
    assert video_start(night(named, video_start=later(3)), created) == (later(3), "manifest")
    assert video_start(night(named), created) == (START, "file name")
    assert video_start(night("cam1_20240131_221503.mp4"), created) == (
        START,
        "digits in the file name",
    )
    assert video_start(night(), created) == (created, "container")
    with pytest.raises(UserError, match="night n: nothing says when the video began"):
        video_start(night(), None)


def test_a_wrong_frame_rate_shows_in_the_lengths():
    """4.8 frames a second that call themselves 5: half an hour lasts 1728 s."""
    assert "72 s before the PSG" in (rate_note(Clock(0.0), 1728.0, 1800.0) or "")
    assert "sync_drift_ppm 41667" in (rate_note(Clock(0.0), 1728.0, 1800.0) or "")
    assert rate_note(Clock(0.0, 41667), 1728.0, 1800.0) is None
    assert rate_note(Clock(0.0), 1790.0, 1800.0) is None  # stopped a moment before
    assert rate_note(Clock(0.0), 900.0, 1800.0) is None  # cut off: no frame rate is so wrong
    assert rate_note(Clock(0.0), None, 1800.0) is None
    assert rate_note(Clock(0.0), 0.0, 1800.0) is None  # nothing was shown


def test_a_wrong_frame_rate_is_half_a_minute_and_two_thousand_ppm_or_more_and_a_tenth_at_most():
    assert rate_note(Clock(0.0), 5000.0, 5030.0) is not None
    assert rate_note(Clock(0.0), 5000.0, 5029.9) is None
    assert rate_note(Clock(0.0), 25_000.0, 25_050.0) is not None
    assert rate_note(Clock(0.0), 25_000.0, 25_049.9) is None
    # Of what the stated drift does not explain.
    assert rate_note(Clock(0.0, -1500.0), 25_000.0, 25_012.6) is not None
    assert rate_note(Clock(0.0, -1500.0), 25_000.0, 25_012.4) is None
    assert rate_note(Clock(0.0), 10_000.0, 11_000.0) is not None
    assert rate_note(Clock(0.0), 10_000.0, 11_000.005) is None


def test_a_camera_whose_clock_nobody_set_has_no_time_of_day():
    never = night("cam_19700101_000307.mp4", hypnogram_confirm="date")
    with pytest.raises(UserError, match="first hour of a 1 January: the camera's clock was never"):
        clock(never, START, None)
    day_before = START.replace(year=2023, month=12, day=31, hour=0, minute=3, second=7)
    new_year = night("cam_20240101_000307.mp4", hypnogram_confirm="date")
    assert clock(new_year, day_before, None).offset_s == 0
    stated = night("cam_19700101_000307.mp4", hypnogram_confirm="date", video_start=START)
    assert clock(stated, START, None).offset_s == 0
    for name, day in (("cam_19700101_221503.mp4", START), ("cam_20240101_000307.mp4", later(0))):
        begun = day.replace(year=2024, month=1, day=1, hour=0, minute=0, second=0)
        psg = day if "1970" in name else begun
        assert abs(clock(night(name, hypnogram_confirm="date"), psg, None).offset_s) < 43_200


@pytest.mark.parametrize("zone", ["Z", "+0100", "+01:00"])
def test_a_name_in_another_zone_is_no_local_time(zone):
    name = f"cam 20240131T211503{zone}.mp4"
    with pytest.raises(UserError, match="^night n: the name of the video gives its start in UTC"):
        video_start(night(name), None)
    assert video_start(night(name, video_start=START), None) == (START, "manifest")
    several = (Path(name), Path("cam 20240131T221503.mp4"))
    with pytest.raises(UserError, match="in UTC or another zone"):
        video_start(night(several), None)
    for other in ("cam 20240131T211503-0001.mp4", "cam 20240131T211503Zoo.mp4"):
        assert video_start(night(other), None)[1] == "digits in the file name"


def test_a_name_that_says_its_start_needs_the_others_to_say_theirs():
    files = (Path("cam1_20240131_221503.mp4"), Path("cam1_b.mp4"))
    assert video_start(night(files), later(7)) == (later(7), "container")


def test_a_night_begins_with_its_earliest_file():
    files = tuple(Path(f"cam1_20240131_22{minute}03.mp4") for minute in (45, 15, 30))
    assert video_start(night(files), None) == (START, "digits in the file name")
    stated = night(files, video_start=(later(9), later(3), later(6)))
    assert video_start(stated, None) == (later(3), "manifest")


@pytest.mark.parametrize(
    ("files", "starts", "drift", "given", "stretch"),
    [
        (1, 1, 40_000.0, 0, 1.0),  # one file: its drift is the clock's
        (2, 1, 500.0, 0, 1.0),  # so is a small one
        (2, 1, 501.0, 0, 1.000501),
        (2, 1, 40_000.0, 0, 1.04),
        (2, 2, -40_000.0, 2, 0.96),
    ],
)
def test_several_files_of_a_wrong_frame_rate_are_stretched_each(
    monkeypatch, files, starts, drift, given, stretch
):
    opened = {}
    monkeypatch.setattr(sync, "open_video", lambda paths, **options: opened.update(options))
    names = tuple(Path(f"{i}.mp4") for i in range(files))
    moments = tuple(later(60 * i) for i in range(starts))
    several = night(
        names if files > 1 else names[0],
        video_start=moments if starts > 1 else moments[0],
        sync_drift_ppm=drift,
    )
    open_night_video(several)
    assert len(opened["starts"]) == given
    assert opened["stretch"] == pytest.approx(stretch, rel=1e-9)
    assert clock(several, START, None).drift_ppm == (drift if stretch == 1.0 else 0.0)
