"""The two clocks of a night: signs, inverses and where the video's start is known from."""

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.sync import Clock, clock, start_from_name, video_start

from ..recordings import START, later


def night(video: str = "v.mp4", **clocks) -> Night:
    return Night("n", "s", Path(video), Path("p.edf"), **clocks)


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


def test_drift_over_a_night():
    assert Clock(0.0, 50.0).psg_seconds(36000.0) == pytest.approx(36001.8)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        (
            "MCH-0234567_16-SEP-1987_20h35m17.250s_Video.avi",
            datetime(1987, 9, 16, 20, 35, 17, 250000),
        ),
        ("a_b_01-jan-2024_00h00m00s_Video.MP4", datetime(2024, 1, 1)),
        ("x_29-FEB-2024_23h59m59.9s_Video.mkv", datetime(2024, 2, 29, 23, 59, 59, 900000)),
        ("x_30-FEB-2024_23h59m59.9s_Video.mkv", None),
        ("x_29-FEV-2024_23h59m59.9s_Video.mkv", None),
        ("x_29-FEB-2024_25h59m59.9s_Video.mkv", None),
        ("night.mp4", None),
    ],
)
def test_names_of_the_edf_video_specification(name, start):
    assert start_from_name(Path("folder") / name) == start


def test_the_manifest_is_asked_first_then_the_name_then_the_container():
    named = "ID_31-JAN-2024_22h15m03.000s_Video.mp4"
    created = later(7)
    assert video_start(night(named, video_start=later(3)), created) == (later(3), "manifest")
    assert video_start(night(named), created) == (START, "file name")
    assert video_start(night(), created) == (created, "container")
    with pytest.raises(UserError, match="night n: nothing says when the video began"):
        video_start(night(), None)
