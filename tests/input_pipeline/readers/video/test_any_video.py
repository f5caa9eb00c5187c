"""Random videos show the picture of the moment; random damage ends in one line at most."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.readers.video import VideoReader

from ...recordings import PATIENT, numbers, steady, write_video

KINDS = {
    "h264.mp4": ("libx264", {}),
    "h264.mkv": ("libx264", {}),
    "h264.ts": ("libx264", {}),
    "h264.flv": ("libx264", {}),
    "h264.mov": ("libx264", {}),
    "h265.mp4": ("libx265", {"x265-params": "log-level=none"}),
    "vp8.webm": ("libvpx", {}),
    "ffv1.nut": ("ffv1", {}),
    "mjpeg.mkv": ("mjpeg", {}),
}
STEADY_KINDS = {
    "h264.avi": ("libx264", {}),
    "mpeg4.avi": ("mpeg4", {}),
    "mpeg2.mpg": ("mpeg2video", {"b": "1M"}),
    "wmv2.wmv": ("wmv2", {"b": "1M"}),
}


def write_kind(folder, kind, stamps, rate=25, **options):
    codec, chosen = (KINDS | STEADY_KINDS)[kind]
    pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    path = folder / kind
    return write_video(
        path, stamps, codec=codec, rate=rate, pix_fmt=pix_fmt, options=chosen, **options
    )


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    steps=st.lists(st.integers(20, 900), min_size=30, max_size=90),
    begin=st.integers(0, 3000),
    sound_from=st.sampled_from([None, 0.0, 1.5]),
    moments=st.lists(st.floats(-1, 60), min_size=1, max_size=40).map(sorted),
)
def test_any_valid_video_shows_the_picture_of_the_moment(
    tmp_path, kind, steps, begin, sound_from, moments
):
    if not kind.endswith((".mkv", ".ts", ".mov", ".nut")):
        begin, sound_from = 0, None  # the container begins with its first picture
    if kind.endswith(".nut"):
        sound_from = None
    stamps = np.cumsum([begin, *steps]) / 1000
    path = write_kind(tmp_path, kind, stamps, sound_from=sound_from)
    start = stamps[0] if sound_from is None else min(stamps[0], sound_from)
    times = stamps - start
    # The sound's encoder begins 30 ms early; clocks of a millisecond.
    slack = 0.035 if sound_from is not None else 0.002
    with VideoReader(path, name="n") as video:
        frames, present = video.read_frames(np.array(moments), 32, 64, tolerance_s=0.2)
    distance = np.abs(np.subtract.outer(moments, times))
    assert present[distance.min(1) < 0.2 - slack].all()
    assert not present[distance.min(1) > 0.2 + slack].any()
    shown = times[np.array(numbers(frames))[present]]
    off = np.abs(shown - np.array(moments)[present])
    assert (off <= distance.min(1)[present] + 2 * slack).all()


def damaged(data, rng):
    """One of the ways in which files go bad: flips, holes, noise, an end cut off."""
    data = bytearray(data)
    place = int(rng.integers(len(data)))
    length = int(rng.integers(1, 2000))
    match rng.integers(4):
        case 0:
            for k in rng.integers(0, len(data), 10).tolist():
                data[k] = int(rng.integers(256))
        case 1:
            del data[place : place + length]
        case 2:
            data[place : place + length] = rng.bytes(length)
        case _:
            del data[place:]
    return bytes(data)


def check_damage(tmp_path, seeds):
    refused = 0
    sources = {}
    for kind in KINDS | STEADY_KINDS:
        path = write_kind(tmp_path, kind, steady(100, 25), metadata={"title": PATIENT})
        sources[kind] = path.read_bytes()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        kind = sorted(sources)[seed % len(sources)]
        path = tmp_path / f"bad_{kind}"
        path.write_bytes(damaged(sources[kind], rng))
        try:
            with VideoReader(path, name="n") as video:
                frames, _ = video.read_frames(np.arange(20) / 5, 32, 64)
                assert frames.shape == (20, 32, 64, 1)
                assert PATIENT not in f"{video.notes} {video.creation_time} {video.declared_s}"
            with VideoReader(path, name="n") as video:
                assert np.isfinite(video.seek_end())
        except UserError as error:
            refused += 1
            assert str(error).startswith("night n: ") and "\n" not in str(error)
            assert PATIENT not in str(error) and "bad_" not in str(error)
    return refused


def test_damage_ends_in_one_line_or_in_pictures(tmp_path):
    assert 5 < check_damage(tmp_path, range(104)) < 90


@pytest.mark.slow
def test_much_damage_ends_in_one_line_or_in_pictures(tmp_path):
    assert check_damage(tmp_path, range(1000, 6000)) < 4000
