"""Many files read as one video: each picture at its own time, gaps stay gaps."""

from datetime import timedelta

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.readers.video import VideoRecording, find_videos

from ...recordings import START, later, numbers, steady, write_video

RATE = 5


def write_pieces(folder, pieces, suffix=".mp4"):
    """Files of (start, seconds); picture k shows 5 * (seconds since the first file began) + k."""
    paths = []
    for start, seconds in pieces:
        moment = START + timedelta(seconds=start)
        path = folder / f"cam1_{moment:%Y%m%d_%H%M%S}{suffix}"
        first = round(start * RATE)
        paths.append(write_video(path, steady(round(seconds * RATE), RATE), rate=RATE, first=first))
    return paths


def read(paths, times, **options):
    with VideoRecording(paths, name="n", **options) as video:
        frames, present = video.read_frames(np.asarray(times, float), 32, 64, tolerance_s=0.1)
        why = [video.why_absent(time, time) for time in times]
        return np.array(numbers(frames)), present, why, video


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv"])
def test_each_picture_at_its_own_time_and_gaps_stay_gaps(tmp_path, suffix):
    paths = write_pieces(tmp_path, [(0, 60), (60, 30), (110, 40), (150, 30)], suffix)
    (tmp_path / "notes.txt").write_text("no video")
    assert find_videos(tmp_path) == paths
    times = np.arange(0, 180, 0.2)
    shown, present, why, video = read(paths[::-1], times)
    gap = (times > 89.9) & (times < 109.9)
    np.testing.assert_array_equal(present, ~gap)
    np.testing.assert_allclose(shown[present] / RATE, times[present], atol=0.05)
    assert {why[k] for k in np.flatnonzero(gap)[1:]} == {"between videos"}
    assert video.notes == ["gaps between its files: 1, 20 s in all, first after 90 s"]
    assert video.seek_end() == pytest.approx(180, abs=0.01)


def test_starts_in_whole_seconds_of_files_without_a_gap(tmp_path):
    """Files of 30.6 s that follow at once: their names lose up to a second, the pictures none."""
    pieces = [(30.6 * k, 30.6) for k in range(6)]
    paths = write_pieces(tmp_path, pieces)
    times = np.arange(0, 183, 0.2)
    shown, present, _, video = read(paths, times)
    assert present.all() and not video.notes
    np.testing.assert_allclose(shown / RATE, times, atol=0.05)


def test_overlaps_take_the_later_file(tmp_path):
    paths = write_pieces(tmp_path, [(0, 65), (60, 65), (120, 65)])
    times = np.arange(0, 185, 0.2)
    shown, present, _, video = read(paths, times)
    assert present.all()
    np.testing.assert_allclose(shown / RATE, times, atol=0.05)
    with VideoRecording(paths, name="n") as every:
        moments, pictures = zip(*every.pictures(32, 64), strict=True)
    np.testing.assert_allclose(moments, times, atol=0.001)
    np.testing.assert_array_equal(numbers(np.array(pictures)[..., None]), shown)
    assert video.notes == ["overlaps of its files: 2, 10 s in all, first after 65 s"]


@pytest.mark.parametrize(
    ("pieces", "message"),
    [
        ([(0, 60), (10, 60)], "video 2 of 2 begins 50 s before video 1 ends; .* of one camera"),
        ([(0, 20), (200_000, 20)], "2 videos begin over 56 hours"),
    ],
)
def test_files_that_contradict_each_other(tmp_path, pieces, message):
    paths = write_pieces(tmp_path, pieces)
    with pytest.raises(UserError, match=f"night n: .*{message}") as raised:
        VideoRecording(paths, name="n")
    assert "cam1" not in str(raised.value)


@pytest.mark.parametrize(("rate", "ppm"), [(4.8, 41667), (25 / 6, 200_000)])
def test_a_frame_rate_that_lies_shows_in_the_starts(tmp_path, rate, ppm):
    """4.8 pictures a second, 5 in the header: files of a minute last 57.6 s."""
    count = round(60 * rate)
    paths = []
    for k in range(5):
        moment = later(60 * k)
        path = tmp_path / f"{moment:%Y-%m-%d %H-%M-%S}.mp4"
        paths.append(write_video(path, steady(count, RATE), rate=RATE, first=count * k))
    _, _, _, video = read(paths, [0.0])
    assert f"state sync_drift_ppm {ppm}" in video.notes[-1]
    times = np.arange(0, 300, 1 / rate)
    shown, present, _, video = read(paths, times, stretch=RATE / rate)
    assert present.all() and not video.notes
    np.testing.assert_allclose(shown / rate, times, atol=0.2)


def test_starts_may_be_stated_and_must_be_known(tmp_path):
    paths = [
        write_video(tmp_path / f"{k}.mp4", steady(100, RATE), rate=RATE, first=100 * k)
        for k in range(2)
    ]
    with pytest.raises(UserError, match="night n: nothing says when video 1 of 2 began"):
        VideoRecording(paths, name="n")
    shown, present, _, _ = read(paths, [19.0, 25.0, 31.0], starts=[later(0), later(30)])
    assert present.tolist() == [True, False, True] and shown[[0, 2]].tolist() == [95, 105]
    with pytest.raises(UserError, match="1 starts for 2 videos"):
        VideoRecording(paths, name="n", starts=[later(0)])


def test_a_file_that_cannot_be_read_is_counted_not_named(tmp_path):
    paths = write_pieces(tmp_path, [(0, 20), (20, 20), (40, 20)])
    paths[1].write_bytes(paths[1].read_bytes()[:500])
    with pytest.raises(UserError, match="night n, video 2 of 3: the video cannot") as raised:
        VideoRecording(paths, name="n")
    assert "cam1" not in str(raised.value)


def test_a_restart_inside_a_file_ends_that_file_only(tmp_path):
    paths = write_pieces(tmp_path, [(0, 20), (60, 20)], ".ts")
    paths[0].write_bytes(paths[0].read_bytes() * 2)
    shown, present, why, video = read(paths, [10.0, 25.0, 65.0])
    assert present.tolist() == [True, False, True] and shown[[0, 2]].tolist() == [50, 325]
    assert why[1] == "behind a restart of the video"
    assert any("video 1 of 2: its clock starts anew" in note for note in video.notes)


def test_summer_time_is_not_guessed(tmp_path):
    """A recorder's clock leaps from 2 to 3 in the night of a Sunday; its files follow at once."""
    names = ["20240331_015900", "20240331_030000"]
    paths = [write_video(tmp_path / f"{name}.mp4", steady(300, RATE), rate=RATE) for name in names]
    with pytest.raises(UserError, match="the clock moves by an hour"):
        VideoRecording(paths, name="n")


def test_starts_in_order_for_files_listed_as_text_are_refused(tmp_path):
    """A folder's files come by name, 10 before 9; who states starts means them in order of time."""
    paths = []
    for k in (9, 10, 11):
        path = tmp_path / f"cam_{k}.mp4"
        paths.append(write_video(path, steady(20, RATE), rate=RATE, first=20 * (k - 9)))
    starts = [START + timedelta(seconds=4 * k) for k in range(3)]
    with pytest.raises(UserError, match="10 comes before 9, .* name the videos one by one"):
        VideoRecording(find_videos(tmp_path), name="n", starts=starts)
    for order in ((0, 1, 2), (1, 2, 0)):
        named = {"starts": [starts[k] for k in order]}
        shown, present, _, _ = read([paths[k] for k in order], [0.0, 4.0, 8.0], **named)
        assert present.all() and (shown / RATE).tolist() == [0, 4, 8]
