"""Residual blocks of the video networks: 3-D or (2+1)-D convolutions, plain or width-folded.

Activations are `[batch, time, height, width, channels]`; `columns` says how many columns of the
image lie side by side in the channels (`width_fold`), 1 for an ordinary activation.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.conv import Form, convolve, kaiming_normal
from sacd_jax.models.conv_forms import Padding
from sacd_jax.models.width_fold import fold, folded_convolve, unfold

Shortcut = Literal["A", "B", "factorized"]


@dataclass(frozen=True)
class Style:
    """What all layers of one network share."""

    factorized: bool = True
    shared_middle: bool = False
    shortcut: Shortcut = "B"
    kernel_init: Callable[..., Array] = kaiming_normal
    dtype: Any = None
    form: Form = "auto"
    replicas: int = 1
    """See `batch_norm.BatchNorm`."""

    def norm(self, name: str) -> BatchNorm:
        return BatchNorm(replicas=self.replicas, dtype=self.dtype, name=name)


def middle_channels(taps: tuple[int, int], channels: int, features: int) -> int:
    """Channels between the spatial and the temporal half that keep the 3-D parameter count.

    Args:
        taps: temporal and spatial width of the kernel.
        channels, features: in and out.
    """
    time, space = taps[0], taps[1] ** 2
    return time * space * channels * features // (space * channels + time * features)


class VideoConv(nn.Module):
    """A bias-free convolution between activations that may be width-folded."""

    features: int
    kernel_size: tuple[int, int, int]
    style: Style
    strides: tuple[int, int, int] = (1, 1, 1)

    @nn.compact
    def __call__(self, x: Array, columns_in: int = 1, columns_out: int = 1) -> Array:
        shape = (*self.kernel_size, x.shape[-1] // columns_in, self.features)
        kernel = self.param("kernel", self.style.kernel_init, shape, jnp.float32)
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.style.dtype)
        padding = symmetric_padding(self.kernel_size)
        if columns_in == columns_out == 1:
            return convolve(x, kernel, self.strides, padding, self.style.form)
        return folded_convolve(x, kernel, self.strides, padding, columns_in, columns_out)


class Conv2Plus1d(nn.Module):
    """A spatial convolution, BatchNorm, ReLU, and a temporal one: a 3-D convolution in two."""

    features: int
    middle: int
    taps: tuple[int, int]
    style: Style
    stride: int = 1

    @nn.compact
    def __call__(self, x: Array, train: bool, columns_in: int = 1, columns_out: int = 1) -> Array:
        (time, space), s = self.taps, self.stride
        spatial = VideoConv(self.middle, (1, space, space), self.style, (1, s, s), name="spatial")
        x = spatial(x, columns_in, columns_out)
        x = nn.relu(self.style.norm("norm")(x, train, columns_out))
        temporal = VideoConv(self.features, (time, 1, 1), self.style, (s, 1, 1), name="temporal")
        return temporal(x, columns_out, columns_out)


class Block(nn.Module):
    """A residual block: two convolutions of three taps, or a bottleneck around one."""

    features: int
    style: Style
    stride: int = 1
    bottleneck: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch time height width channels"],
        train: bool,
        columns_in: int = 1,
        columns_out: int = 1,
    ) -> Float[Array, "batch out_time out_height out_width out_channels"]:
        channels = x.shape[-1] // columns_in
        style, s = self.style, self.stride
        if self.bottleneck:
            y = VideoConv(self.features, (1, 1, 1), style, name="conv1")(x, columns_in, columns_in)
            y = nn.relu(style.norm("norm1")(y, train, columns_in))
            y = self._conv(y, train, "conv2", s, columns_in, columns_out)
            y = nn.relu(style.norm("norm2")(y, train, columns_out))
            features = 4 * self.features
            y = VideoConv(features, (1, 1, 1), style, name="conv3")(y, columns_out, columns_out)
            y = style.norm("norm3")(y, train, columns_out)
        else:
            features = self.features
            y = self._conv(x, train, "conv1", s, columns_in, columns_out)
            y = nn.relu(style.norm("norm1")(y, train, columns_out))
            y = self._conv(y, train, "conv2", 1, columns_out, columns_out, of=channels)
            y = style.norm("norm2")(y, train, columns_out)
        if s != 1 or channels != features:
            x = self._shortcut(x, train, features, columns_in, columns_out)
        return nn.relu(x + y)

    def _conv(
        self,
        x: Array,
        train: bool,
        name: str,
        stride: int,
        columns_in: int,
        columns_out: int,
        of: int | None = None,
    ) -> Array:
        """Three taps an axis; `of`: the block's channels, for torchvision's middle channels."""
        style = self.style
        if not style.factorized:
            conv = VideoConv(self.features, (3, 3, 3), style, (stride,) * 3, name=name)
            return conv(x, columns_in, columns_out)
        channels = of if of and style.shared_middle else x.shape[-1] // columns_in
        middle = middle_channels((3, 3), channels, self.features)
        conv = Conv2Plus1d(self.features, middle, (3, 3), style, stride, name=name)
        return conv(x, train, columns_in, columns_out)

    def _shortcut(
        self, x: Array, train: bool, features: int, columns_in: int, columns_out: int
    ) -> Array:
        style, s = self.style, self.stride
        if style.shortcut == "A":
            # No parameters: every s-th position, zeros for new channels.
            x = unfold(x, columns_in) if columns_in > 1 else x
            x = x[:, ::s, ::s, ::s]
            return jnp.pad(x, ((0, 0),) * 4 + ((0, features - x.shape[-1]),))
        if style.shortcut == "factorized":
            middle = middle_channels((1, 1), x.shape[-1] // columns_in, features)
            conv = Conv2Plus1d(features, middle, (1, 1), style, s, name="shortcut")
            x = conv(x, train, columns_in, columns_out)
        else:
            conv = VideoConv(features, (1, 1, 1), style, (s, s, s), name="shortcut")
            x = conv(x, columns_in, columns_out)
        return style.norm("shortcut_norm")(x, train, columns_out)


def max_pool(
    x: Float[Array, "batch time height width channels"], columns: int = 1, window: bool = True
) -> tuple[Float[Array, "batch out_time out_height out_width out_channels"], int]:
    """Max pool of 3x3x3, stride 2, one position of padding that never wins.

    Where several positions hold the maximum the first of them, in time, height and width, gets the
    gradient.

    Args:
        x: activation of `columns` (1 or 2) columns a block.
        window: by `reduce_window`, whose gradient is one operation of TPUs; else axis by axis from
            slices: on a CPU and a GPU that gradient is a scatter, slow there and, on a GPU, in no
            fixed order.

    Returns:
        The pooled activation and its columns a block.
    """
    low = -jnp.inf
    if columns == 2:
        # Column 2j-1 is the second half of the block before.
        first, second = jnp.split(x, 2, axis=-1)
        before = jnp.pad(second, ((0, 0),) * 3 + ((1, 0), (0, 0)), constant_values=low)
        x = _larger(_larger(before[:, :, :, :-1], first), second)
    axes = (1, 2) if columns == 2 else (1, 2, 3)
    if window:
        size = [3 if axis in axes else 1 for axis in range(5)]
        strides = [2 if axis in axes else 1 for axis in range(5)]
        padding = [(1, 1) if axis in axes else (0, 0) for axis in range(5)]
        x = lax.reduce_window(x, low, lax.max, size, strides, padding)
    else:
        for axis in reversed(axes):  # the last one first: ties go to the earliest frame then
            room = [(0, 0)] * 5
            room[axis] = (1, x.shape[axis] % 2)
            padded = jnp.pad(x, room, constant_values=low)
            parts = [
                lax.slice_in_dim(padded, i, i + 2 * (-(-x.shape[axis] // 2)) - 1, 2, axis)
                for i in range(3)
            ]
            x = _larger(_larger(parts[0], parts[1]), parts[2])
    if columns == 2 and x.shape[3] % 2 == 0:
        return fold(x, 2), 2
    return x, 1


def _larger(first: Array, second: Array) -> Array:
    """The maximum; the whole gradient goes to the first of equals, not half to each."""
    return jnp.where((first >= second) | jnp.isnan(first), first, second)


def symmetric_padding(kernel_size: tuple[int, int, int]) -> Padding:
    """Half a kernel of zeros on either side."""
    return tuple((tap // 2, tap // 2) for tap in kernel_size)
