"""Modified-SEN: the single-channel form of SEN-DAL (xiyangcai/SEN-DAL, model.py and GR.py).

The EEG channel takes the place of the original's EOG in the time branch; the branch over
topographies of 20 electrodes is gone, so fusion is squeeze-and-excitation of the time branch
alone. Label head and domain head, behind a gradient reversal, are the original's. Keras' SAME
padding, slope 0.3 of LeakyReLU, and L2 terms.
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.conv import Conv1d
from sacd_jax.models.encoder import EMBEDDING_DIM, Batch, Encoder, EncoderOutput
from sacd_jax.models.signals import clip_at_rate, max_pool, same_padding

_CONV_L2 = 1e-4
_HEAD_L2 = 0.1
_glorot = nn.initializers.glorot_uniform()


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def reverse_gradient(x: Float[Array, "*shape"], factor: float) -> Float[Array, "*shape"]:
    """Passes x on; its gradient comes back times -factor."""
    del factor
    return x


reverse_gradient.defvjp(lambda x, factor: (x, None), lambda factor, _, g: (-factor * g,))


class Branch(nn.Module):
    """Four convolutions with batch normalisation and LeakyReLU, pooled after the first and last."""

    filters: int
    first_kernel: int
    first_stride: int
    first_pool: int
    kernel: int
    last_pool: int
    dropout: float
    replicas: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch samples 1"], train: bool
    ) -> Float[Array, "batch length channels"]:
        for i in range(4):
            kernel, stride = (self.kernel, 1) if i else (self.first_kernel, self.first_stride)
            x = Conv1d(
                (2 if i else 1) * self.filters,
                kernel,
                stride=stride,
                padding=same_padding(x.shape[1], kernel, stride),
                use_bias=i > 0,
                kernel_init=nn.initializers.he_normal(),
                dtype=self.dtype,
                name=f"conv{i + 1}",
            )(x)
            options = {"replicas": self.replicas, "dtype": self.dtype, "raw_input": i == 0}
            norm = BatchNorm(0.9, 1e-3, **options, name=f"bn{i + 1}")
            x = nn.leaky_relu(norm(x, train), 0.3)
            if i == 0:
                x = self._pool(x, self.first_pool)
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._pool(x, self.last_pool)

    def _pool(self, x: Array, window: int) -> Array:
        return max_pool(x, window, window, same_padding(x.shape[1], window, window))


class ModifiedSen(Encoder):
    """Modified-SEN on one EEG channel.

    Reads `eeg`, float32 [batch, 3750] at 125 Hz or [batch, 30 * sample_rate], in microvolt.

    Attributes:
        num_classes: classes.
        domains: subjects the domain head tells apart; 0 for no such head. Its logits
            [batch, domains] are `extras["domain_logits"]`; they train with a cross-entropy of
            their own, of weight 1, on the number of the clip's subject.
        sample_rate: rate the network works at; kernel sizes follow from it. At 100 Hz they are
            DeepSleepNet's published ones.
        filters: of the first convolutions; the others have twice as many.
        reduction: of squeeze-and-excitation.
        bottleneck: width of the label head's hidden layer, which is the embedding; None is the
            original's 128.
        reversal: factor of the gradient that the domain head sends back, negated.
        eeg_scale: microvolt are divided by it.
        dropout: rate of dropout.
        replicas: see `batch_norm.BatchNorm`.
        dtype: of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 5
    domains: int = 0
    sample_rate: int = 100
    filters: int = 64
    reduction: int = 2
    bottleneck: int | None = EMBEDDING_DIM
    reversal: float = 0.001
    eeg_scale: float = 1.0
    dropout: float = 0.5
    replicas: int = 1
    dtype: Any = None

    input_keys = ("eeg",)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """Embedding, logits, stages (channel means, weighted features), the extras named above."""
        rate = self.sample_rate
        eeg = clip_at_rate(batch["eeg"], rate, self.eeg_scale)[..., None]
        common = {"dropout": self.dropout, "replicas": self.replicas, "dtype": self.dtype}
        branches = [
            Branch(self.filters, rate // 2, rate // 16, 8, 8, 4, name="small", **common),
            Branch(self.filters, 4 * rate, rate // 2, 4, 6, 2, name="large", **common),
        ]
        x = jnp.concatenate([branch(eeg, train) for branch in branches], axis=1)
        channels = x.shape[-1]
        pooled = x.mean(axis=1)

        dense = partial(nn.Dense, kernel_init=_glorot, dtype=self.dtype)
        gate = nn.relu(dense(channels // self.reduction, name="se_reduce")(pooled))
        gate = nn.sigmoid(dense(channels, name="se_expand")(gate))
        x = (x * gate[:, None]).reshape(len(x), -1)

        embedding = nn.relu(dense(self.bottleneck or 128, name="label_hidden")(x))
        logits = dense(self.num_classes, name="classifier")(embedding)
        extras = {}
        if self.domains:
            hidden = reverse_gradient(x, self.reversal)
            hidden = nn.relu(dense(128, name="domain_hidden")(hidden))
            domain_logits = dense(self.domains, name="domain")(hidden)
            extras["domain_logits"] = domain_logits.astype(jnp.float32)
        if train:
            extras["penalty"] = _penalty(self.variables["params"])
        stages = (pooled.astype(jnp.float32), x.astype(jnp.float32))
        return EncoderOutput(
            embedding.astype(jnp.float32), logits.astype(jnp.float32), stages, extras
        )


def _penalty(params: Any) -> Float[Array, ""]:
    """L2 terms of the original's loss: all convolution kernels, and the heads' but the last one."""

    def squares(*path: str) -> Array:
        kernel = params
        for name in (*path, "kernel"):
            kernel = kernel[name]
        return jnp.sum(jnp.square(kernel))

    convolutions = [squares(b, f"conv{i}") for b in ("small", "large") for i in (1, 2, 3, 4)]
    heads = [n for n in ("label_hidden", "classifier", "domain_hidden") if n in params]
    return _CONV_L2 * sum(convolutions) + _HEAD_L2 * sum(squares(name) for name in heads)


def sen(num_classes: int = 5, **options: Any) -> ModifiedSen:
    """Makes Modified-SEN; options are the attributes of `ModifiedSen`."""
    return ModifiedSen(num_classes=num_classes, **options)
