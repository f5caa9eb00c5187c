"""Start times in file names."""

from datetime import datetime
from pathlib import Path

import pytest

from input_pipeline.readers.video.start_times import start_from_digits, start_from_name


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


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("cam1_20240305_225740.mp4", datetime(2024, 3, 5, 22, 57, 40)),
        ("2024-03-05 22-57-40.mkv", datetime(2024, 3, 5, 22, 57, 40)),
        ("2024-03-05_22.57.40.mkv", datetime(2024, 3, 5, 22, 57, 40)),
        ("VID_20240305T225740.mp4", datetime(2024, 3, 5, 22, 57, 40)),
        ("20240305225740123.ts", datetime(2024, 3, 5, 22, 57, 40, 123000)),
        ("2024_03_05_22_57_40_bed7.avi", datetime(2024, 3, 5, 22, 57, 40)),
        ("2024-03-05T22h57m40s.mp4", datetime(2024, 3, 5, 22, 57, 40)),
        ("dvr_20240305225740_20240305235740.mp4", datetime(2024, 3, 5, 22, 57, 40)),
        ("20240305_225740_001.mp4", datetime(2024, 3, 5, 22, 57, 40)),  # its number, no fraction
        ("19991332_20240305-225740.mp4", datetime(2024, 3, 5, 22, 57, 40)),
        ("2024-03-05 10-57-40 PM.mkv", datetime(2024, 3, 5, 22, 57, 40)),
        ("Recording 2024-03-05 at 12.57.40\u202fAM.mov", datetime(2024, 3, 5, 0, 57, 40)),
        ("2024-03-05_10-57-40PM2.mkv", datetime(2024, 3, 5, 22, 57, 40)),
        ("2024-03-05 10-57-40 pmc.mkv", datetime(2024, 3, 5, 10, 57, 40)),  # a word
        ("2024-03-05_10-57-40_PM.mkv", datetime(2024, 3, 5, 10, 57, 40)),  # initials
        ("20240305_2257.mp4", None),
        ("12320240305225740.mp4", None),  # digits of something else
        ("20240305_256000.mp4", None),
        ("night.mp4", None),
    ],
)
def test_digits_in_names(name, start):
    assert start_from_digits(Path("20200101_000000") / name) == start
