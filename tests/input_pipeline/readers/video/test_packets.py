"""Clocks of containers: each picture shows its own number, and so its own time."""

import av
import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.readers.video import VideoReader

from ...recordings import numbers, steady, write_video

RATE = 5
GROUP = {"g": "40", "bf": "2"}
"""Groups of eight seconds, with pictures that are decoded out of order."""
PYRAMID = {"x264-params": "bframes=4:b-adapt=0:b-pyramid=normal"}
"""Pictures that are decoded up to five places early, at a slow camera seconds early."""


def shown(path):
    """(time, number) of every picture, and the reader's report."""
    with VideoReader(path, name="n") as video:
        pictures = []
        while video._after is not None:
            moment = video._after[0]
            frame, present = video.read_frames(np.array([moment]), 32, 64)
            assert present.all()
            pictures.append((moment, numbers(frame)[0]))
            video._advance()
        return np.array(pictures), video.clock, video.notes


def first_stamp(path):
    """When the first packet is to be shown, by the container."""
    with av.open(str(path)) as container:
        packet = next(container.demux(container.streams.video[0]))
        return float(packet.pts * packet.time_base)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "options"),
    [
        ("a.mp4", "libx264", 5, GROUP),
        ("a.mkv", "libx264", 5, GROUP),
        ("a.ts", "libx264", 5, GROUP),
        ("a.flv", "libx264", 5, GROUP),
        ("a.avi", "libx264", 5, GROUP),  # FFmpeg guesses its moments of showing, wrongly
        ("b.avi", "libx264", 5, {"bf": "0"}),
        ("a.mpg", "mpeg2video", 25, {"bf": "2", "b": "1M"}),
        ("b.mpg", "libx264", 5, {"bf": "0"}),  # several pictures a packet, one stamp
        ("h.mp4", "libx265", 5, {"x265-params": "log-level=none"}),
        ("slow.mkv", "libx264", 1, PYRAMID),
        ("slow.mp4", "libx264", 1, PYRAMID),
        ("slow.ts", "libx264", 1, PYRAMID),
        ("slow.flv", "libx264", 1, PYRAMID),
    ],
)
def test_each_picture_has_its_own_time(tmp_path, name, codec, rate, options):
    path = write_video(tmp_path / name, steady(200, rate), codec=codec, rate=rate, options=options)
    pictures, clock, _ = shown(path)
    # Where several pictures share a packet, FFmpeg takes one picture's stamp for its neighbour's.
    blurred = 2 / rate if name == "a.mpg" else 0
    assert blurred or pictures[:, 1].tolist() == list(range(200))
    assert len(pictures) >= 196 and (np.diff(pictures[:, 1]) >= 1).all()
    np.testing.assert_allclose(pictures[:, 0], pictures[:, 1] / rate, atol=2e-3 + blurred)
    with VideoReader(path, name="n") as video:
        assert video.seek_end() == pytest.approx(199 / rate, abs=1.01 / rate)
    assert clock.restart_s is None and not clock.pauses


@pytest.mark.parametrize(
    ("codec", "name", "rate", "options"),
    [
        ("libx264", "a.ts", 5, {"g": "60", "bf": "2"}),
        ("libx264", "b.ts", 5, {"g": "50", "bf": "0"}),
        ("libx265", "c.ts", 5, {"x265-params": "keyint=50:log-level=none"}),
        ("mpeg4", "d.ts", 25, {"g": "200"}),
        ("mpeg2video", "e.mpg", 25, {"g": "200", "b": "1M"}),
    ],
)
def test_a_file_that_begins_inside_a_group_of_pictures(tmp_path, codec, name, rate, options):
    whole = write_video(
        tmp_path / "whole", steady(500, rate), codec=codec, rate=rate, options=options,
        fmt="mpegts" if name.endswith("ts") else "mpeg",
    )  # fmt: skip
    size = 188 if name.endswith("ts") else 2048
    data = whole.read_bytes()
    path = tmp_path / name
    path.write_bytes(data[int(0.47 * len(data)) // size * size :])
    pictures, _, notes = shown(path)
    assert len(pictures) >= 100
    origin = first_stamp(whole)
    expected = origin + pictures[:, 1] / rate - first_stamp(path)
    np.testing.assert_allclose(pictures[:, 0], expected, atol=1e-3)
    assert pictures[0, 0] > 1 and "first picture comes" in notes[0]


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "a.mp4", "a.mov"])
def test_sound_that_begins_first_is_the_start(tmp_path, name):
    path = write_video(
        tmp_path / name, [2.5 + k / RATE for k in range(100)], rate=RATE, sound_from=0.0
    )
    pictures, _, _ = shown(path)
    assert pictures[:, 1].tolist() == list(range(100))
    np.testing.assert_allclose(pictures[:, 0], 2.5 + np.arange(100) / RATE, atol=0.04)
    later = write_video(tmp_path / f"later{name}", steady(100, RATE), rate=RATE, sound_from=2.0)
    np.testing.assert_allclose(shown(later)[0][:, 0], np.arange(100) / RATE, atol=0.04)


@pytest.mark.parametrize("name", ["a.ts", "a.mpg", "a.mkv"])
def test_nothing_behind_a_restart_is_placed(tmp_path, name):
    """Two recordings joined; the recorder may have been off for any time between them."""
    mpeg = {"codec": "mpeg2video", "rate": 25, "options": {"b": "1M"}} if "mpg" in name else {}
    rate = mpeg.get("rate", RATE)
    first = write_video(tmp_path / f"1{name}", steady(300, rate), **mpeg)
    second = write_video(tmp_path / f"2{name}", steady(400, rate), **mpeg, first=1000)
    path = tmp_path / name
    path.write_bytes(first.read_bytes() + second.read_bytes())
    pictures, clock, notes = shown(path)
    assert 296 <= len(pictures) <= 300 and pictures[-1, 1] == 299
    np.testing.assert_allclose(pictures[:, 0], pictures[:, 1] / rate, atol=0.05)
    assert clock.restart_s == pytest.approx(299 / rate, abs=0.5)
    assert clock.behind_s == pytest.approx(400 / rate, abs=1)
    assert f"starts anew after {clock.restart_s:.1f} s" in notes[0]
    with VideoReader(path, name="n") as video:
        assert video.seek_end() == pytest.approx(299 / rate, abs=0.5)
        assert video.notes == notes


@pytest.mark.parametrize("sound_from", [None, -2.0])
def test_a_clock_of_33_bits_that_wraps(tmp_path, sound_from):
    """Ten seconds before the wrap the recording begins; with sound, it begins just before it."""
    begin = 2**33 / 90000 - (10 if sound_from is None else -0.5)
    stamps = [begin + k / RATE for k in range(200)]
    sound = None if sound_from is None else begin + sound_from
    path = write_video(tmp_path / "a.ts", stamps, rate=RATE, sound_from=sound)
    pictures, clock, _ = shown(path)
    assert pictures[:, 1].tolist() == list(range(200)) and clock.restart_s is None
    late = 0 if sound_from is None else 2.0
    np.testing.assert_allclose(pictures[:, 0], late + np.arange(200) / RATE, atol=0.04)


def test_a_leap_of_the_clock_is_a_pause_and_said(tmp_path):
    stamps = [k / RATE + (100 if k >= 150 else 0) for k in range(300)]
    for name in ("a.ts", "a.mkv", "a.mp4"):
        pictures, clock, notes = shown(write_video(tmp_path / name, stamps, rate=RATE))
        assert pictures[:, 1].tolist() == list(range(300))
        np.testing.assert_allclose(pictures[:, 0], stamps, atol=2e-3)
        [(where, seconds)] = clock.pauses
        assert where == pytest.approx(30, abs=0.6) and seconds == pytest.approx(100, abs=0.6)
        assert "leaps forward by 100 s in all, 1 x, first at" in notes[0]


@pytest.mark.parametrize("stamp", [0, 2**32, 2**33 - 1])
def test_one_damaged_stamp_costs_one_picture(tmp_path, stamp):
    path = write_video(
        tmp_path / "a.ts", steady(200, RATE), options={"bf": "0", "g": "25"}, rate=RATE
    )
    data = bytearray(path.read_bytes())
    begin = -1
    for _ in range(100):  # the stamps lie nine bytes behind the start of a picture's packet
        begin = data.index(b"\0\0\1\xe0", begin + 1)
    begin += 9
    flags = 0x21 if data[begin - 2] >> 6 == 2 else 0x31
    data[begin : begin + 5] = bytes(
        (
            flags | (stamp >> 29) & 0x0E,
            stamp >> 22 & 0xFF,
            (stamp >> 14 & 0xFE) | 1,
            stamp >> 7 & 0xFF,
            (stamp << 1 & 0xFE) | 1,
        )
    )
    path.write_bytes(data)
    pictures, clock, _ = shown(path)
    assert 198 <= len(pictures) <= 199 and clock.damaged_stamps >= 1 and clock.restart_s is None
    np.testing.assert_allclose(pictures[:, 0], pictures[:, 1] / RATE, atol=2e-3)


def test_a_bare_stream_has_no_time(tmp_path):
    path = write_video(tmp_path / "a.h264", steady(100, RATE), fmt="h264")
    with pytest.raises(UserError, match="night n: the video is a bare stream without time stamps"):
        VideoReader(path, name="n")


def test_pictures_lost_from_an_avi_are_said(tmp_path):
    """AVI has no stamps: what is behind a hole comes too early, and only the count shows it."""
    path = write_video(tmp_path / "a.avi", steady(300, 25), codec="mpeg4", options={"g": "1"})
    data = path.read_bytes()
    first = data.index(b"00dc", len(data) // 3)
    last = data.index(b"00dc", 2 * len(data) // 3)
    path.write_bytes(data[:first] + data[last:])
    pictures, clock, notes = shown(path)
    assert 80 < len(pictures) < 220
    assert clock.lost_s == pytest.approx((300 - len(pictures)) / 25, abs=0.1)
    assert "AVI counts pictures" in notes[0]


@pytest.mark.parametrize("finished", [True, False])
def test_an_avi_without_its_index_is_as_long_as_its_pictures(tmp_path, finished):
    """Its recorder crashed, before or after it wrote into the header how long it had recorded."""
    path = write_video(tmp_path / "a.avi", steady(300, 5), rate=5, codec="mpeg4")
    data = bytearray(path.read_bytes()[: path.read_bytes().rindex(b"idx1")])
    if not finished:
        for chunk, place in ((b"RIFF", 4), (b"avih", 24), (b"strh", 40)):
            begin = data.index(chunk) + place
            data[begin : begin + 4] = bytes(4)
    path.write_bytes(data)
    with VideoReader(path, name="n") as video:
        assert video.declared_s is None
        assert video.seek_end() == pytest.approx(59.8)
    pictures, clock, notes = shown(path)
    assert len(pictures) == 300 and clock.end_s == pytest.approx(59.8) and not notes
