"""Convolutions of one, two and three dimensions: one parameter layout, the fastest exact form.

The kernel is always `[*taps, in, out]` (WIO, HWIO, DHWIO) under the name `kernel`, so checkpoints
and results do not depend on the form. Forms:

* `direct`: `lax.conv_general_dilated`, what TPU and GPU compilers are made for.
* `matmul`: for XLA's CPU backend. Three-dimensional kernels become two-dimensional convolutions or
  matrix products, and the gradient of the kernel is taken by matrix products: XLA's own costs
  several forward passes there, and hundreds where its window is wider than the input (a kernel of
  even width with symmetric padding, as in AttnSleep and DeepSleepNet).
* `planar`: for GPUs. cuDNN's two-dimensional convolutions work on channels that lie last, its
  three-dimensional ones are handed transposed copies: kernels of 1xHxW and Tx1x1 become
  two-dimensional. The gradient of a strided one-dimensional kernel, elsewhere a window as wide as
  the clip, is taken by matrix products. All else is `direct`.
* `auto`: by the backend, when the step is traced.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sacd_jax.models.conv_forms import Padding, direct, matmul, planar

Form = Literal["auto", "direct", "matmul", "planar"]

kaiming_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""He initialisation by fan-out, untruncated: torchvision's and kenshohara's video networks."""

torch_uniform = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""PyTorch's default for kernels of convolutions and linear layers: U(+-1/sqrt(fan_in))."""


def torch_bias(fan_in: int) -> Callable[..., Array]:
    """PyTorch's default for biases: U(+-1/sqrt(fan_in))."""
    limit = fan_in**-0.5

    def init(key: Array, shape: Sequence[int], dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


_backend: ContextVar[str | None] = ContextVar("backend", default=None)


def backend() -> str:
    """The backend that `auto` goes by: JAX's default, or what `tracing_for` says."""
    return _backend.get() or jax.default_backend()


@contextlib.contextmanager
def tracing_for(name: str) -> Iterator[None]:
    """Within it `auto` stands for this backend's form: to compile for devices that are not here."""
    token = _backend.set(name)
    try:
        yield
    finally:
        _backend.reset(token)


_FORMS = {"direct": direct, "matmul": matmul, "planar": planar}
_FORM_OF = {"cpu": "matmul", "gpu": "planar"}


def resolve(form: Form) -> Form:
    """The form that `auto` stands for on the backend; other names stay."""
    if form != "auto" and form not in _FORMS:
        raise ValueError(f"form is {form!r}, expected auto, {', '.join(_FORMS)}")
    return _FORM_OF.get(backend(), "direct") if form == "auto" else form


def convolve(
    x: Float[Array, "batch *positions channels"],
    kernel: Float[Array, "*taps channels features"],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]],
    form: Form = "auto",
) -> Float[Array, "batch *out_positions features"]:
    """Convolves (cross-correlates) one to three axes of positions; zero padding, always explicit.

    Args:
        x: input, channels last.
        kernel: `[*taps, channels, features]`, of x's dtype.
        strides: one per axis.
        padding: (before, after) per axis.
        form: see the module.
    """
    strides, padding = tuple(strides), tuple((int(a), int(b)) for a, b in padding)
    return _FORMS[resolve(form)](x, kernel, strides, padding)


def _layer(
    module: "Conv1d | Conv2d | Conv3d",
    x: Array,
    taps: Sequence[int],
    strides: Sequence[int],
    padding: Padding,
) -> Array:
    """What the modules below share: parameters, dtype, bias."""
    shape = (*taps, x.shape[-1], module.features)
    kernel = module.param("kernel", module.kernel_init, shape, jnp.float32)
    bias = None
    if module.use_bias:
        bias = module.param("bias", module.bias_init, (module.features,), jnp.float32)
    x, kernel, bias = nn.dtypes.promote_dtype(x, kernel, bias, dtype=module.dtype)
    y = convolve(x, kernel, strides, padding, module.form)
    return y if bias is None else y + bias


class Conv1d(nn.Module):
    """1-D convolution of `[batch, time, channels]`; padding (left, right) in samples."""

    features: int
    kernel_size: int
    stride: int = 1
    padding: tuple[int, int] = (0, 0)
    use_bias: bool = True
    kernel_init: Callable[..., Array] = torch_uniform
    bias_init: Callable[..., Array] = nn.initializers.zeros
    dtype: Any = None
    form: Form = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "batch time _"]) -> Float[Array, "batch out_time _"]:
        return _layer(self, x, (self.kernel_size,), (self.stride,), (self.padding,))


class Conv2d(nn.Module):
    """2-D convolution of `[batch, height, width, channels]`."""

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    use_bias: bool = True
    kernel_init: Callable[..., Array] = torch_uniform
    bias_init: Callable[..., Array] = nn.initializers.zeros
    dtype: Any = None
    form: Form = "auto"

    @nn.compact
    def __call__(self, x: Float[Array, "batch h w _"]) -> Float[Array, "batch out_h out_w _"]:
        return _layer(self, x, self.kernel_size, self.strides, self.padding)


class Conv3d(nn.Module):
    """3-D convolution of `[batch, time, height, width, channels]`."""

    features: int
    kernel_size: tuple[int, int, int]
    strides: tuple[int, int, int] = (1, 1, 1)
    padding: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0), (0, 0))
    use_bias: bool = True
    kernel_init: Callable[..., Array] = torch_uniform
    bias_init: Callable[..., Array] = nn.initializers.zeros
    dtype: Any = None
    form: Form = "auto"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch t h w _"]
    ) -> Float[Array, "batch out_t out_h out_w _"]:
        return _layer(self, x, self.kernel_size, self.strides, self.padding)
