"""AttnSleep (Eldele et al. 2021), as in emadeldeen24/AttnSleep, model/model.py.

Its form for 128 Hz is that of SPIresearch/IoT-V2E, model/model_xiao.py, by SACD's authors.

Two convolution branches with short and long filters, adaptive feature recalibration (AFR) and a
temporal context encoder (TCE) of two attention layers. The original's quirks are kept:

* after AFR the 30 channels are the tokens and time is the model dimension, so the causal
  convolutions of TCE run along the model dimension;
* the layer norm of the attention sub-layer is computed there and its result ignored: its
  parameters, and those of one convolution that is never called, do not exist here (the name map
  lists them);
* the layer norm divides by the unbiased standard deviation plus epsilon.
"""

import math
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.conv import Conv1d, torch_bias, torch_uniform
from sacd_jax.models.encoder import EMBEDDING_DIM, Batch, Encoder, EncoderOutput
from sacd_jax.models.signals import clip_at_rate, max_pool

_conv_init = nn.initializers.normal(0.02)


class Form(NamedTuple):
    """What differs between the forms of the network; windows are (kernel, stride, padding)."""

    short: tuple[int, int, int]
    """First convolution of the branch with short filters."""
    long: tuple[int, int, int]
    """First convolution of the branch with long filters."""
    long_kernel: int
    """Of the other convolutions of that branch."""
    heads: int
    """Of the attention."""


FORMS = {
    100: Form((50, 6, 24), (400, 50, 200), 7, 5),
    125: Form((50, 6, 24), (400, 50, 200), 6, 5),
    128: Form((64, 6, 0), (512, 50, 256), 7, 4),
}
"""Sampling rate in Hz -> form: the original's for Sleep-EDF and for SHHS, and that of S3VE."""


def _norm_scale_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return 1 + 0.02 * jax.random.normal(key, shape, dtype)


def _conv(features: int, kernel: int, name: str, inputs: int = 0, **options: Any) -> Conv1d:
    """A convolution of this network; one with a bias says its number of input channels."""
    if inputs:
        options["bias_init"] = torch_bias(kernel * inputs)
    return Conv1d(
        features, kernel, use_bias=inputs > 0, kernel_init=_conv_init, name=name, **options
    )


def _linear(features: int, inputs: int, name: str, **options: Any) -> nn.Dense:
    bias_init = torch_bias(inputs)
    return nn.Dense(features, kernel_init=torch_uniform, bias_init=bias_init, name=name, **options)


def _batch_norm(name: str, replicas: int, dtype: Any, raw_input: bool = False) -> BatchNorm:
    return BatchNorm(
        replicas=replicas,
        dtype=dtype,
        scale_init=_norm_scale_init,
        raw_input=raw_input,
        name=name,
    )


class UnbiasedLayerNorm(nn.Module):
    """scale * (x - mean) / (std + eps) + bias over the last axis, std with n - 1; float32."""

    epsilon: float = 1e-6

    @nn.compact
    def __call__(self, x: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
        dim = x.shape[-1]
        x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
        scale = self.param("scale", nn.initializers.ones, (dim,))
        bias = self.param("bias", nn.initializers.zeros, (dim,))
        centred = x - x.mean(axis=-1, keepdims=True)
        variance = jnp.square(centred).sum(axis=-1, keepdims=True) / (dim - 1)
        # The square root's gradient at zero is infinite; a constant row gives zeros either way.
        std = jnp.where(variance > 0, jnp.sqrt(jnp.where(variance > 0, variance, 1.0)), 0.0)
        return scale * centred / (std + self.epsilon) + bias


class Branch(nn.Module):
    """Three convolutions: a strided one with pooling and dropout, and two small ones with pooling.

    Each entry is (kernel, stride, padding) of a convolution or (window, stride, padding) of a pool.
    """

    first: tuple[int, int, int]
    first_pool: tuple[int, int, int]
    kernel: int
    padding: int
    last_pool: tuple[int, int, int]
    dropout: float
    replicas: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch samples 1"], train: bool
    ) -> Float[Array, "batch length 128"]:
        kernel, stride, pad = self.first
        small = {"padding": (self.padding, self.padding), "dtype": self.dtype}
        convolutions = (
            _conv(64, kernel, "conv1", stride=stride, padding=(pad, pad), dtype=self.dtype),
            _conv(128, self.kernel, "conv2", **small),
            _conv(128, self.kernel, "conv3", **small),
        )
        for i, convolution in enumerate(convolutions):
            norm = _batch_norm(f"bn{i + 1}", self.replicas, self.dtype, raw_input=i == 0)
            x = norm(convolution(x), train)
            x = nn.gelu(x, approximate=False)
            if i == 0:
                window, stride, pad = self.first_pool
                x = max_pool(x, window, stride, (pad, pad))
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        window, stride, pad = self.last_pool
        return max_pool(x, window, stride, (pad, pad))


class Recalibration(nn.Module):
    """Adaptive feature recalibration: 1x1 convolutions with squeeze-and-excitation, residual."""

    features: int = 30
    reduction: int = 16
    replicas: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length channels"], train: bool
    ) -> Float[Array, "batch length features"]:
        channels, features, dtype = x.shape[-1], self.features, self.dtype
        shortcut = _conv(features, 1, "downsample", dtype=dtype)(x)
        shortcut = _batch_norm("downsample_bn", self.replicas, dtype)(shortcut, train)
        x = _conv(features, 1, "conv1", inputs=channels, dtype=dtype)(x)
        x = nn.relu(_batch_norm("bn1", self.replicas, dtype)(x, train))
        x = _conv(features, 1, "conv2", inputs=features, dtype=dtype)(x)
        x = _batch_norm("bn2", self.replicas, dtype)(x, train)
        reduced = features // self.reduction
        no_bias = {"use_bias": False, "dtype": dtype}
        gate = nn.relu(_linear(reduced, features, "se_reduce", **no_bias)(x.mean(axis=1)))
        gate = nn.sigmoid(_linear(features, reduced, "se_expand", **no_bias)(gate))
        return nn.relu(x * gate[:, None] + shortcut)


class EncoderLayer(nn.Module):
    """A layer of the temporal context encoder, on [batch, model dimension, tokens]."""

    heads: int = 5
    hidden: int = 120
    kernel: int = 7
    dropout: float = 0.1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch dim tokens"], train: bool
    ) -> Float[Array, "batch dim tokens"]:
        batch, dim, tokens = x.shape
        dropout = nn.Dropout(self.dropout, deterministic=not train)

        def causal(name: str) -> Array:
            pad = (self.kernel - 1, 0)
            conv = _conv(tokens, self.kernel, name, inputs=tokens, padding=pad, dtype=self.dtype)
            return conv(x)

        query, key, value = causal("query"), causal("key"), causal("value")
        per_head = (batch, self.heads, dim // self.heads, tokens)
        scores = jnp.einsum("bhdn,bhdm->bhnm", query.reshape(per_head), key.reshape(per_head))
        scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
        attention = nn.softmax(scores / math.sqrt(per_head[2]), axis=-1).astype(value.dtype)
        mixed = jnp.einsum("bhnm,bhdm->bhdn", dropout(attention), value.reshape(per_head))
        # From here on the model dimension is last: [batch, tokens, dim].
        mixed = mixed.reshape(batch, dim, tokens).swapaxes(1, 2)
        mixed = _linear(dim, dim, "attention_out", dtype=self.dtype)(mixed)
        y = query.swapaxes(1, 2) + dropout(mixed)

        hidden = UnbiasedLayerNorm(name="norm")(y)
        hidden = nn.relu(_linear(self.hidden, dim, "feed_forward1", dtype=self.dtype)(hidden))
        hidden = _linear(dim, self.hidden, "feed_forward2", dtype=self.dtype)(dropout(hidden))
        return (y + dropout(hidden)).swapaxes(1, 2)


class AttnSleep(Encoder):
    """AttnSleep on one EEG channel.

    Reads `eeg`, float32 [batch, 30 * sample_rate] in microvolt; clips at another stored rate
    (`signals.STORED_RATES`) are resampled.

    Attributes:
        num_classes: classes.
        sample_rate: 125 (the original's SHHS variant, model dimension 100), 100 (its Sleep-EDF
            variant, model dimension 80) or 128 (S3VE's, model dimension 100 in four heads).
        bottleneck: width of a linear layer before the classifier, whose output is the embedding;
            None is the original, whose embedding has 3000 (2400 at 100 Hz) dimensions.
        eeg_scale: microvolt are divided by it; 1 is the original.
        dropout: rate in and after the convolution branches.
        tce_dropout: rate inside the temporal context encoder.
        flat_stages: the stages of the temporal context encoder are whole (30 * model dimension);
            otherwise they are averaged over the tokens.
        replicas: see `batch_norm.BatchNorm`.
        dtype: of the computation; parameters and normalisation statistics stay float32.
    """

    num_classes: int = 5
    sample_rate: Literal[100, 125, 128] = 125
    bottleneck: int | None = EMBEDDING_DIM
    eeg_scale: float = 1.0
    dropout: float = 0.5
    tce_dropout: float = 0.1
    flat_stages: bool = True
    replicas: int = 1
    dtype: Any = None

    input_keys = ("eeg",)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """Embedding, logits and four stages: branches, AFR, the layers of the context encoder."""
        form = FORMS[self.sample_rate]
        eeg = clip_at_rate(batch["eeg"], self.sample_rate, self.eeg_scale)[..., None]
        common = {"dropout": self.dropout, "replicas": self.replicas, "dtype": self.dtype}
        short = Branch(form.short, (8, 2, 4), 8, 4, (4, 4, 2), name="features1", **common)
        long = Branch(
            form.long, (4, 2, 2), form.long_kernel, 3, (2, 2, 1), name="features2", **common
        )
        branches = [short(eeg, train), long(eeg, train)]
        stages = [jnp.concatenate([b.mean(axis=1) for b in branches], axis=-1)]

        x = jnp.concatenate(branches, axis=1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        x = Recalibration(replicas=self.replicas, dtype=self.dtype, name="afr")(x, train)
        stages.append(x.mean(axis=1))
        for layer in (1, 2):
            x = EncoderLayer(
                form.heads, dropout=self.tce_dropout, dtype=self.dtype, name=f"tce{layer}"
            )(x, train)
            tokens = x.swapaxes(1, 2)
            stages.append(
                tokens.reshape(len(tokens), -1) if self.flat_stages else tokens.mean(axis=1)
            )
        tokens = UnbiasedLayerNorm(name="tce_norm")(x.swapaxes(1, 2))
        embedding = tokens.reshape(len(tokens), -1)
        if self.bottleneck is not None:
            width = embedding.shape[-1]
            embedding = _linear(self.bottleneck, width, "bottleneck", dtype=self.dtype)(embedding)
        classifier = _linear(self.num_classes, embedding.shape[-1], "classifier", dtype=self.dtype)
        return EncoderOutput(
            embedding=embedding.astype(jnp.float32),
            logits=classifier(embedding).astype(jnp.float32),
            stages=tuple(stage.astype(jnp.float32) for stage in stages),
        )


def attnsleep(num_classes: int = 5, **options: Any) -> AttnSleep:
    """Makes AttnSleep; options are the attributes of `AttnSleep`."""
    return AttnSleep(num_classes=num_classes, **options)
