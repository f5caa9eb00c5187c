"""Which frames a network sees."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling


def test_centred_moments_are_symmetric_and_even():
    frames = Sampling(moments=16).indices(60, 2.0)
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


@pytest.mark.parametrize("lags", [(), (0.5,), (0, -1), (0, 1, 1), (0, 2, 1)])
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
