"""The weighted sum of a step's loss terms, and what is logged of them."""

from collections.abc import Mapping

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from sacd_jax.models.encoder import Batch, EncoderOutput
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.objectives.objective import participating

Scalars = dict[str, Float[Array, ""]]


def own_terms(output: EncoderOutput, batch: Batch) -> Scalars:
    """Loss terms of a network's own published recipe, each of weight 1; most networks have none.

    `penalty` (DeepSleepNet, Modified-SEN) and `domain`, the cross-entropy of Modified-SEN's second
    head on the number of the clip's subject (`batch["domain"]`).
    """
    terms = {}
    if "penalty" in output.extras:
        terms["penalty"] = output.extras["penalty"]
    if "domain_logits" in output.extras:
        logits = output.extras["domain_logits"]
        terms["domain"] = cross_entropy(logits, batch["domain"], batch["mask"])
    return terms


def weighted_sum(terms: Scalars, weights: Mapping[str, float]) -> Float[Array, ""]:
    """The loss (paper Eq. 5): the sum of each term times its weight."""
    return sum((weights[name] * terms[name] for name in weights), jnp.zeros(()))


def metrics_of(
    loss: Float[Array, ""], terms: Scalars, output: EncoderOutput, batch: Batch, gradients: object
) -> Scalars:
    """Scalars of a step: the loss, its terms, the batch's accuracy and the gradient's norm."""
    valid = participating(batch).astype(jnp.float32)
    correct = (jnp.argmax(output.logits, -1) == batch["stage"]) * valid
    return {
        "loss": loss,
        **terms,
        "accuracy": correct.sum() / jnp.maximum(valid.sum(), 1),
        "gradient_norm": optax.tree.norm(gradients),
    }
