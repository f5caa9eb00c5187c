"""OGM-GE: on-the-fly gradient modulation of two modalities that are fused (Peng et al. 2022).

Reference: GeWu-Lab/OGM-GE_CVPR2022, main.py. The modality that is right more surely leads, and the
other one stays behind; so the gradient of the leader's convolutions is made smaller, and noise of a
gradient's own spread is added to those of both.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sacd_jax.models.encoder import Batch, EncoderOutput
from sacd_jax.tasks.train_state import Tree

UNTIL = 0.5
"""Share of the run in which gradients are modulated: 50 of 100 passes in the reference."""


@dataclass(frozen=True)
class Modulation:
    """Of the network `fusion` with one layer.

    Attributes:
        alpha: how strongly the leader is slowed down.
        steps: after which gradients are left as they are.
    """

    alpha: float
    steps: int

    def __call__(
        self,
        gradients: Mapping[str, Tree],
        params: Mapping[str, Tree],
        output: EncoderOutput,
        batch: Batch,
        rng: PRNGKeyArray,
        step: Int[Array, ""],
    ) -> dict[str, Tree]:
        """Gradients of the fusion's parameters, those of `first` and `second` modulated."""
        counts = batch["mask"] & (batch["stage"] >= 0)
        each = scores(params["classifier"], output.stages, batch["stage"], counts)
        new = dict(gradients)
        for part, slower, key in zip(
            ("first", "second"), coefficients(*each, self.alpha), jax.random.split(rng), strict=True
        ):
            changed = modulated(gradients[part], slower, key)
            new[part] = jax.tree.map(
                lambda new, old: jnp.where(step < self.steps, new, old), changed, gradients[part]
            )
        return new


def scores(
    classifier: Mapping[str, Array],
    embeddings: tuple[Float[Array, "batch width"], ...],
    labels: Int[Array, " batch"],
    counts: Bool[Array, " batch"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum of each modality's probability of the true class, by its part of the classifier.

    Args:
        classifier: `kernel` [both widths, classes] and `bias`, of which each side gets half.
        embeddings: of the first and of the second modality.
        labels: classes.
        counts: clips that count.
    """
    first, second = embeddings
    kernels = jnp.split(classifier["kernel"], [first.shape[-1]])
    found = []
    for vectors, kernel in zip((first, second), kernels, strict=True):
        logits = vectors.astype(jnp.float32) @ kernel + classifier["bias"] / 2
        probability = jax.nn.softmax(logits)
        true = jnp.take_along_axis(probability, jnp.maximum(labels, 0)[:, None], axis=1)[:, 0]
        found.append(jnp.sum(jnp.where(counts, true, 0.0)))
    return found[0], found[1]


def coefficients(
    first: Float[Array, ""], second: Float[Array, ""], alpha: float
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Factor of each modality's gradient (Eq. 10): 1 - tanh(alpha ratio) for the leader, else 1.

    Both are 1 where no clip counts.
    """
    some = (first > 0) & (second > 0)
    ratio = jnp.where(some, first, 1.0) / jnp.where(some, second, 1.0)
    of_first = jnp.where(some & (ratio > 1), 1 - jnp.tanh(alpha * ratio), 1.0)
    of_second = jnp.where(some & (ratio <= 1), 1 - jnp.tanh(alpha / ratio), 1.0)
    return of_first, of_second


def modulated(gradients: Tree, factor: Float[Array, ""], rng: PRNGKeyArray) -> Tree:
    """Gradients of convolutions (three axes or more) times the factor, with noise of their spread.

    The spread is the standard deviation (n - 1) of the gradient before, plus 1e-8.
    """
    leaves, tree = jax.tree.flatten(gradients)
    new = [
        leaf * factor + (jnp.std(leaf, ddof=1) + 1e-8) * jax.random.normal(key, leaf.shape)
        if leaf.ndim >= 3
        else leaf
        for leaf, key in zip(leaves, jax.random.split(rng, max(1, len(leaves))), strict=True)
    ]
    return jax.tree.unflatten(tree, new)
