"""DeepSleepNet (Supratak et al. 2017), as in akaraspt/deepsleepnet, deepsleep/model.py.

`DeepSleepNetFeatures` classifies single clips by two convolution branches; `DeepSleepNet` puts a
bidirectional LSTM over the clips of a night on the same branches. TensorFlow's SAME padding
throughout; works at 100 Hz, stored clips at 125 Hz are resampled.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.conv import Conv1d
from sacd_jax.models.encoder import EMBEDDING_DIM, Batch, Encoder, EncoderOutput, reset_carry
from sacd_jax.models.signals import clip_at_rate, max_pool, same_padding

SAMPLE_RATE = 100
_L2 = 1e-3
_FORGET_BIAS = 1.0

LstmState = tuple[Float[Array, "batch hidden"], Float[Array, "batch hidden"]]
Carry = dict[str, tuple[LstmState, ...]]
"""State (cell, output) of each layer, by direction: `forward`, `backward`."""


def _he_truncated(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """TensorFlow 1's truncated normal, standard deviation sqrt(2 / fan-in) before truncation."""
    std = math.sqrt(2 / math.prod(shape[:-1]))
    return std * jax.random.truncated_normal(key, -2, 2, shape, dtype)


def _norm_scale_init(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    return 1 + 0.002 * jax.random.normal(key, shape, dtype)


def _batch_norm(
    name: str, decay: float, replicas: int, dtype: Any, raw_input: bool = False
) -> BatchNorm:
    return BatchNorm(decay, 1e-5, replicas, dtype, _norm_scale_init, raw_input, name=name)


def _linear(features: int, name: str, dtype: Any, use_bias: bool = True) -> nn.Dense:
    return nn.Dense(features, use_bias, kernel_init=_he_truncated, dtype=dtype, name=name)


class Branch(nn.Module):
    """Four convolutions with batch normalisation and ReLU, pooled after the first and the last."""

    first_kernel: int
    first_stride: int
    first_pool: int
    kernel: int
    last_pool: int
    dropout: float
    norm_decay: float = 0.999
    replicas: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch samples 1"], train: bool
    ) -> Float[Array, "batch length 128"]:
        for i in range(4):
            kernel, stride = (self.kernel, 1) if i else (self.first_kernel, self.first_stride)
            x = Conv1d(
                128 if i else 64,
                kernel,
                stride=stride,
                padding=same_padding(x.shape[1], kernel, stride),
                use_bias=False,
                kernel_init=_he_truncated,
                dtype=self.dtype,
                name=f"conv{i + 1}",
            )(x)
            options = (self.norm_decay, self.replicas, self.dtype)
            x = nn.relu(_batch_norm(f"bn{i + 1}", *options, raw_input=i == 0)(x, train))
            if i == 0:
                x = self._pool(x, self.first_pool)
                x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return self._pool(x, self.last_pool)

    def _pool(self, x: Array, window: int) -> Array:
        return max_pool(x, window, window, same_padding(x.shape[1], window, window))


class Features(nn.Module):
    """The two branches side by side: 3072 features and 256 channel means of a clip."""

    eeg_scale: float
    dropout: float
    norm_decay: float = 0.999
    replicas: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, eeg: Float[Array, "batch samples"], train: bool
    ) -> tuple[Float[Array, "batch 3072"], Float[Array, "batch 256"]]:
        x = clip_at_rate(eeg, SAMPLE_RATE, self.eeg_scale)[..., None]
        common = {
            "dropout": self.dropout,
            "norm_decay": self.norm_decay,
            "replicas": self.replicas,
            "dtype": self.dtype,
        }
        branches = [
            Branch(50, 6, 8, 8, 4, name="small", **common)(x, train),
            Branch(400, 50, 4, 6, 2, name="large", **common)(x, train),
        ]
        features = jnp.concatenate([b.reshape(len(b), -1) for b in branches], axis=-1)
        features = nn.Dropout(self.dropout, deterministic=not train)(features)
        return features, jnp.concatenate([b.mean(axis=1) for b in branches], axis=-1)

    def penalty(self) -> Float[Array, ""]:
        """L2 term of the original's loss: on the kernel of the short filters only."""
        kernel = self.variables["params"]["small"]["conv1"]["kernel"]
        return _L2 * 0.5 * jnp.sum(jnp.square(kernel))


class PeepholeLstm(nn.Module):
    """TensorFlow 1's LSTMCell with peepholes over a sequence; gates in its order i, j, f, o."""

    hidden: int = 512
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch length features"], state: LstmState
    ) -> tuple[Float[Array, "batch length hidden"], LstmState]:
        features, hidden = x.shape[-1], self.hidden
        glorot = nn.initializers.glorot_uniform()
        kernel = self.param("kernel", glorot, (features + hidden, 4 * hidden))
        bias = self.param("bias", nn.initializers.zeros, (4 * hidden,))
        # Rows i, f, o. The original draws each vector by Glorot's rule with both fans its length.
        limit = math.sqrt(3 / hidden)
        peephole = self.param(
            "peephole",
            lambda key, shape: jax.random.uniform(key, shape, jnp.float32, -limit, limit),
            (3, hidden),
        )
        x, kernel = nn.dtypes.promote_dtype(x, kernel, dtype=self.dtype)
        recurrent = kernel[features:]
        inputs = (x @ kernel[:features]).astype(jnp.float32) + bias

        def step(state: LstmState, inputs: Array) -> tuple[LstmState, Array]:
            cell, output = state
            gates = inputs + (output.astype(recurrent.dtype) @ recurrent).astype(jnp.float32)
            i, j, f, o = jnp.split(gates, 4, axis=-1)
            keep = nn.sigmoid(f + _FORGET_BIAS + peephole[1] * cell)
            cell = keep * cell + nn.sigmoid(i + peephole[0] * cell) * jnp.tanh(j)
            output = nn.sigmoid(o + peephole[2] * cell) * jnp.tanh(cell)
            return (cell, output), output

        state, outputs = lax.scan(step, state, inputs.swapaxes(0, 1))
        return outputs.swapaxes(0, 1), state


class DeepSleepNetFeatures(Encoder):
    """DeepSleepNet's first training stage: clips classified one by one.

    Reads `eeg`, float32 [batch, 3750] at 125 Hz or [batch, 3000] at 100 Hz, in microvolt.

    Attributes:
        num_classes: classes.
        bottleneck: width of a linear layer before the classifier, whose output is the embedding;
            None is the original, whose embedding has 3072 dimensions.
        eeg_scale: microvolt are divided by it; 1 is the original.
        dropout: rate of dropout.
        norm_decay: of BatchNorm's running statistics; the original 0.999 takes thousands of steps.
        replicas: see `batch_norm.BatchNorm`.
        dtype: of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 5
    bottleneck: int | None = EMBEDDING_DIM
    eeg_scale: float = 1.0
    dropout: float = 0.5
    norm_decay: float = 0.999
    replicas: int = 1
    dtype: Any = None

    input_keys = ("eeg",)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """Embedding, logits, stages (channel means of both branches, features), `penalty`."""
        network = _features_of(self)
        features, pooled = network(batch["eeg"], train)
        embedding, logits = _head(features, self.num_classes, self.bottleneck, self.dtype)
        extras = {"penalty": network.penalty()} if train else {}
        stages = (pooled.astype(jnp.float32), features.astype(jnp.float32))
        return EncoderOutput(embedding, logits, stages, extras)


class DeepSleepNet(Encoder):
    """DeepSleepNet over sequences of clips.

    Reads `eeg`, float32 [batch, length, 3750 or 3000] in microvolt; [batch, samples] counts as
    sequences of one clip. The output's rows are clips, [batch * length, ...], sequence by sequence.

    The LSTMs' state is a pytree (`Carry`), in and out: `batch["carry"]` is what the previous
    batch's output gave as `extras["carry"]`, absent for zeros; rows with `is_first` begin with
    zeros. As in the original the backward direction, too, begins with the state in which it left
    the previous sequence. No gradient flows from batch to batch.

    Attributes:
        num_classes: classes.
        bottleneck: width of a linear layer before the classifier, whose output is the embedding;
            None is the original, whose embedding has 1024 dimensions.
        eeg_scale: microvolt are divided by it; 1 is the original.
        dropout: rate of dropout in the branches.
        sequence_dropout: rate of dropout of the LSTMs' outputs and of their sum with the shortcut.
        hidden: units of an LSTM, in each direction.
        layers: LSTMs of a direction.
        norm_decay: of BatchNorm's running statistics; the original 0.999 takes thousands of steps.
        replicas: see `batch_norm.BatchNorm`.
        dtype: of the computation; parameters, statistics and LSTM states stay float32.
    """

    num_classes: int = 5
    bottleneck: int | None = EMBEDDING_DIM
    eeg_scale: float = 1.0
    dropout: float = 0.5
    sequence_dropout: float = 0.5
    hidden: int = 512
    layers: int = 2
    norm_decay: float = 0.999
    replicas: int = 1
    dtype: Any = None

    input_keys = ("eeg",)
    optional_keys = ("is_first", "carry")
    has_state = True

    def initial_carry(self, batch_size: int) -> Carry:
        """The state before a night's first clip: zeros."""

        def layer() -> LstmState:  # arrays of its own: a state is donated
            return jnp.zeros((batch_size, self.hidden)), jnp.zeros((batch_size, self.hidden))

        directions = ("forward", "backward")
        return {name: tuple(layer() for _ in range(self.layers)) for name in directions}

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """Embedding, logits, stages (channel means, shortcut, LSTMs), `carry`, `penalty`."""
        eeg = batch["eeg"] if batch["eeg"].ndim == 3 else batch["eeg"][:, None]
        size, length, samples = eeg.shape
        network = _features_of(self)
        features, pooled = network(eeg.reshape(size * length, samples), train)

        shortcut = _linear(2 * self.hidden, "shortcut", self.dtype, use_bias=False)(features)
        norm = _batch_norm("shortcut_bn", self.norm_decay, self.replicas, self.dtype)
        shortcut = nn.relu(norm(shortcut, train))

        carry = batch.get("carry", self.initial_carry(size))
        carry = lax.stop_gradient(reset_carry(carry, batch.get("is_first")))
        sequence = features.reshape(size, length, -1)
        outputs, left = [], {}
        for direction in ("forward", "backward"):
            x = sequence if direction == "forward" else sequence[:, ::-1]
            states = []
            for layer, state in enumerate(carry[direction]):
                x, state = PeepholeLstm(self.hidden, self.dtype, name=f"{direction}{layer + 1}")(
                    x, state
                )
                x = nn.Dropout(self.sequence_dropout, deterministic=not train)(x)
                states.append(state)
            outputs.append(x if direction == "forward" else x[:, ::-1])
            left[direction] = tuple(states)
        context = jnp.concatenate(outputs, axis=-1).reshape(size * length, -1)

        x = nn.Dropout(self.sequence_dropout, deterministic=not train)(shortcut + context)
        embedding, logits = _head(x, self.num_classes, self.bottleneck, self.dtype)
        extras: dict[str, Any] = {"carry": lax.stop_gradient(left)}
        if train:
            extras["penalty"] = network.penalty()
        stages = tuple(stage.astype(jnp.float32) for stage in (pooled, shortcut, context))
        return EncoderOutput(embedding, logits, stages, extras)


def _features_of(network: DeepSleepNetFeatures | DeepSleepNet) -> Features:
    """The branches with the options of the network that calls, as its part `features`."""
    return Features(
        network.eeg_scale,
        network.dropout,
        network.norm_decay,
        network.replicas,
        network.dtype,
        name="features",
    )


def _head(x: Array, num_classes: int, bottleneck: int | None, dtype: Any) -> tuple[Array, Array]:
    """Embedding and logits, float32; adds layers to the module that calls it."""
    if bottleneck is not None:
        x = _linear(bottleneck, "bottleneck", dtype)(x)
    logits = _linear(num_classes, "classifier", dtype)(x)
    return x.astype(jnp.float32), logits.astype(jnp.float32)


def deepsleepnet_features(num_classes: int = 5, **options: Any) -> DeepSleepNetFeatures:
    """Makes the feature network; options are the attributes of `DeepSleepNetFeatures`."""
    return DeepSleepNetFeatures(num_classes=num_classes, **options)


def deepsleepnet(num_classes: int = 5, **options: Any) -> DeepSleepNet:
    """Makes the whole network; options are the attributes of `DeepSleepNet`."""
    return DeepSleepNet(num_classes=num_classes, **options)
