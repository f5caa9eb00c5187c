"""Context over the night: stages of clips from what a network said of them and their neighbours.

One gated recurrent unit (Cho et al. 2014) reads an unbroken piece of a night forwards, and one
backwards, over stored outputs of a network that saw each clip alone. No clip needs to be decoded.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import Batch, Encoder, EncoderOutput, reset_carry
from sacd_jax.registry import Count

CLIP_OUTPUTS = ("clip_embedding", "clip_logits")
"""What it reads of each clip: outputs of another network, named as in `EncoderOutput`."""

Sequence = Float[Array, "batch length hidden"]


class Context(Encoder):
    """Reads stored outputs of clips in the order of the night: `clip_embedding` f32 [batch, length,
    dim], `clip_logits` f32 [batch, length, classes]; [batch, dim] counts as sequences of one clip.
    `mask` bool [batch, length] is False in the padding at a sequence's end. The output's rows are
    clips, [batch * length, ...], sequence by sequence.

    The state of the forward direction is carried on: `batch["carry"]` is what the previous batch's
    output gave as `extras["carry"]`; rows with `is_first` begin with zeros. The backward direction
    begins anew in each sequence, so a test shows whole pieces of nights.

    Attributes:
        num_classes: classes.
        look_ahead: later clips that a clip's stage may depend on; 0 is causal. None: all of them.
        hidden: units of each direction.
        dropout: rate of dropout of what is read, and before the classifier.
    """

    num_classes: int = 5
    look_ahead: int | None = None
    hidden: Count = 64
    dropout: float = 0.5

    input_keys = CLIP_OUTPUTS
    optional_keys = ("is_first", "carry", "mask")
    has_state = True
    sees_whole_pieces = True

    def initial_carry(self, batch_size: int) -> dict[str, Array]:
        """The state before a night's first clip: zeros."""
        return {"forward": jnp.zeros((batch_size, self.hidden))}

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """Embedding (both directions), logits, one stage (clips before any context), `carry`."""
        embedding, logits = (jnp.asarray(batch[key], jnp.float32) for key in CLIP_OUTPUTS)
        if embedding.ndim == 2:
            embedding, logits = embedding[:, None], logits[:, None]
        size, length, _ = embedding.shape
        mask = batch.get("mask", jnp.ones((size, length), bool)).reshape(size, length)

        # Networks differ in the scale of their embeddings: each clip's gets mean 0 and variance 1.
        normed = nn.LayerNorm(use_bias=False, use_scale=False, name="norm")(embedding)
        seen = jnp.concatenate([normed, nn.log_softmax(logits)], axis=-1)
        seen = nn.Dropout(self.dropout, deterministic=not train)(seen)
        clips = nn.relu(nn.Dense(self.hidden, name="clip")(seen))

        carry = batch.get("carry", self.initial_carry(size))
        carry = lax.stop_gradient(reset_carry(carry, batch.get("is_first")))
        forward = nn.RNN(nn.GRUCell(self.hidden, name="forward"), return_carry=True)
        state, past = forward(clips, initial_carry=carry["forward"])
        directions = [past]
        if self.look_ahead != 0:
            directions.append(self._future(clips, mask.sum(axis=1)))
        context = jnp.concatenate(directions, axis=-1).reshape(size * length, -1)
        kept = nn.Dropout(self.dropout, deterministic=not train)(context)
        output = nn.Dense(self.num_classes, name="classifier")(kept)
        extras = {"carry": lax.stop_gradient({"forward": state})}
        return EncoderOutput(context, output, (clips.reshape(size * length, -1),), extras)

    def _future(self, clips: Sequence, lengths: Int[Array, " batch"]) -> Sequence:
        """Of each clip, the state of the backward direction that begins `look_ahead` clips after
        it, or at the sequence's end where that comes first."""
        cell = nn.GRUCell(self.hidden, name="backward")
        if self.look_ahead is None:
            return nn.RNN(cell, reverse=True, keep_order=True)(clips, seq_lengths=lengths)
        size, length, width = clips.shape
        place = jnp.arange(length)
        after = jnp.clip(lengths[:, None] - 1 - place, 0, self.look_ahead)  # clips that are there
        steps = jnp.arange(min(self.look_ahead, length - 1) + 1)
        taken = jnp.maximum((place + after)[..., None] - steps, place[:, None])
        windows = jax.vmap(lambda rows, at: rows[at])(clips, taken)
        state, _ = nn.RNN(cell, return_carry=True)(
            windows.reshape(size * length, len(steps), width),
            seq_lengths=(after + 1).reshape(-1),
        )
        return state.reshape(size, length, -1)


def context(num_classes: int = 5, **options: Any) -> Context:
    """Makes the network; options are the attributes of `Context`.

    Raises:
        UserError: `look_ahead` is less than 0.
    """
    made = Context(num_classes=num_classes, **options)
    look_ahead = made.look_ahead
    if isinstance(look_ahead, int) and look_ahead < 0:
        raise UserError(f"look_ahead is {look_ahead}, expected 0 or more clips, or None for all")
    return made
