"""CMC: contrastive multiview coding (Tian et al. 2020), teacher and student as the two views.

Reference: HobbitLong/CMC, NCE/NCEAverage.py and NCE/NCECriterion.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sacd_jax.objectives.instance_contrast import Draw, InstanceContrast
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.objectives.objective import Buffers, default_weights


@dataclass(frozen=True)
class Cmc(InstanceContrast):
    """Options of CMC, in addition to those of `InstanceContrast`.

    Attributes:
        softmax: cross-entropy over the positive and its negatives instead of noise-contrastive
            estimation.
    """

    weights: Mapping[str, float] = default_weights(contrast=1.0)
    softmax: bool = False

    def draw(self, buffers: Buffers, index: Array, stage: Array, k: int, rng: PRNGKeyArray) -> Draw:
        """Negatives from all rows alike, including the anchor's own class and row."""
        negative = jax.random.randint(rng, (len(index), k), 0, buffers["size"])
        return Draw(index, negative, jnp.ones(index.shape, bool))

    def direction(
        self,
        anchors: Float[Array, "batch dim"],
        bank: Float[Array, "rows dim"],
        draw: Draw,
        mask: Bool[Array, " batch"],
        z: Float[Array, ""],
        size: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """See `InstanceContrast.direction`; with `softmax` there is no Z."""
        if not self.softmax:
            return super().direction(anchors, bank, draw, mask, z, size)
        positive, negative = self.scores(anchors, bank, draw)
        logits = jnp.concatenate([positive[:, None], negative], axis=1)
        return cross_entropy(logits, jnp.zeros(len(anchors), jnp.int32), mask), z
