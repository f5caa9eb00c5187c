"""How a convolution is computed: XLA's own, of fewer axes for GPUs, or by products for CPUs.

Kernels are `[*taps, in, out]`, inputs channels last, padding explicit: `conv.convolve` is the door.
Which product stands where was chosen by measurement: docs/video-networks.md.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

Padding = tuple[tuple[int, int], ...]

_LAYOUT = {1: ("NWC", "WIO", "NWC"), 2: ("NHWC", "HWIO", "NHWC"), 3: ("NDHWC", "DHWIO", "NDHWC")}
# Taps, strides and padding in height and width of a kernel along time.
_ONE_POSITION = ((1, 1), (1, 1), ((0, 0), (0, 0)))
# Up to this many input channels all taps share one matrix product; above it the copies cost more
# than the larger product gains.
_FEW_CHANNELS = 32
# From this many channels on, and up to this many positions of an output frame, a matrix product of
# all taps beats a convolution: there is more kernel than image.
_MANY_CHANNELS = 256
_SMALL_FRAME = 64
# From this many positions of an output frame on, the gradient of the kernel goes frame by frame.
_LARGE_FRAME = 512


def direct(
    x: Float[Array, "batch *positions channels"],
    kernel: Float[Array, "*taps channels features"],
    strides: tuple[int, ...],
    padding: Padding,
) -> Float[Array, "batch *out_positions features"]:
    """XLA's own convolution of one to three axes."""
    layout = _LAYOUT[len(strides)]
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=layout)


def planar(
    x: Float[Array, "batch *positions channels"],
    kernel: Float[Array, "*taps channels features"],
    strides: tuple[int, ...],
    padding: Padding,
) -> Float[Array, "batch *out_positions features"]:
    """The same by convolutions of two axes where a 3-D kernel has one tap in time or in space."""
    taps = kernel.shape[:-2]
    if len(taps) == 1 and strides[0] > 1:
        return matmul(x, kernel, strides, padding)
    if len(taps) == 3 and taps[0] == 1 and padding[0] == (0, 0):
        x = x[:, :: strides[0]]
        y = direct(x.reshape(-1, *x.shape[2:]), kernel[0], strides[1:], padding[1:])
        return y.reshape(*x.shape[:2], *y.shape[1:])
    if len(taps) == 3 and (taps[1:], strides[1:], padding[1:]) == _ONE_POSITION:
        return _along_time(x, kernel, strides[0], padding[0])
    return direct(x, kernel, strides, padding)


def _along_time(x: Array, kernel: Array, stride: int, padding: tuple[int, int]) -> Array:
    """A Tx1x1 convolution as one of two axes, all positions of a frame in one."""
    batch, time, height, width, channels = x.shape
    flat = x.reshape(batch, time, height * width, channels)
    y = direct(flat, kernel[:, :, 0], (stride, 1), (padding, (0, 0)))
    return y.reshape(batch, -1, height, width, kernel.shape[-1])


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def matmul(
    x: Float[Array, "batch *positions channels"],
    kernel: Float[Array, "*taps channels features"],
    strides: tuple[int, ...],
    padding: Padding,
) -> Float[Array, "batch *out_positions features"]:
    """The same by products and convolutions of at most two axes, and so its gradients."""
    return _lower_rank(x, kernel, strides, padding)


def _matmul_forward(
    x: Array, kernel: Array, strides: tuple[int, ...], padding: Padding
) -> tuple[Array, tuple[Array, Array]]:
    return _lower_rank(x, kernel, strides, padding), (x, kernel)


def _matmul_backward(
    strides: tuple[int, ...], padding: Padding, saved: tuple[Array, Array], dy: Array
) -> tuple[Array, Array]:
    x, kernel = saved

    def of_input(x: Array) -> Array:
        if len(strides) == 1 and strides[0] > 1:
            return _lower_rank(*_stride_to_channels(x, kernel, strides[0], padding[0]))
        return _lower_rank(x, kernel, strides, padding)

    (dx,) = jax.vjp(of_input, x)[1](dy)
    return dx, kernel_gradient(x, dy, kernel.shape, strides, padding).astype(kernel.dtype)


matmul.defvjp(_matmul_forward, _matmul_backward)


def _lower_rank(x: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    """The same convolution by matrix products and convolutions of at most two axes."""
    *taps, channels, features = kernel.shape
    unpadded = all(pair == (0, 0) for pair in padding)
    if unpadded and tuple(taps) == strides:  # patches that do not overlap, 1x1x1 included
        return _patches(x, strides) @ kernel.reshape(-1, features)
    if unpadded and all(tap == 1 for tap in taps):
        return _slices(x, (1,) * len(taps), strides)[0] @ kernel.reshape(channels, features)
    if len(strides) == 2 and x.shape[1] * x.shape[2] <= taps[0] * taps[1]:
        return _every_pair(x, kernel, strides, padding)
    output = [
        (size + sum(pair) - tap) // stride + 1
        for size, tap, stride, pair in zip(x.shape[1:-1], taps, strides, padding, strict=True)
    ]
    more_kernel = channels >= _MANY_CHANNELS and math.prod(output[-2:]) <= _SMALL_FRAME
    if len(strides) == 2 and more_kernel:
        # One product of all taps: XLA would copy each tap's part of the kernel for its own.
        seen = jnp.concatenate(_slices(_pad(x, padding), tuple(taps), strides), -1)
        return seen @ kernel.reshape(-1, features)
    if len(strides) < 3:
        return direct(x, kernel, strides, padding)
    if taps[0] == 1 and padding[0] == (0, 0):
        return _each_frame(x[:, :: strides[0]], kernel[0], strides[1:], padding[1:])
    return _taps_in_time(x, kernel, strides, padding, more_kernel)


def _taps_in_time(
    x: Array, kernel: Array, strides: tuple[int, ...], padding: Padding, more_kernel: bool
) -> Array:
    """A 3-D convolution of several temporal taps; `more_kernel`: there is more of it than image."""
    *taps, channels, features = kernel.shape
    spatial = (tuple(taps[1:]), strides[1:], padding[1:]) != _ONE_POSITION
    if not spatial and not more_kernel:
        return _along_time(x, kernel, strides[0], padding[0])
    if taps[0] * channels <= _FEW_CHANNELS:
        frames = _slices(_pad(x, padding[:1]), (taps[0],), strides[:1])
        kernel = jnp.moveaxis(kernel, 0, 2).reshape(*taps[1:], -1, features)
        return _each_frame(jnp.concatenate(frames, -1), kernel, strides[1:], padding[1:])
    parts = []
    for tap, seen in enumerate(_seen_in_time(x, taps[0], strides[0], padding[0])):
        if seen is not None:
            frames, before, after = seen
            y = _each_frame(frames, kernel[tap], strides[1:], padding[1:])
            parts.append(_pad(y, ((before, after),)))
    if not parts:  # every tap finds nothing but padding
        return direct(x, kernel, strides, padding)
    return _sum(parts)


def _sum(parts: list[Array]) -> Array:
    return sum(parts[1:], start=parts[0])


def _seen_in_time(
    x: Array, taps: int, stride: int, padding: tuple[int, int]
) -> list[tuple[Array, int, int] | None]:
    """For each temporal tap the input frames it sees, and the output frames before and after them.

    Those before and after find only padding under this tap; None where all of them do. Late stages
    have one or two frames left: there three taps find more padding than frames.
    """
    count = (x.shape[1] + sum(padding) - taps) // stride + 1
    seen: list[tuple[Array, int, int] | None] = []
    for tap in range(taps):
        first = max(0, -(-(padding[0] - tap) // stride))
        last = min(count - 1, (x.shape[1] - 1 + padding[0] - tap) // stride)
        if first > last:
            seen.append(None)
            continue
        start, stop = (i * stride + tap - padding[0] for i in (first, last))
        frames = lax.slice_in_dim(x, start, stop + 1, stride, 1)
        seen.append((frames, first, count - 1 - last))
    return seen


def _each_frame(x: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    y = _lower_rank(x.reshape(-1, *x.shape[2:]), kernel, strides, padding)
    return y.reshape(*x.shape[:2], *y.shape[1:])


def _every_pair(x: Array, kernel: Array, strides: tuple[int, ...], padding: Padding) -> Array:
    """A 2-D convolution of an image no larger than its kernel, as one matrix product.

    The matrix takes all input positions to all output positions; a convolution would mostly read
    padding.
    """
    batch, *size, _ = x.shape
    channels, features = kernel.shape[2:]
    # sees[y, i, t]: whether output y finds input i under tap t, for each of the two axes.
    sees = []
    for length, taps, stride, (before, after) in zip(
        size, kernel.shape[:2], strides, padding, strict=True
    ):
        outputs = np.arange((length + before + after - taps) // stride + 1)
        tap = np.arange(length) - stride * outputs[:, None] + before
        sees.append(tap[..., None] == np.arange(taps))
    pairs = np.einsum("yis,xjt->ijyxst", *(axis.astype(np.float32) for axis in sees))
    out_size = pairs.shape[2:4]
    inputs, outputs = size[0] * size[1], out_size[0] * out_size[1]
    choose = jnp.asarray(pairs.reshape(inputs * outputs, -1), kernel.dtype)
    matrix = (choose @ kernel.reshape(-1, channels * features)).reshape(
        inputs, outputs, channels, features
    )
    matrix = matrix.transpose(0, 2, 1, 3).reshape(inputs * channels, outputs * features)
    return (x.reshape(batch, -1) @ matrix).reshape(batch, *out_size, features)


def _pad(x: Array, padding: Padding) -> Array:
    return jnp.pad(x, ((0, 0), *padding, *((0, 0),) * (x.ndim - 1 - len(padding))))


def _slices(x: Array, taps: tuple[int, ...], strides: tuple[int, ...]) -> list[Array]:
    """What each tap of the first axes sees, in the kernel's (C) order."""
    parts = [x]
    for axis, (tap, stride) in enumerate(zip(taps, strides, strict=True), start=1):
        count = (x.shape[axis] - tap) // stride + 1
        reach = (count - 1) * stride + 1
        parts = [lax.slice_in_dim(p, i, i + reach, stride, axis) for p in parts for i in range(tap)]
    return parts


def _patches(x: Array, size: tuple[int, ...]) -> Array:
    """`[B, n*size, C] -> [B, n, size*C]` on every axis; a rest that fills no patch is dropped."""
    batch, *positions, channels = x.shape
    counts = [n // s for n, s in zip(positions, size, strict=True)]
    x = x[(slice(None), *(slice(n * s) for n, s in zip(counts, size, strict=True)))]
    x = x.reshape(batch, *(i for pair in zip(counts, size, strict=True) for i in pair), channels)
    rank = len(size)
    order = (0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return x.transpose(order).reshape(batch, *counts, -1)


def _stride_to_channels(
    x: Array, kernel: Array, stride: int, padding: tuple[int, int]
) -> tuple[Array, Array, tuple[int, ...], Padding]:
    """A strided 1-D convolution as one of stride 1 over blocks of `stride` samples."""
    taps, channels, features = kernel.shape
    count = (x.shape[1] + sum(padding) - taps) // stride + 1
    blocks = -(-taps // stride)
    length = (count + blocks - 1) * stride
    x = _pad(x, ((padding[0], max(0, length - x.shape[1] - padding[0])),))[:, :length]
    kernel = jnp.pad(kernel, ((0, blocks * stride - taps), (0, 0), (0, 0)))
    return (
        x.reshape(x.shape[0], -1, stride * channels),
        kernel.reshape(blocks, stride * channels, features),
        (1,),
        ((0, 0),),
    )


def kernel_gradient(
    x: Float[Array, "batch *positions channels"],
    dy: Float[Array, "batch *out_positions features"],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    padding: Padding,
) -> Float[Array, "*taps channels features"]:
    """Gradient of a convolution's kernel by matrix products; bfloat16 is summed in float32.

    Args:
        x: the convolution's input `[batch, *positions, channels]`.
        dy: cotangent of its output.
        shape: the kernel's, `[*taps, channels, features]`.
        strides, padding: the convolution's.
    """
    gradient = partial(_kernel_gradient, shape=shape, strides=strides, padding=padding)
    # Rows of different devices are summed at the end, or every turn of a loop would wait for all.
    devices = math.gcd(dy.shape[0], jax.device_count())
    if devices == 1:
        return gradient(x, dy)
    parts = (a.reshape(devices, -1, *a.shape[1:]) for a in (x, dy))
    return jax.vmap(gradient)(*parts).sum(0)


def _kernel_gradient(
    x: Array, dy: Array, shape: tuple[int, ...], strides: tuple[int, ...], padding: Padding
) -> Array:
    *taps, channels, features = shape
    if len(taps) == 1 and strides[0] > 1:
        x, kernel, strides, padding = _stride_to_channels(
            x, jnp.zeros(shape, x.dtype), strides[0], padding[0]
        )
        blocks = _kernel_gradient(x, dy, kernel.shape, strides, padding)
        return blocks.reshape(-1, channels, features)[: taps[0]]

    large = len(taps) > 1 and math.prod(dy.shape[-3:-1]) >= _LARGE_FRAME
    if len(taps) == 3 and not (large and strides[0] == 1 and taps[0] > 1):
        rows = []
        for seen in _seen_in_time(x, taps[0], strides[0], padding[0]):
            if seen is None:
                rows.append(jnp.zeros(shape[1:], jnp.promote_types(dy.dtype, jnp.float32)))
                continue
            frames, before, after = seen
            pair = (frames, dy[:, before : dy.shape[1] - after])
            pair = (a.reshape(-1, *a.shape[2:]) for a in pair)
            rows.append(_kernel_gradient(*pair, shape[1:], strides[1:], padding[1:]))
        return jnp.stack(rows)
    if len(taps) == 2 and x.shape[1] * x.shape[2] <= taps[0] * taps[1]:
        kernel = jnp.zeros(shape, x.dtype)
        return jax.vjp(lambda k: _every_pair(x, k, strides, padding), kernel)[1](dy)[0]
    if tuple(taps) == strides and all(pair == (0, 0) for pair in padding):
        return _product(_patches(x, strides), dy).reshape(shape)
    if large and len(taps) == 2:
        kernel = _each_large_frame(x[:, None], dy[:, None], (1, *taps), strides, ((0, 0), *padding))
        return kernel[0]
    if large:
        return _each_large_frame(x, dy, tuple(taps), strides[1:], padding)
    x = _pad(x, padding)
    if channels > _FEW_CHANNELS:
        return _each_tap(x, dy, tuple(taps), strides).reshape(shape)
    seen = jnp.concatenate(_slices(x, tuple(taps), strides), axis=-1)
    return _product(seen, dy).reshape(shape)


def _matrix_product(left: Array, right: Array, kind: jnp.dtype) -> Array:
    """left @ right, summed and returned in `kind`."""
    # XLA's CPU backend has no product of bfloat16 with sums in float32; products are exact in both.
    return left.astype(kind) @ right.astype(kind)


def _product(part: Array, dy: Array) -> Array:
    """Sums part x dy over all but the channels."""
    kind = jnp.promote_types(dy.dtype, jnp.float32)
    part, dy = part.reshape(-1, part.shape[-1]), dy.reshape(-1, dy.shape[-1])
    # XLA's CPU backend transposes the left operand: let that be the smaller one.
    if part.shape[-1] < dy.shape[-1]:
        return _matrix_product(part.T, dy, kind)
    return _matrix_product(dy.T, part, kind).T


def _each_tap(x: Array, dy: Array, taps: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """Products for each tap, one after the other.

    In a loop, because unrolled all taps' slices are alive at once: nine times the memory for 3x3
    taps, which the kernel then spends a third of the time in handing out.
    """
    kind = jnp.promote_types(dy.dtype, jnp.float32)
    reach = [(n - 1) * s + 1 for n, s in zip(dy.shape[1:-1], strides, strict=True)]
    every = (slice(None), *(slice(None, None, s) for s in strides))
    # XLA would transpose the left operand in every turn.
    left = dy.reshape(-1, dy.shape[-1]).T

    def one(start: Array) -> Array:
        part = lax.dynamic_slice(x, (0, *start, 0), (x.shape[0], *reach, x.shape[-1]))[every]
        return _matrix_product(left, part.reshape(-1, x.shape[-1]), kind)

    return lax.map(one, jnp.asarray(list(np.ndindex(*taps)))).swapaxes(-1, -2)


def _each_large_frame(
    x: Array, dy: Array, taps: tuple[int, ...], strides: tuple[int, ...], padding: Padding
) -> Array:
    """Products of each input frame with all output frames that see it, one frame after the other.

    So the copies of a frame under the spatial taps are made once, and stay in the cache.

    Args:
        x: `[batch, time, height, width, channels]`.
        dy: `[batch, out_time, out_height, out_width, features]`.
        taps: three; the temporal stride is 1.
        strides: spatial.
        padding: three pairs.
    """
    kind = jnp.promote_types(dy.dtype, jnp.float32)
    time, high, wide = taps
    batch, frames, *_, channels = x.shape
    height, width, features = dy.shape[2:]
    x = _pad(x, ((0, 0), *padding[1:]))
    dy = _pad(dy.reshape(batch, -1, height * width, features), ((time - 1, time - 1),))
    reach = [(n - 1) * s + 1 for n, s in zip((height, width), strides, strict=True)]

    def one(total: Array, clip_and_frame: Array) -> tuple[Array, None]:
        clip, t = clip_and_frame
        frame = lax.dynamic_slice(x, (clip, t, 0, 0, 0), (1, 1, *x.shape[2:]))[0, 0]
        # Columns side by side in the channels: the taps of a row are one stretch of memory then.
        columns = [lax.slice_in_dim(frame, i, i + reach[1], strides[1], 1) for i in range(wide)]
        columns = jnp.concatenate(columns, -1)
        rows = [lax.slice_in_dim(columns, i, i + reach[0], strides[0]) for i in range(high)]
        if channels <= _FEW_CHANNELS:
            rows = [jnp.concatenate(rows, -1)]
        size = (1, time, height * width, features)
        left = lax.dynamic_slice(dy, (clip, t + padding[0][0], 0, 0), size)[0]
        left = left.swapaxes(1, 2).reshape(time * features, -1)
        parts = [_matrix_product(left, row.reshape(height * width, -1), kind) for row in rows]
        return total + jnp.stack(parts), None

    products = 1 if channels <= _FEW_CHANNELS else high
    first = jnp.zeros((products, time * features, high * wide * channels // products), kind)
    total, _ = lax.scan(one, first, jnp.asarray(list(np.ndindex(batch, frames))))
    total = total.reshape(products, time, features, -1, channels)
    # The last output frame to see an input frame sees it under the first tap.
    return total[:, ::-1].transpose(1, 0, 3, 4, 2).reshape(*taps, channels, features)
