"""Convolutions whose columns lie in the channel axis: exact, and kinder to wide matrix units.

A matrix unit of 128 lanes is half empty on 64 channels. A folded activation holds `columns`
neighbouring columns of the image side by side in its channels, `[batch, time, height, width,
channels] -> [batch, time, height, width / columns, columns * channels]`; a folded kernel holds the
ordinary kernel at the places where a column sees another and zeros elsewhere. It is built inside
the step, so parameters, gradients and checkpoints are those of the ordinary network.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from sacd_jax.models.conv import convolve
from sacd_jax.models.conv_forms import Padding


def fold(
    x: Float[Array, "batch time height width channels"], columns: int
) -> Float[Array, "batch time height blocks folded"]:
    """Moves groups of neighbouring columns into the channels; channel order (column, channel)."""
    *lead, width, channels = x.shape
    return x.reshape(*lead, width // columns, columns * channels)


def unfold(
    x: Float[Array, "batch time height blocks folded"], columns: int
) -> Float[Array, "batch time height width channels"]:
    """Undoes `fold`."""
    *lead, blocks, folded = x.shape
    return x.reshape(*lead, blocks * columns, folded // columns)


def fold_kernel(
    kernel: Float[Array, "t h w channels features"],
    columns_in: int,
    columns_out: int,
    stride: int,
    padding: int,
) -> tuple[Float[Array, "t h blocks folded_channels folded_features"], int, int]:
    """The kernel that sees `columns_in` columns a block and makes `columns_out`.

    Args:
        kernel: ordinary kernel.
        columns_in: columns in a block of the input.
        columns_out: columns in a block of the output; `stride * columns_out` must be a multiple
            of `columns_in`.
        stride: of the ordinary convolution along the width.
        padding: columns of zeros before the first.

    Returns:
        The folded kernel, its stride in blocks, and the blocks of zeros before the first.
    """
    if stride * columns_out % columns_in:
        raise ValueError(
            f"stride {stride} does not lead from {columns_in} to {columns_out} columns"
        )
    *lead, taps, channels, features = kernel.shape
    before = -(-padding // columns_in)
    last = stride * (columns_out - 1) - padding + taps - 1
    seen = (before + last // columns_in + 1) * columns_in
    parts = []
    for column in range(columns_out):
        start = columns_in * before + stride * column - padding
        room = ((0, 0),) * len(lead) + ((start, seen - start - taps), (0, 0), (0, 0))
        parts.append(jnp.pad(kernel, room))
    shape = (*lead, seen // columns_in, columns_in * channels, columns_out * features)
    folded = jnp.stack(parts, axis=-2).reshape(shape)
    return folded, stride * columns_out // columns_in, before


def folded_convolve(
    x: Float[Array, "batch time height blocks folded_channels"],
    kernel: Float[Array, "t h w channels features"],
    strides: tuple[int, int, int],
    padding: Padding,
    columns_in: int,
    columns_out: int,
) -> Float[Array, "batch out_time out_height out_blocks folded_features"]:
    """`conv.convolve` from an activation of `columns_in` columns a block to `columns_out`."""
    if columns_in == columns_out == 1:
        return convolve(x, kernel, strides, padding, "direct")
    width = x.shape[3] * columns_in
    out_width = (width + sum(padding[2]) - kernel.shape[2]) // strides[2] + 1
    if out_width % columns_out:
        raise ValueError(f"a width of {out_width} cannot be folded by {columns_out}")
    folded, stride, before = fold_kernel(kernel, columns_in, columns_out, strides[2], padding[2][0])
    # Blocks that the last output sees beyond the input; negative where it does not reach the end.
    after = (out_width // columns_out - 1) * stride + folded.shape[2] - before - x.shape[3]
    pads = (*padding[:2], (before, after))
    return convolve(x, folded, (*strides[:2], stride), pads, "direct")
