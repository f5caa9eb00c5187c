"""Which frames a network sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling


def test_centred_moments_are_symmetric_and_even():
    assert Sampling() == Sampling(moments=16, lags_s=(0.0,), mode="spread", validation_windows=3)
    frames = Sampling().indices(60, 2.0)
    np.testing.assert_array_equal(frames + frames[::-1], 59)
    assert set(np.diff(frames)) == {3, 4}


def test_lags_follow_their_moment():
    sampling = Sampling(moments=3, lags_s=[0, 0.5, 2])
    frames = sampling.indices(60, 2.0).reshape(3, 3)
    np.testing.assert_array_equal(frames - frames[:, :1], [[0, 1, 4]] * 3)
    assert sampling.frames == 9


def test_every_frame_is_seen_in_training():
    offsets = np.random.default_rng(0).random(2000)
    seen = np.concatenate([Sampling(moments=16).indices(60, 2.0, offset) for offset in offsets])
    counts = np.bincount(seen, minlength=60)
    # 16 of 60 frames a clip: each is taken 533 times in expectation.
    assert counts.shape == (60,) and counts.min() > 430 and counts.max() < 640


@given(
    moments=st.integers(1, 60),
    lags=st.sets(st.integers(1, 10), max_size=3),
    offset=st.floats(0, 1, exclude_max=True),
)
def test_frames_exist_ascend_and_do_not_repeat(moments, lags, offset):
    sampling = Sampling(moments, (0, *(lag / 2 for lag in sorted(lags))))
    if moments > 60 - max(lags, default=0):
        with pytest.raises(UserError, match=f"moments {moments}"):
            sampling.check(60, 2.0)
        return
    frames = sampling.indices(60, 2.0, offset).reshape(moments, -1)
    several = sampling.indices(60, 2.0, np.array([0.5, offset]))
    np.testing.assert_array_equal(several[0], sampling.indices(60, 2.0))
    np.testing.assert_array_equal(several[1], frames.reshape(-1))
    assert frames.min() >= 0 and frames.max() <= 59
    assert np.all(np.diff(frames, axis=0) > 0) and np.all(np.diff(frames, axis=1) > 0)


@pytest.mark.parametrize(
    "lags", [(), (0.5,), (0, -1), (0, 1, 1), (0, 2, 1), (0, np.inf), (0, np.nan)]
)
def test_lags_begin_with_zero_and_ascend(lags):
    with pytest.raises(UserError, match="lags_s"):
        Sampling(lags_s=lags)


def test_lags_finer_than_the_stored_frames_are_refused():
    with pytest.raises(UserError, match="two lags meet"):
        Sampling(moments=4, lags_s=(0, 0.2)).check(60, 2.0)


def test_the_largest_offset_repeats_no_frame():
    """Found by the property above: 1 + (1 - 2**-53) is 2, and 0 + (1 - 2**-53) is not 1."""
    offset = float(np.nextafter(1.0, 0.0))
    taken = Sampling(moments=50).indices(50, 2.0, offset)
    assert taken.tolist() == list(range(50))


@pytest.mark.parametrize(
    ("stored", "few"),
    [(5, [0]), (16, [0]), (17, [0, 1]), (20, [0, 2, 4]), (33, [0, 8, 17])],
)
def test_consecutive_frames_and_windows_are_those_of_ccl(stored, few):
    sampling = Sampling(moments=16, mode="consecutive")
    sampling.check(stored, 25.0)
    drawn = {tuple(sampling.indices(stored, 25.0, offset)) for offset in np.linspace(0, 0.999, 200)}
    starts = range(max(0, stored - 16 - 1) + 1)  # both ends included
    looped = [tuple((start + np.arange(16)) % stored) for start in starts]
    assert drawn == set(looped)

    windows = sampling.windows(stored, 25.0)
    assert len(windows) == -(-stored // 16)
    for number, window in enumerate(windows):
        own = np.arange(16 * number, min(16 * number + 16, stored))
        np.testing.assert_array_equal(window, np.resize(own, 16))  # the last one loops
    for start, window in zip(few, sampling.windows(stored, 25.0, most=3), strict=True):
        np.testing.assert_array_equal(window, np.resize(np.arange(start, stored)[:16], 16))


def test_a_test_looks_at_one_window_of_spread_moments():
    sampling = Sampling(moments=4)
    (window,) = sampling.windows(60, 2.0, most=3)
    assert window.tolist() == sampling.indices(60, 2.0).tolist() == [7, 22, 37, 52]


def test_lags_are_those_of_the_nearest_stored_frames():
    frames = Sampling(moments=2, lags_s=(0, 0.7, 1.3)).indices(60, 2.0)
    assert frames.tolist() == [14, 15, 17, 42, 43, 45]  # of 57 moments a quarter and three


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"moments": 0}, "moments 0: expected 1 or more"),
        ({"validation_windows": 0}, "validation_windows 0: expected 1 or more"),
        ({"mode": "dense"}, "mode 'dense': expected spread or consecutive"),
        ({"mode": "consecutive", "lags_s": (0, 1)}, "with consecutive frames"),
    ],
)
def test_what_no_sampling_can_be(wrong, match):
    Sampling(**dict.fromkeys(wrong.keys() & {"moments", "validation_windows"}, 1))
    with pytest.raises(UserError, match=match):
        Sampling(**wrong)


@pytest.mark.parametrize(
    ("stored", "moments", "lags", "match"),
    [
        (60, 57, (0, 2), "a clip stores 60 frames at 2 a second; expected at most 56"),
        (3, 1, (0, 2), "up to 2 s: a clip stores 3 frames .* expected at most 0"),
        (0, 1, (0,), "clips differ in length; expected 'consecutive'"),
    ],
)
def test_moments_that_clips_cannot_give(stored, moments, lags, match):
    with pytest.raises(UserError, match=match):
        Sampling(moments, lags).check(stored, 2.0)
