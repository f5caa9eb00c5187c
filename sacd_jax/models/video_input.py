"""From stored frames to what a video network sees: arrangement of moments and lags, stem on grey.

A clip has M moments of L frames each (one frame and its lags), moment-major. On few subjects the
arrangement matters most of all choices: raw frames show the bed, differences show breathing and
movement.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from input_pipeline.errors import UserError
from sacd_jax.models.conv import Form, backend, convolve
from sacd_jax.models.conv_forms import Padding
from sacd_jax.models.width_fold import fold, folded_convolve

VideoInput = Literal["frames", "centered", "differences"]


def arrange(
    video: UInt8[Array, "batch frames height width colours"],
    video_input: VideoInput,
    lags: int,
    dtype: Any = jnp.float32,
) -> Float[Array, "batch moments height width channels"]:
    """Pixels in [0, 1], with the frames of a moment as channels (lag, colour).

    Args:
        video: stored frames, `frames` = moments x lags, moment-major.
        video_input: `frames` as they are; `centered` without the clip's mean image;
            `differences` of each later frame of a moment to its first (one lag fewer).
        lags: frames a moment.
        dtype: of the result; differences are taken in float32 at least.

    Raises:
        UserError: the frames do not come in groups of `lags`, or the arrangement is unknown.
    """
    batch, frames, height, width, colours = video.shape
    if frames % lags:
        raise UserError(f"a clip has {frames} frames, expected a multiple of lags = {lags}")
    x = video.reshape(batch, frames // lags, lags, height, width, colours)
    # Lags to the channels while a pixel is still one byte.
    x = x.transpose(0, 1, 3, 4, 2, 5).astype(jnp.promote_types(dtype, jnp.float32)) / 255.0
    match video_input:
        case "frames":
            pass
        case "centered":
            x = x - x.mean((1, 4), keepdims=True)
        case "differences":
            if lags < 2:
                raise UserError("video_input 'differences' needs lags of at least 2, found 1")
            x = x[..., 1:, :] - x[..., :1, :]
        case _:
            raise UserError(
                f"video_input is {video_input!r}, expected frames, centered or differences"
            )
    return x.reshape(*x.shape[:4], -1)


class StemConv(nn.Module):
    """The first convolution with the normalisation of its input, which it does exactly on grey.

    With `input_channels` 3 and a grey input the result is that of three equal channels, each
    normalised with its own mean and standard deviation and zero beyond the border. The colours
    are summed in the kernel, inside the step, so the three-channel kernel also trains as it would
    on three equal channels.

    Attributes:
        features, kernel_size, strides, padding, kernel_init, form: of the convolution (no bias).
        mean, std: of the colours; a grey or other input of one colour uses their average.
        input_channels: channels of the kernel; None for those of the input.
        dtype: of the convolution; the normalisation is in the input's.
    """

    features: int
    kernel_size: tuple[int, int, int]
    strides: tuple[int, int, int]
    padding: Padding
    kernel_init: Callable[..., Array]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    input_channels: int | None = None
    dtype: Any = None
    form: Form = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch time height width channels"], columns: int = 1
    ) -> Float[Array, "batch out_time out_height out_width out_channels"]:
        """Convolves pixels in [0, 1]; `columns` > 1 gives a width-folded result."""
        channels = x.shape[-1]
        kernel_channels = self.input_channels or channels
        shape = (*self.kernel_size, kernel_channels, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        if channels == kernel_channels:
            x = (x - _of_channels(self.mean, channels)) / _of_channels(self.std, channels)
            return self._convolve(x, kernel, columns)
        if channels != 1:
            raise UserError(
                f"the stem has {kernel_channels} input channels and the arranged video {channels}: "
                "only a single grey channel stands for several; for others set stem_channels=None"
            )
        mean = _of_channels(self.mean, kernel_channels)
        scaled = kernel / _of_channels(self.std, kernel_channels)[:, None]
        centre = mean.mean()
        summed = scaled.sum(-2, keepdims=True)
        if len(set(self.mean)) == 1:
            return self._convolve(x - centre, summed, columns)
        # What the other colours' means add differs at the border, where padding is zero.
        offset = (scaled * (centre - mean)[:, None]).sum(-2, keepdims=True)
        if backend() == "tpu" and columns == 1:
            # As a second channel of ones: the offset's gradient would else read all of y's again.
            # A width-folded stem pays more for that channel's layouts.
            both = jnp.concatenate([x - centre, jnp.ones_like(x)], -1)
            return self._convolve(both, jnp.concatenate([summed, offset], -2), columns)
        y = self._convolve(x - centre, summed, columns)
        frames = 1 if self.kernel_size[0] == 1 else x.shape[1]
        ones = jnp.ones((1, frames, *x.shape[2:]), x.dtype)
        border = self._convolve(ones, offset, 1)
        return y + (fold(border, columns) if columns > 1 else border)

    def _convolve(self, x: Array, kernel: Array, columns: int) -> Array:
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        if columns == 1:
            return convolve(x, kernel, self.strides, self.padding, self.form)
        columns_in = columns * self.strides[2]
        return folded_convolve(
            fold(x, columns_in), kernel, self.strides, self.padding, columns_in, columns
        )


def _of_channels(values: Sequence[float], channels: int) -> Float[np.ndarray, "channels"]:
    """A statistic of the colours for each channel, colours fastest; their average where unlike."""
    if channels % len(values):
        return np.full(channels, np.mean(values), np.float32)
    return np.tile(np.asarray(values, np.float32), channels // len(values))
