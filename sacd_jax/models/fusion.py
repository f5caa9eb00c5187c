"""Late fusion of two modalities (paper V-C, experiments A to D)."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax

from input_pipeline.errors import UserError
from sacd_jax.models.conv import torch_uniform
from sacd_jax.models.encoder import Batch, Encoder, EncoderOutput, create

_HIDDEN = {1: (), 3: (256, 64)}


class Fusion(Encoder):
    """Fully connected layers over the concatenated embeddings of two encoders.

    Reads what both encoders read. The encoders' variables are the subtrees `first` and `second`,
    each exactly as the encoder alone has them.

    Attributes:
        first, second: the encoders.
        num_classes: classes.
        layers: 1 (experiments A, C) or 3, with 256 and 64 units between (B, D).
        frozen: the encoders are as in evaluation and no gradient reaches them (A, B). Weight decay
            would still move them: leave their parameters out of the optimizer.
    """

    first: Encoder
    second: Encoder
    num_classes: int = 5
    layers: int = 1
    frozen: bool = False

    @property
    def input_keys(self) -> tuple[str, ...]:
        """Keys that either encoder reads."""
        return tuple(dict.fromkeys((*self.first.input_keys, *self.second.input_keys)))

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """The last layer's input as embedding, its logits, both encoders' embeddings as stages."""
        stages = tuple(
            encoder(batch, train and not self.frozen).embedding
            for encoder in (self.first, self.second)
        )
        if self.frozen:
            stages = lax.stop_gradient(stages)
        x = jnp.concatenate(stages, axis=-1)
        for i, width in enumerate(_HIDDEN[self.layers]):
            x = nn.relu(nn.Dense(width, kernel_init=torch_uniform, name=f"hidden{i + 1}")(x))
        logits = nn.Dense(self.num_classes, kernel_init=torch_uniform, name="classifier")(x)
        return EncoderOutput(x, logits, stages)


def fusion(
    num_classes: int = 5,
    *,
    first: Mapping[str, Any],
    second: Mapping[str, Any],
    layers: int = 1,
    frozen: bool = False,
) -> Fusion:
    """Makes a fusion network.

    Args:
        num_classes: classes.
        first, second: each `{"name": …, "options": {…}}` of an encoder; options may be left out.
            `audio_embedding` with its option `key` reads embeddings stored beforehand.
        layers: 1 or 3.
        frozen: see `Fusion`.

    Raises:
        UserError: another number of layers, an unknown encoder, an encoder without a name.
    """
    if layers not in _HIDDEN:
        raise UserError(f"fusion: layers is {layers}, expected 1 or 3")
    encoders = []
    for role, spec in (("first", first), ("second", second)):
        if "name" not in spec:
            raise UserError(f"fusion: {role} has no name, expected {{'name': …, 'options': …}}")
        encoders.append(create(spec["name"], num_classes, **spec.get("options", {})))
    return Fusion(*encoders, num_classes=num_classes, layers=layers, frozen=frozen)
