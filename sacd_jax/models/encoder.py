"""What every encoder is: a Flax module from a batch to an `EncoderOutput`, made by name."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Float

from input_pipeline.errors import UserError
from sacd_jax.registry import check_options, find

EMBEDDING_DIM = 512
"""Width at which student and teacher meet (paper IV-B)."""

Batch = Mapping[str, Any]


@struct.dataclass
class EncoderOutput:
    """What an encoder says of a batch.

    Attributes:
        embedding: the vector that is distilled, before the classifier.
        logits: class scores.
        stages: pooled vectors of the inner stages, shallow to deep (FitNet, IFD).
        extras: what only some networks have: `domain_logits` [batch, domains] (Modified-SEN),
            `carry` (DeepSleepNet: the state to give to the next batch as `batch["carry"]`),
            `penalty` (scalar the network's own recipe adds to the loss; in training).
    """

    embedding: Float[Array, "batch dim"]
    logits: Float[Array, "batch classes"]
    stages: tuple[Float[Array, "batch _"], ...] = ()
    extras: dict[str, Any] = struct.field(default_factory=dict)


@dataclass(frozen=True)
class EncoderSpec:
    """Sizes of an encoder's output, known before any weight is."""

    embedding_dim: int
    num_classes: int
    stage_dims: tuple[int, ...]


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
    "mlp": "sacd_jax.models.mlp:mlp",
}


def available() -> tuple[str, ...]:
    """Names that `create` knows."""
    return tuple(sorted(_REGISTRY))


def create(name: str, num_classes: int = 5, **options: Any) -> nn.Module:
    """Makes an encoder by name.

    The module has `input_keys`, the keys of the batch it reads, and
    `__call__(batch, train: bool) -> EncoderOutput`; collections `params` and `batch_stats`,
    random stream `dropout`.

    Raises:
        UserError: no network has that name, or it has no such option or value of it.
    """
    make: Callable[..., nn.Module] = find("encoder", name, _REGISTRY)
    try:
        encoder = make(num_classes=num_classes, **options)
    except TypeError as error:
        raise UserError(f"encoder {name!r} does not take these options: {error}") from error
    check_options(f"encoder {name!r}", encoder)
    return encoder


def output_spec(encoder: nn.Module, batch: Batch) -> EncoderSpec:
    """Sizes of the encoder's output for a batch of arrays or shapes; computes nothing."""

    def run(batch: Batch) -> EncoderOutput:
        rngs = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
        output, _ = encoder.init_with_output(rngs, batch, train=False)
        return output

    return spec_of(jax.eval_shape(run, {key: batch[key] for key in encoder.input_keys}))


def spec_of(output: EncoderOutput) -> EncoderSpec:
    """Sizes of an output (of arrays or shapes)."""
    return EncoderSpec(
        embedding_dim=output.embedding.shape[-1],
        num_classes=output.logits.shape[-1],
        stage_dims=tuple(stage.shape[-1] for stage in output.stages),
    )


def has_state(encoder: nn.Module) -> bool:
    """Whether a network carries a state from clip to clip of a night (DeepSleepNet)."""
    return "carry" in getattr(encoder, "optional_keys", ())


def as_float(video: jax.Array) -> Float[Array, "..."]:
    """Casts stored uint8 pixels to float32 in [0, 1]; runs on the device."""
    return video.astype(jnp.float32) / 255.0


def forward(
    encoder: nn.Module,
    variables: Mapping[str, Any],
    batch: Batch,
    *,
    train: bool,
    dropout: jax.Array | None = None,
) -> tuple[EncoderOutput, Any]:
    """Runs an encoder on the keys of the batch it reads.

    Args:
        encoder: a module of `create`.
        variables: its `params` and `batch_stats`.
        batch: must hold `encoder.input_keys`, may hold its `optional_keys`.
        train: batch statistics and dropout on, running statistics moved.
        dropout: key of the dropout draws; needed when `train`.

    Returns:
        The output and the running statistics (as they were, unless `train`).
    """
    inputs = {key: batch[key] for key in encoder.input_keys}
    inputs |= {key: batch[key] for key in getattr(encoder, "optional_keys", ()) if key in batch}
    if not train:
        return encoder.apply(variables, inputs, train=False), variables.get("batch_stats", {})
    output, updates = encoder.apply(
        variables, inputs, train=True, rngs={"dropout": dropout}, mutable=["batch_stats"]
    )
    return output, updates.get("batch_stats", {})
