"""What every encoder is: a Flax module from a batch to an `EncoderOutput`, made by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from input_pipeline.errors import UserError
from sacd_jax.registry import check_options, find

EMBEDDING_DIM = 512
"""Width at which student and teacher meet (paper IV-B)."""

Batch = Mapping[str, Any]


@struct.dataclass
class EncoderOutput:
    """An encoder's output for a batch.

    Attributes:
        embedding: the vector that is distilled, before the classifier.
        logits: class scores.
        stages: pooled vectors of the inner stages, shallow to deep (FitNet, IFD).
        extras: what only some networks have: `domain_logits` [batch, domains] (Modified-SEN),
            `carry` (DeepSleepNet: the state to pass on as the next `batch["carry"]`), `penalty`
            (a scalar that the network's own recipe adds to the loss; in training only).
    """

    embedding: Float[Array, "batch dim"]
    logits: Float[Array, "batch classes"]
    stages: tuple[Float[Array, "batch _"], ...] = ()
    extras: dict[str, Any] = struct.field(default_factory=dict)


@dataclass(frozen=True)
class EncoderSpec:
    """Sizes of an encoder's output, known before it has weights."""

    embedding_dim: int
    num_classes: int
    stage_dims: tuple[int, ...]


class Encoder(nn.Module):
    """Base of every encoder.

    A subclass says what it reads (`input_keys`) and defines `__call__`. It may use the collections
    `params` and `batch_stats` and the random stream `dropout`.

    Attributes:
        input_keys: keys of the batch that it reads.
        optional_keys: keys that it reads if the batch has them.
        has_state: whether it carries a state from clip to clip of a night; it then reads
            `batch["carry"]`, returns the next one in `extras["carry"]`, and defines
            `initial_carry`.
        sees_whole_pieces: whether a test shows it each unbroken piece of a night at once, because
            what it says of a clip depends on later ones.
        lags: frames that it expects of each moment of a video; None if it reads none.
    """

    @property
    def input_keys(self) -> tuple[str, ...]:
        raise NotImplementedError

    @property
    def optional_keys(self) -> tuple[str, ...]:
        return ()

    @property
    def has_state(self) -> bool:
        return False

    @property
    def sees_whole_pieces(self) -> bool:
        return False

    @property
    def lags(self) -> int | None:
        return None

    def initial_carry(self, batch_size: int) -> Any:
        """The state before the first clip of a night, a pytree with one row per sequence."""
        raise NotImplementedError

    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """Runs on a batch; `train` turns dropout and batch statistics on."""
        raise NotImplementedError


# name -> "module:factory"; a module is imported only when one of its networks is made.
_REGISTRY: dict[str, str] = {
    "attnsleep": "sacd_jax.models.attnsleep:attnsleep",
    "deepsleepnet": "sacd_jax.models.deepsleepnet:deepsleepnet",
    "deepsleepnet_features": "sacd_jax.models.deepsleepnet:deepsleepnet_features",
    "sen": "sacd_jax.models.sen:sen",
    "cnn14": "sacd_jax.models.cnn14:cnn14",
    "audio_embedding": "sacd_jax.models.cnn14:audio_embedding",
    "r2plus1d_18": "sacd_jax.models.video_resnet:r2plus1d_18",
    "r2plus1d_34": "sacd_jax.models.video_resnet:r2plus1d_34",
    "r2plus1d_50": "sacd_jax.models.video_resnet:r2plus1d_50",
    "r3d_18": "sacd_jax.models.video_resnet:r3d_18",
    "r3d_34": "sacd_jax.models.video_resnet:r3d_34",
    "r3d_50": "sacd_jax.models.video_resnet:r3d_50",
    "torchvision_r2plus1d_18": "sacd_jax.models.video_resnet:torchvision_r2plus1d_18",
    "torchvision_r3d_18": "sacd_jax.models.video_resnet:torchvision_r3d_18",
    "ccl_r21d": "sacd_jax.models.video_resnet:ccl_r21d",
    "r2plus1d_small": "sacd_jax.models.video_resnet:r2plus1d_small",
    "fusion": "sacd_jax.models.fusion:fusion",
    "context": "sacd_jax.models.context:context",
    "mlp": "sacd_jax.models.mlp:mlp",
}


def available() -> tuple[str, ...]:
    """Names that `create` knows."""
    return tuple(sorted(_REGISTRY))


def create(name: str, num_classes: int = 5, **options: Any) -> Encoder:
    """Makes an encoder by name.

    Args:
        name: one of `available()`.
        num_classes: classes of the logits.
        options: fields of the network's class, or arguments of its factory.

    Raises:
        UserError: there is no such network or option, or an option cannot have that value.
    """
    make: Callable[..., Encoder] = find("encoder", name, _REGISTRY)
    try:
        encoder = make(num_classes=num_classes, **options)
    except TypeError as error:
        raise UserError(f"encoder {name!r} does not take these options: {error}") from error
    check_options(f"encoder {name!r}", encoder)
    return encoder


def init_variables(encoder: Encoder, rng: PRNGKeyArray, batch: Batch) -> dict[str, Any]:
    """First variables of an encoder (`params`, `batch_stats`), for clips like those of a batch."""
    inputs = {key: batch[key] for key in encoder.input_keys}
    return dict(encoder.init({"params": rng, "dropout": rng}, inputs, train=False))


def reset_carry(carry: Any, is_first: Bool[Array, " batch"] | None) -> Any:
    """The state of a network over sequences, with zeros in the rows where a night begins."""
    if is_first is None:
        return carry
    return jax.tree.map(lambda state: jnp.where(is_first[:, None], 0.0, state), carry)


def output_spec(encoder: Encoder, batch: Batch) -> EncoderSpec:
    """Sizes of the encoder's output for a batch of arrays or shapes; computes nothing."""

    def run(batch: Batch) -> EncoderOutput:
        variables = init_variables(encoder, jax.random.key(0), batch)
        return forward(encoder, variables, batch, train=False)[0]

    return spec_of(jax.eval_shape(run, {key: batch[key] for key in encoder.input_keys}))


def spec_of(output: EncoderOutput) -> EncoderSpec:
    """Sizes of an output (of arrays or shapes)."""
    return EncoderSpec(
        embedding_dim=output.embedding.shape[-1],
        num_classes=output.logits.shape[-1],
        stage_dims=tuple(stage.shape[-1] for stage in output.stages),
    )


def forward(
    encoder: Encoder,
    variables: Mapping[str, Any],
    batch: Batch,
    *,
    train: bool,
    dropout: PRNGKeyArray | None = None,
) -> tuple[EncoderOutput, Any]:
    """Runs an encoder on the keys of the batch it reads.

    Args:
        encoder: a module of `create`.
        variables: its `params` and `batch_stats`.
        batch: must hold `encoder.input_keys`, may hold its `optional_keys`.
        train: use batch statistics and dropout, and update the running statistics.
        dropout: random key for dropout; needed if `train`.

    Returns:
        The output, in float32, and the running statistics (unchanged unless `train`).
    """
    inputs = {key: batch[key] for key in encoder.input_keys}
    inputs |= {key: batch[key] for key in encoder.optional_keys if key in batch}
    if not train:
        output = encoder.apply(variables, inputs, train=False)
        return _in_float32(output), variables.get("batch_stats", {})
    output, updates = encoder.apply(
        variables, inputs, train=True, rngs={"dropout": dropout}, mutable=["batch_stats"]
    )
    return _in_float32(output), updates.get("batch_stats", {})


def _in_float32(output: EncoderOutput) -> EncoderOutput:
    """Losses, banks and metrics are float32, whatever the network computes in."""
    extras = {
        name: value if name == "carry" else value.astype(jnp.float32)
        for name, value in output.extras.items()
    }
    return EncoderOutput(
        output.embedding.astype(jnp.float32),
        output.logits.astype(jnp.float32),
        tuple(stage.astype(jnp.float32) for stage in output.stages),
        extras,
    )
