"""A reconstruction of what SACD's released code does: CCL with semi-hard triplets for its contrast.

Reference: SPIresearch/SACD, training.py, main.py and the files deleted from it a day later
(anchor_selector.py, which is emma-sjwang/EISNet's, and loss/Khn.py). The code cannot run as
published and never did, so its defects are repaired here, each as little as possible; figures
obtained with it are not its authors' figures. `docs/paper.md` sets it beside the paper.
"""

from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sacd_jax.objectives.composition import Composition, Contrast
from sacd_jax.objectives.losses import l2_normalise, mean_over_groups, squared_distances
from sacd_jax.registry import Count

Vectors = Literal["raw", "unit"]
Pairs = Literal["ccl", "overwritten"]


@dataclass(frozen=True)
class SacdReleased(Composition):
    """Options of the reconstruction beside those of its head.

    Two traps of the released code stay, harmless and visible in the logged number of `triplets`:
    squared distances of raw 512-wide vectors are tens, so hardly a negative lies in a window of 0.5
    behind the positive (`vectors="unit"` compares in [0, 4]); and batches of one stage, which its
    unshuffled order yields, have no negatives. Where there is no triplet the loss is 0; the
    original stops with an index error.

    Attributes:
        margin: width of the window, and of the hinge.
        hardest: K, the most negatives that are drawn for a pair.
        vectors: compares them `raw`, as released, or at length 1.
        pairs: contrasts student, teacher and composition in CCL's three pairs; `overwritten` puts
            the composition in the teacher's place, as released (a renamed variable, most likely by
            accident).
    """

    margin: float = 0.5
    hardest: Count = 5
    vectors: Vectors = "raw"
    pairs: Pairs = "ccl"

    def contrasted_teacher(
        self, teacher: Float[Array, "batch dim"], composed: Float[Array, "batch dim"]
    ) -> Float[Array, "batch dim"]:
        """The teacher's vectors; the composed ones where they overwrite them."""
        return composed if self.pairs == "overwritten" else teacher

    def contrast(
        self,
        first: Float[Array, "batch dim"],
        second: Float[Array, "batch dim"],
        labels: Int[Array, " batch"],
        mask: Bool[Array, " batch"],
    ) -> Contrast:
        """`semi_hard_triplets` both ways, positives and negatives from the other set."""
        if self.vectors == "unit":
            first, second = l2_normalise(first), l2_normalise(second)

        def loss(a: Array, b: Array, labels: Array, mask: Array) -> Contrast:
            labels = jnp.where(mask, labels, -1)
            there, back = (
                semi_hard_triplets(x, z, z, labels, labels, margin=self.margin, most=self.hardest)
                for x, z in ((a, b), (b, a))
            )
            return {"loss": there[0] + back[0], "triplets": there[1] + back[1]}

        return mean_over_groups(loss, self.relation_group, (first, second, labels), mask)


def semi_hard_triplets(
    anchors: Float[Array, "n dim"],
    positives: Float[Array, "n dim"],
    negatives: Float[Array, "m dim"],
    labels: Int[Array, " n"],
    negative_labels: Int[Array, " m"],
    *,
    margin: float,
    most: int,
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Mean hinge of the triplets that emma-sjwang/EISNet's anchor_selector.py draws.

    For each two rows i < j of one class, row i of `anchors` is the anchor and row j of `positives`
    the positive: another clip of the class, never the anchor's own. Its negatives are rows of other
    classes with h = |a - p|^2 - |a - n|^2 + margin in (0, margin), farther than the positive, but
    by less than the margin. The reference draws min(most, their number) of them with replacement
    and averages h over all; this is the expectation of both sums.

    Args:
        anchors, positives: vectors of the same clips.
        negatives: where negatives come from.
        labels, negative_labels: classes; rows with a label below 0 do not count.
        margin: width of the window, and of the hinge.
        most: draws for a pair.

    Returns:
        The loss, 0 where there is no triplet, and the expected number of triplets.
    """
    place = jnp.arange(len(labels))
    pairs = (labels[:, None] == labels) & (labels >= 0)[:, None] & (place[:, None] < place)
    others = (labels[:, None] != negative_labels) & (negative_labels >= 0)
    to_positive = squared_distances(anchors, positives)
    to_negative = squared_distances(anchors, negatives)
    violation = to_positive[:, :, None] - to_negative[:, None, :] + margin
    chosen = pairs[:, :, None] & others[:, None, :] & (violation > 0) & (violation < margin)
    count = chosen.sum(axis=-1, keepdims=True)
    drawn = jnp.minimum(count, most)
    weight = jnp.where(chosen, drawn / jnp.maximum(count, 1), 0.0)
    triplets = drawn.sum().astype(jnp.float32)
    total = jnp.sum(jnp.where(chosen, weight * violation, 0.0))
    return total / jnp.where(triplets > 0, triplets, 1.0), triplets
