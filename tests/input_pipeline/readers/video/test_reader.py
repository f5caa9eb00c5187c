"""Frames by presentation time, from steady, gappy, damaged and hostile files."""

import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.readers.video import VideoReader

from ...recordings import numbered, numbers, steady, write_video

HEIGHT, WIDTH = 32, 64


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def ten_a_second(folder):
    return write_video(folder / "steady.mp4", steady(300, 10))


def read(path, times, **options):
    """Numbers of the frames at `times` and whether they are there."""
    with VideoReader(path, name="n") as video:
        frames, present = video.read_frames(np.asarray(times, float), HEIGHT, WIDTH, **options)
    assert frames.dtype == np.uint8 and frames.shape == (len(times), HEIGHT, WIDTH, 1)
    return np.array(numbers(frames)), present


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(times=st.lists(st.floats(-2, 32), min_size=1, max_size=40).map(sorted))
def test_each_moment_has_its_nearest_frame(ten_a_second, times):
    found, present = read(ten_a_second, times, tolerance_s=0.06)
    nearest = np.clip(np.rint(np.array(times) * 10), 0, 299)
    distance = np.abs(nearest / 10 - times)
    clear = np.abs(np.array(times) * 10 % 1 - 0.5) > 1e-6  # two frames are as near as one another
    np.testing.assert_array_equal(present, distance <= 0.06)
    np.testing.assert_array_equal(found[present & clear], nearest[present & clear])


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mkv", "libx264"), ("a.avi", "mpeg4"), ("a.mov", "mpeg4"), ("a.ts", "libx264")],
)
def test_other_containers_keep_the_same_clock(folder, name, codec):
    if name == "a.avi":  # has no time stamps of its own: 25 frames a second
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = WIDTH, HEIGHT
            for number in range(100):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), "gray")))
            container.mux(stream.encode())
    else:
        write_video(folder / name, steady(100, 25), codec=codec)
    found, present = read(folder / name, np.arange(100) / 25)
    assert present.all() and found.tolist() == list(range(100))


def test_a_variable_frame_rate_shifts_nothing(folder):
    rng = np.random.default_rng(0)
    stamps = [0.0, *np.cumsum(rng.uniform(0.02, 0.4, 199)).round(3)]
    path = write_video(folder / "variable.mkv", stamps)
    times = np.arange(0, stamps[-1], 0.2)
    found, present = read(path, times, tolerance_s=0.1)
    distance = np.abs(np.subtract.outer(times, stamps))
    np.testing.assert_array_equal(present, distance.min(1) <= 0.1 + 1e-6)
    np.testing.assert_array_equal(found[present], distance.argmin(1)[present])


def test_a_hole_of_two_seconds_in_a_real_video(shared_data):
    path = shared_data / "video-edge-cases" / "made_variable_frame_rate_gap.mkv"
    with av.open(str(path)) as container:
        stamps = np.array([frame.pts for frame in container.decode(video=0)]) / 1000
    hole = int(np.diff(stamps).argmax())
    assert len(stamps) == 202 and stamps[hole + 1] - stamps[hole] == pytest.approx(2.0, abs=0.05)
    times = np.arange(0, 12.9, 0.25)
    _, present = read(path, times, tolerance_s=0.125)
    inside = (times > stamps[hole] + 0.125) & (times < stamps[hole + 1] - 0.125)
    assert 6 <= inside.sum() <= 8
    np.testing.assert_array_equal(present, ~inside)


def test_a_moment_does_not_take_the_frame_of_the_clip_before(ten_a_second):
    found, _ = read(ten_a_second, [3.02, 3.5], tolerance_s=0.25)
    assert found.tolist() == [30, 35]
    found, _ = read(ten_a_second, [3.02, 3.5], tolerance_s=0.25, not_before_s=3.02)
    assert found.tolist() == [31, 35]


def test_moments_are_asked_for_in_order_also_over_several_calls(ten_a_second):
    with VideoReader(ten_a_second, name="n") as video:
        first, _ = video.read_frames(np.array([1.0, 1.0, 2.0]), HEIGHT, WIDTH)
        second, _ = video.read_frames(np.array([2.0, 2.5]), HEIGHT, WIDTH)
        assert numbers(first) == [10, 10, 20] and numbers(second) == [20, 25]
        with pytest.raises(ValueError, match="ascending"):
            video.read_frames(np.array([1.0]), HEIGHT, WIDTH)
        nothing, _ = video.read_frames(np.array([]), HEIGHT, WIDTH)
        assert nothing.shape == (0, HEIGHT, WIDTH, 1)


def test_pictures_are_no_closer_than_asked_but_every_frame_has_its_time(ten_a_second):
    with VideoReader(ten_a_second, name="n1") as video:
        shown = list(video.pictures(32, 64, step_s=0.25))
    assert [seconds for seconds, _ in shown] == pytest.approx(np.arange(len(shown)) / 10)
    pictures = [(k, picture) for k, (_, picture) in enumerate(shown) if picture is not None]
    assert [k for k, _ in pictures[:4]] == [0, 3, 6, 9]
    assert numbers(np.array([picture for _, picture in pictures])[..., None]) == [
        k for k, _ in pictures
    ]


def test_grey_levels_and_scaling(folder):
    """A grey wedge: levels survive limited and full range; shrinking averages over areas."""
    wedge = np.repeat(np.linspace(0, 255, WIDTH).astype(np.uint8)[None], HEIGHT, 0)
    for pix_fmt in ("yuv420p", "yuvj420p"):
        path = folder / f"{pix_fmt}.mkv"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1" if pix_fmt == "yuv420p" else "mjpeg", rate=10)
            stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
            container.mux(stream.encode(av.VideoFrame.from_ndarray(wedge, "gray")))
            container.mux(stream.encode())
        with VideoReader(path, name="n") as video:
            frames, _ = video.read_frames(np.zeros(1), HEIGHT // 4, WIDTH // 4)
        expected = wedge.reshape(HEIGHT // 4, 4, WIDTH // 4, 4).mean((1, 3))
        assert np.abs(frames[0, :, :, 0] - expected).max() < 4


def _set_matrix(path: Path, *matrix: int) -> None:
    """Replaces the matrix in the header of an MP4's track: a, b, u, c, d, v, x, y, w."""
    data = path.read_bytes()
    plain = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    at = data.index(plain, data.index(b"tkhd"))
    path.write_bytes(data[:at] + struct.pack(">9i", *matrix) + data[at + len(plain) :])


@pytest.mark.parametrize("matrix", [[0] * 9, [0] * 8 + [1 << 30], [2**31 - 1] * 9])
def test_a_matrix_that_says_nothing_turns_nothing(folder, matrix):
    path = folder / "nothing.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = 64, 48
        picture = np.zeros((48, 64), np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "gray")))
        container.mux(stream.encode())
    _set_matrix(path, *matrix)
    with VideoReader(path, name="n") as video:
        assert (video.height, video.width) == (48, 64)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_a_picture_is_turned_as_players_show_it(folder, turns):
    """Phones store what the sensor saw and say in a matrix how it is to be turned."""
    upright = np.zeros((WIDTH, HEIGHT) if turns % 2 else (HEIGHT, WIDTH), np.uint8)
    upright[: len(upright) // 2] = 200
    upright[:, : upright.shape[1] // 2] += 50
    stored = np.ascontiguousarray(np.rot90(upright, -turns))
    path = folder / f"turned{turns}.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"qp": "5"})
        stream.height, stream.width = stored.shape
        container.mux(stream.encode(av.VideoFrame.from_ndarray(stored, "gray")))
        container.mux(stream.encode())
    cos, sin = ((1, 0), (0, -1), (-1, 0), (0, 1))[turns]
    _set_matrix(path, *(x << 16 for x in (cos, sin, 0, -sin, cos, 0, 0, 0)), 1 << 30)
    with VideoReader(path, name="n") as video:
        assert (video.height, video.width) == upright.shape
        frames, _ = video.read_frames(np.zeros(1), *upright.shape)
    assert np.abs(frames[0, :, :, 0] - upright.astype(float)).max() < 12


@pytest.mark.parametrize(
    ("file", "width", "seconds"),
    [
        ("nasa_13013.mp4", 320, 13.0),
        ("h265_video.mp4", 128, 1.0),
        ("av1_video.mkv", 640, 5.0),
        ("bt709_full_range.mp4", 1280, 1.0),
    ],
)
def test_real_files_of_several_codecs(shared_data, file, width, seconds):
    path = shared_data / "video-nasa-multistream" / file
    with VideoReader(path, name="n") as video:
        assert video.width == width  # the first of two video streams
        assert video.declared_s == pytest.approx(seconds, abs=0.1)
        rate = video.frame_rate
        frames, present = video.read_frames(np.arange(0, seconds - 0.2, 0.2), 30, 40)
        assert present.all() and 20 < frames.mean(axis=(1, 2, 3)).max() < 235
        video.read_frames(np.array([seconds + 5]), 30, 40)
        assert video.end_s == pytest.approx(seconds - 1 / rate, abs=1e-3)
    with VideoReader(path, name="n") as video:
        assert video.seek_end() == pytest.approx(seconds - 1 / rate, abs=1e-3)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("made_empty.mp4", "the video file is empty"),
        ("made_not_a_video.mp4", "cannot be opened"),
        ("made_truncated.mp4", "cannot be opened .*cut off"),
    ],
)
def test_files_that_are_no_video(shared_data, file, message):
    with pytest.raises(UserError, match=f"night n7: .*{message}") as raised:
        VideoReader(shared_data / "video-edge-cases" / file, name="n7")
    assert "made_" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.mp4", tmp_path):
        with pytest.raises(UserError, match="night n: the video cannot be"):
            VideoReader(path, name="n")


def test_sound_alone_is_no_video(folder):
    path = folder / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(UserError, match="no video stream"):
        VideoReader(path, name="n")


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:30\n#EXTINF:30,\n{}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{}'\n",
    ],
)
def test_playlists_open_no_other_file(folder, ten_a_second, text):
    for suffix in (".mp4", ".m3u8", ".ffconcat"):
        path = folder / f"list{suffix}"
        path.write_text(text.format(ten_a_second.name))
        with pytest.raises(UserError, match="cannot be opened"):
            VideoReader(path, name="n")


def test_a_file_cut_off_is_read_as_far_as_it_goes(folder):
    whole = write_video(folder / "whole.mkv", steady(600, 10)).read_bytes()
    cut = folder / "cut.mkv"
    cut.write_bytes(whole[: len(whole) // 2])
    times = np.arange(600) / 10
    found, present = read(cut, times)
    end = int(present.sum())
    assert 200 < end < 400 and present[:end].all()
    assert found[: end - 1].tolist() == list(range(end - 1))
    with VideoReader(cut, name="n") as video:
        assert video.seek_end() == pytest.approx((end - 1) / 10, abs=0.11)


def test_damage_in_the_middle_costs_only_what_it_hits(folder):
    path = write_video(folder / "damaged.mkv", steady(600, 10))
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = bytes(400)
    path.write_bytes(data)
    found, present = read(path, np.arange(600) / 10)
    assert found[:200].tolist() == list(range(200)) and present[:200].all()
    assert found[-100:].tolist() == list(range(500, 600)) and present[-100:].all()


def test_frames_of_other_sizes_are_scaled_alike(ten_a_second):
    with VideoReader(ten_a_second, name="n") as video:
        frames, _ = video.read_frames(np.array([7.0]), 2 * HEIGHT, 3 * WIDTH)
    assert frames.shape == (1, 2 * HEIGHT, 3 * WIDTH, 1) and numbers(frames) == [70]


@pytest.mark.slow
def test_ten_hours_stay_in_little_memory(tmp_path):
    """Read in a process of its own, whose memory may grow by 60 MB at most over 10 hours."""
    path = write_video(tmp_path / "night.mp4", steady(36000, 1))
    code = f"""
import resource, numpy as np
from pathlib import Path
from input_pipeline.readers.video import VideoReader
with VideoReader(Path({str(path)!r}), name="n") as video:
    for clip in range(1200):
        frames, present = video.read_frames(30.0 * clip + np.arange(30), 48, 64)
        assert present.all()
        if clip == 30:
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 60_000
