"""Scoring, PSG and video beside each other: what differs is named, and which of the three it is."""

import re

import numpy as np
import pytest

from input_pipeline.checks import compare_times, twin_notes
from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.sync import Clock

NIGHT = 8 * 3600.0
DAY = 86400.0


def compare(scored=(0.0, NIGHT), psg=NIGHT, video=(0.0, NIGHT)):
    """Notes, or the error, of a night whose scoring and video go from … to … on the PSG's clock."""
    onsets = np.arange(scored[0], scored[1] - 29, 30.0)
    clock = None if video is None else Clock(video[0])
    length = None if video is None or video[1] is None else video[1] - video[0]
    try:
        return compare_times("n1", onsets, psg, clock, length, max_uncovered=0.1)
    except UserError as error:
        assert str(error).startswith("night n1: ") and "\n" not in str(error)
        return str(error)


@pytest.mark.parametrize(
    "times",
    [
        {},
        {"video": None},
        {"video": (-900, None)},
        {"video": (-900, NIGHT + 7200)},
        {"scored": (1234.5, 20000)},
        {"psg": 30.0, "scored": (0, 30), "video": (-1, 31)},
    ],
)
def test_a_night_that_fits_together_is_not_spoken_of(times):
    assert compare(**times) == []


@pytest.mark.parametrize(
    ("times", "said"),
    [
        ({"scored": (0, 40 * 30), "psg": 900}, "10 of 40 scored clips lie outside the PSG"),
        ({"scored": (-60, 600), "psg": 900}, "2 of 22 scored clips lie outside the PSG"),
        ({"scored": (0, 1200), "psg": 900, "video": (0, 900)}, "is it longer than the recording"),
        ({"scored": (-36000, 21600), "psg": 3600, "video": None}, "1800 of 1920 scored clips lie"),
        ({"psg": 3600}, "840 of 960 .*the video has them: is the PSG cut off?"),
        ({"psg": 3600, "video": None}, "840 of 960 .*is it longer than the recording"),
        ({"video": (100, NIGHT)}, "the video lacks 3 of 960 scored clips at its ends"),
    ],
)
def test_what_is_left_out_is_noted(times, said):
    (note,) = compare(**times)
    assert re.search(said, note), note


@pytest.mark.parametrize(
    ("times", "said"),
    [
        # One of the three has another date; the time of day is right.
        ({"scored": (14274 * DAY, 14274 * DAY + NIGHT)}, "dates do not: .*CSV"),
        ({"scored": (-14274 * DAY, NIGHT - 14274 * DAY), "video": None}, "dates do not: .*CSV"),
        ({"video": (DAY + 60, DAY + NIGHT)}, "dates do not: .*video_start.*confirm: date"),
        ({"video": (-900 - DAY, None)}, None),  # a video without a known end may reach here
        # Times in milliseconds, or of twelve hours a day.
        ({"scored": (0, 90_000), "psg": 900}, "30 of 3000 .* in seconds, or of 24 hours a day"),
        ({"scored": (-36000, 21630), "psg": NIGHT - 10, "video": None}, "are the hypnogram's time"),
        # One of the three is of another time.
        ({"scored": (40000, 60000)}, "PSG and video agree: is it the hypnogram of another"),
        ({"scored": (40000, 60000), "video": (40000, 60000)}, "hypnogram and video agree: .*PSG"),
        ({"scored": (40000, 60000), "video": None}, "lasts from 0 to 28800 s$"),
        ({"video": (3600, NIGHT)}, "lacks 120 of 960 .*PSG and hypnogram agree: is the video cut"),
        ({"video": (0, 3600)}, "lacks 840 of 960 .*lasts 3600 s .* 0 to 28800 s after"),
        ({"video": (40000, 60000)}, "lacks 960 of 960 .* -40000 to -11200 s after"),
    ],
)
def test_the_file_that_does_not_fit_is_blamed(times, said):
    found = compare(**times)
    assert not re.search(r"\d{6}", str(found))  # days between dates would tell the true date
    assert found == [] if said is None else re.search(said, str(found)), found


def test_one_recording_under_several_names_is_noted(tmp_path):
    for name, content in {"a": "1", "b": "2", "copy of a": "1", "c": "3", "v": "4"}.items():
        (tmp_path / name).write_text(content)
    nights = [
        Night("n1", "s1", tmp_path / "v", tmp_path / "a"),
        Night("n2", "s1", None, tmp_path / "b"),
        Night("n3", "s3", None, (tmp_path / "c", tmp_path / "copy of a")),
        Night("n4", "s1", tmp_path / "v", tmp_path / "not there"),
        Night("n5", "S3", None, tmp_path / "d"),
    ]
    spelt = "in capital letters, separators or leading zeros alone; two subjects?"
    assert list(twin_notes(nights)) == [
        "night n3: its PSG is also that of night n1, of another subject",
        f"night n5: its subject_id differs from that of night n3 {spelt}",
    ]
    assert list(twin_notes(nights[:2])) == []


def test_subjects_whose_names_are_spelt_alike_are_noted(tmp_path):
    names = ("001", "1", "10", "P_01", "p-1", "P-10", "P1", "1-1", "11")
    nights = [Night(f"n{k}", name, None, tmp_path / "gone") for k, name in enumerate(names)]
    noted = [note.split()[1].rstrip(":") for note in twin_notes(nights)]
    assert noted == ["n1", "n4"]


def test_one_scoring_of_two_recordings_is_noted(tmp_path):
    for name, content in {"a": "1", "b": "2", "h": "3", "copy of h": "3", "g": "4"}.items():
        (tmp_path / name).write_text(content)
    psg, other, scoring, copy, own = (tmp_path / n for n in ("a", "b", "h", "copy of h", "g"))
    nights = [
        Night("n1", "s1", None, psg, scoring),
        Night("n2", "s1", None, psg, scoring),  # the same recording, with another video
        Night("n3", "s1", None, other, copy),
        Night("n4", "s1", None, other, own),
    ]
    assert list(twin_notes(nights)) == [
        "night n3: its hypnogram is also that of night n1, whose PSG is another"
    ]
