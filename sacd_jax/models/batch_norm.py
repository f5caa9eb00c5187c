"""Batch normalisation with float32 statistics: over the global batch or over each replica's."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


class BatchNorm(nn.Module):
    """Normalises each channel (last axis); parameters and statistics as in `flax.linen.BatchNorm`.

    With `replicas` 1 statistics are those of the whole batch, on a mesh too (synchronised). With
    more, the batch counts as that many consecutive parts, each with its own statistics, and the
    running ones take their mean: set it to the number of devices and no statistic crosses a
    device.

    Statistics take one pass: the mean of x and that of x². Their difference is the variance to
    float32's precision as long as the mean is a few deviations at most, as it is behind a layer
    whose own input was normalised. Behind a raw signal, whose offset may be thousands of
    deviations, set `raw_input`: moments are then taken about one of the batch's own values, the
    first clip's middle position. On a mesh that value costs one more small collective, so the
    layers of the video networks do without.

    The running variance is the mean of the batches' biased ones, as Flax's and TensorFlow's;
    PyTorch's takes n / (n - 1) of it, n values a channel.

    Attributes:
        momentum: share of the old running statistics kept (PyTorch's momentum is 1 minus this).
        epsilon: added to the variance.
        replicas: parts of the batch with statistics of their own; must divide the batch.
        dtype: of the result; statistics are float32 at least.
        scale_init: of the factor.
        raw_input: whether the mean may be far from zero, up to some 10^4 deviations.
    """

    momentum: float = 0.9
    epsilon: float = 1e-5
    replicas: int = 1
    dtype: Any = None
    scale_init: nn.initializers.Initializer = nn.initializers.ones
    raw_input: bool = False

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "batch *positions channels"],
        train: bool,
        columns: int = 1,
        pool: Callable[[Array], tuple[Array, int]] | None = None,
    ) -> Float[Array, "batch *out_positions out_channels"]:
        """Normalises by the batch (train) or by the running statistics.

        A max pool of the result is also the affine map of a max pool of x, or of its negative where
        the factor is negative: an increasing map keeps the winner. So with `pool` the map, and what
        follows it, works on the fewer values that win. Statistics are those of x. (Where a factor
        is exactly 0 all values of a window tie, and its gradient is taken at x's winner.)

        Args:
            x: input.
            train: whether to use, and to record, the batch's statistics.
            columns: how often each feature occurs in the channel axis, whole sets of features
                side by side (`width_fold`); all its copies share one statistic.
            pool: a max pool of the result: x -> (pooled, its columns); None for none.
        """
        features = x.shape[-1] // columns
        scale = self.param("scale", self.scale_init, (features,), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (features,), jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (features,), jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, (features,), jnp.float32)

        kind = jnp.promote_types(x.dtype, jnp.float32)
        kept, kept_columns = x, columns
        if pool is not None:
            sign = jnp.where(scale < 0, -1, 1).astype(x.dtype)
            kept, kept_columns = pool(x * jnp.tile(sign, columns))
            kept = kept * jnp.tile(sign, kept_columns)
        if not train:
            mean, var = running_mean.value.astype(kind), running_var.value.astype(kind)
            y = kept.astype(kind)
            if self.raw_input:
                y, mean = y - jnp.tile(mean, kept_columns), 0.0
            factor = scale * lax.rsqrt(var + self.epsilon)
            shift = bias - mean * factor
            y = y * jnp.tile(factor, kept_columns) + jnp.tile(shift, kept_columns)
            return y.astype(self.dtype or x.dtype)

        if x.shape[0] % self.replicas:
            raise ValueError(
                f"a batch of {x.shape[0]} is not a multiple of {self.replicas} replicas"
            )
        parts = x.astype(kind).reshape(self.replicas, -1, columns, features)
        centre = jnp.zeros((), kind)
        if self.raw_input:
            # The middle: near its ends a clip meets the padding of the convolution before.
            middle = math.prod(x.shape[1:-1]) // 2
            centre = lax.stop_gradient(parts[:, middle, 0])
            parts = parts - centre[:, None, None]
        mean = parts.mean((1, 2))
        var = jnp.maximum((parts * parts).mean((1, 2)) - mean * mean, 0)
        if not self.is_initializing():
            for running, new in ((running_mean, centre + mean), (running_var, var)):
                running.value = (
                    self.momentum * running.value + (1 - self.momentum) * new.mean(0)
                ).astype(running.value.dtype)
        factor = scale * lax.rsqrt(var + self.epsilon)
        shift = bias - mean * factor
        if pool is not None:
            parts = kept.astype(kind).reshape(self.replicas, -1, kept_columns, features)
            if self.raw_input:
                parts = parts - centre[:, None, None]
        y = parts * factor[:, None, None] + shift[:, None, None]
        return y.reshape(kept.shape).astype(self.dtype or x.dtype)
