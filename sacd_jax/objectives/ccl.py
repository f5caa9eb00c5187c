"""CCL: compositional contrastive learning (Chen et al. 2021).

Reference: yanbeic/CCL, training.py, loss/ and models/.
"""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sacd_jax.objectives.composition import Composition, Contrast
from sacd_jax.objectives.losses import l2_normalise, masked_mean, mean_over_groups

_EPS = 1e-10


@dataclass(frozen=True)
class Ccl(Composition):
    """Options of CCL beside those of its head.

    Attributes:
        temperature: 0.5 for audio or EEG teachers, 0.1 for images.
    """

    temperature: float = 0.5

    def contrast(
        self,
        first: Float[Array, "batch dim"],
        second: Float[Array, "batch dim"],
        labels: Int[Array, " batch"],
        mask: Bool[Array, " batch"],
    ) -> Contrast:
        """`nce` both ways."""

        def loss(a: Array, b: Array, labels: Array, mask: Array) -> Array:
            return nce(a, b, labels, mask, self.temperature) + nce(
                b, a, labels, mask, self.temperature
            )

        return {"loss": mean_over_groups(loss, self.relation_group, (first, second, labels), mask)}


def nce(
    first: Float[Array, "n dim"],
    second: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    mask: Bool[Array, " n"],
    temperature: float = 0.5,
) -> Float[Array, ""]:
    """Class-wise noise-contrastive loss of each row of `first` against all of `second`.

    Formula of yanbeic/CCL, loss: p is the softmax over the batch of cosine / temperature. Rows of
    the anchor's class, its own included, add -log p and rows of other classes -log(1 - p); either
    sum is averaged, and the second is 0 where there are no other classes.
    """
    cosine = l2_normalise(first) @ l2_normalise(second).T
    p = jax.nn.softmax(jnp.where(mask, cosine / temperature, -1e30), axis=-1)
    pairs = mask[:, None] & mask
    same = labels[:, None] == labels
    positive = masked_mean(-jnp.log(p + _EPS), pairs & same, axis=1)
    negative = masked_mean(-jnp.log(1 - p + _EPS), pairs & ~same, axis=1)
    return masked_mean(positive + negative, mask)
