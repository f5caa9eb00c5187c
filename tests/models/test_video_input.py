import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax.models import encoder as encoders
from sacd_jax.models.video_input import arrange

# 2 clips of 2 moments, each with lags 0, 1, 2.
VIDEO = np.random.default_rng(0).integers(0, 256, (2, 6, 4, 5, 1), np.uint8)
PIXELS = VIDEO[..., 0].reshape(2, 2, 3, 4, 5) / 255


def test_frames_of_a_moment_become_channels() -> None:
    x = arrange(jnp.asarray(VIDEO), "frames", lags=3)
    assert x.dtype == jnp.float32
    np.testing.assert_allclose(x, np.moveaxis(PIXELS, 2, -1), atol=1e-6)


def test_colours_stay_together_within_a_lag() -> None:
    video = np.concatenate([VIDEO, 255 - VIDEO], axis=-1)
    x = arrange(jnp.asarray(video), "frames", lags=3)
    np.testing.assert_allclose(x[..., ::2], np.moveaxis(PIXELS, 2, -1), atol=1e-6)
    np.testing.assert_allclose(x[..., ::2] + x[..., 1::2], 1, atol=1e-6)


def test_centered_frames_have_no_mean_image() -> None:
    x = arrange(jnp.asarray(VIDEO), "centered", lags=3)
    np.testing.assert_allclose(x.mean((1, 4)), 0, atol=1e-6)
    np.testing.assert_allclose(
        x, np.moveaxis(PIXELS - PIXELS.mean((1, 2), keepdims=True), 2, -1), atol=1e-6
    )


def test_differences_are_later_lags_minus_the_first() -> None:
    x = arrange(jnp.asarray(VIDEO), "differences", lags=3)
    np.testing.assert_allclose(
        x, np.moveaxis(PIXELS[:, :, 1:] - PIXELS[:, :, :1], 2, -1), atol=1e-6
    )


@pytest.mark.parametrize(
    ("video_input", "lags", "message"),
    [
        ("frames", 4, "6 frames, expected a multiple of lags = 4"),
        ("differences", 1, "lags of at least 2"),
        ("difference", 3, "expected frames, centered or differences"),
    ],
)
def test_impossible_arrangements_are_named(video_input, lags: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        arrange(jnp.asarray(VIDEO), video_input, lags)


def test_a_colour_stem_refuses_several_grey_channels() -> None:
    batch = {"video": jnp.asarray(VIDEO)}
    with pytest.raises(UserError, match="3 input channels and the arranged video 2"):
        encoder = encoders.create("r3d_18", lags=3, video_input="differences")
        encoders.output_spec(encoder, batch)


def test_sizes_of_the_small_student() -> None:
    encoder = encoders.create("r2plus1d_small", video_input="differences", lags=3)
    batch = {"video": jnp.zeros((2, 48, 40, 48, 1), jnp.uint8)}
    spec = encoders.output_spec(encoder, batch)
    assert spec == encoders.EncoderSpec(512, 5, (8, 16, 32, 64))
