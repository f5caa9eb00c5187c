import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from scipy.signal import resample_poly

from input_pipeline.errors import UserError
from sacd_jax.models.signals import clip_at_rate, max_pool, resample, same_padding


@pytest.mark.parametrize(
    ("length", "window", "stride", "padding"),
    [
        (25, 8, 2, (4, 4)),
        (13, 4, 4, (2, 2)),
        (16, 4, 2, (2, 2)),
        (16, 2, 2, (1, 1)),
        (9, 8, 8, (2, 2)),
        (12, 6, 2, (0, 0)),
        (11, 2, 2, (0, 1)),
    ],
)
def test_max_pool_equals_reduce_window_with_its_gradient(length, window, stride, padding):
    x = np.random.default_rng(0).normal(size=(2, length, 3)).astype(np.float32) - 5

    def ours(x):
        return max_pool(x, window, stride, padding)

    def theirs(x):
        return nn.max_pool(x, (window,), (stride,), [padding])

    np.testing.assert_array_equal(ours(x), theirs(x))
    weights = np.random.default_rng(1).normal(size=theirs(x).shape).astype(np.float32)
    np.testing.assert_allclose(
        *(jax.grad(lambda x, f=f: jnp.vdot(f(x), weights))(x) for f in (ours, theirs)), rtol=1e-6
    )


def test_max_pool_refuses_other_windows():
    with pytest.raises(ValueError, match="multiple"):
        max_pool(jnp.zeros((1, 9, 1)), 3, 2, (0, 0))


def test_same_padding_is_tensorflows():
    assert same_padding(3000, 50, 6) == (22, 22)
    assert same_padding(3000, 400, 50) == (175, 175)
    assert same_padding(63, 4, 4) == (0, 1)
    assert same_padding(63, 8, 1) == (3, 4)


@pytest.mark.parametrize(("up", "down", "samples"), [(4, 5, 3750), (2, 3, 300), (5, 4, 400)])
def test_resample_equals_scipy(up, down, samples):
    x = np.random.default_rng(0).normal(size=(2, samples)).astype(np.float32)
    expected = resample_poly(x.astype(np.float64), up, down, axis=1)
    np.testing.assert_allclose(resample(x, up, down), expected, rtol=1e-4, atol=1e-5)


def test_resampling_keeps_slow_waves_and_removes_what_would_fold():
    time = np.arange(3750) / 125
    slow, fast = (np.sin(2 * np.pi * f * time)[None].astype(np.float32) for f in (10.0, 58.0))
    inner = slice(100, -100)
    expected = np.sin(2 * np.pi * 10 * np.arange(3000) / 100)
    np.testing.assert_allclose(resample(slow, 4, 5)[0, inner], expected[inner], atol=5e-3)
    assert np.abs(resample(fast, 4, 5)[0, inner]).max() < 0.02


def test_clip_at_rate_takes_stored_rates_and_its_own_and_scales():
    assert clip_at_rate(jnp.ones((1, 3750)), 125, 20.0)[0, 0] == pytest.approx(1 / 20)
    assert clip_at_rate(jnp.ones((1, 3750)), 100, 1.0).shape == (1, 3000)
    assert clip_at_rate(jnp.ones((1, 3000)), 100, 1.0).shape == (1, 3000)
    for stored, rate in ((3840, 100), (3840, 125), (3750, 128)):
        time = np.arange(stored) / (stored / 30)
        tone = clip_at_rate(np.sin(2 * np.pi * 10 * time)[None].astype(np.float32), rate, 1.0)
        expected = np.sin(2 * np.pi * 10 * np.arange(30 * rate) / rate)
        inner = slice(rate, -rate)
        np.testing.assert_allclose(tone[0, inner], expected[inner], atol=5e-3)
    with pytest.raises(UserError, match="1000 samples"):
        clip_at_rate(jnp.ones((1, 1000)), 100, 1.0)
