"""RKD: relational knowledge distillation of distances and angles (Park et al. 2019).

Reference: lenscloth/RKD, metric/loss.py; HobbitLong/RepDistiller, distiller_zoo/RKD.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sacd_jax.objectives.losses import (
    RelationGroup,
    l2_normalise,
    masked_mean,
    mean_over_groups,
    smooth_l1,
    squared_distances,
)
from sacd_jax.objectives.objective import (
    Buffers,
    Objective,
    Params,
    Seen,
    Terms,
    default_weights,
)


@dataclass(frozen=True)
class Rkd(Objective):
    """Options of RKD.

    Attributes:
        weights: RepDistiller's (the authors use 1 and 2 in metric learning).
        relation_group: clips among which pairs and triplets are formed; the cost of the angles
            grows with its cube.
    """

    weights: Mapping[str, float] = default_weights(distance=25.0, angle=50.0)
    relation_group: RelationGroup = 16

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Losses `distance` and `angle`."""
        embeddings = (seen.student.embedding, seen.teacher.embedding)
        losses = mean_over_groups(_both, self.relation_group, embeddings, seen.mask)
        return Terms(losses), buffers


def _both(
    student: Float[Array, "n student_dim"],
    teacher: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> dict[str, Float[Array, ""]]:
    arrays = (student, teacher, mask)
    return {"distance": distance_loss(*arrays), "angle": angle_loss(*arrays)}


def distance_loss(
    student: Float[Array, "n student_dim"],
    teacher: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """RKD-D: smooth L1 of pairwise distances, divided by each space's mean; mean over n * n."""

    def relative(rows: Array) -> Array:
        # The clamp keeps the square root's gradient finite (at most 5e5).
        distance = jnp.sqrt(jnp.maximum(squared_distances(rows, rows), 1e-12))
        mean = masked_mean(distance, others)
        return jnp.where(others, distance, 0.0) / jnp.where(mean > 0, mean, 1.0)

    others = mask[:, None] & mask & ~jnp.eye(len(mask), dtype=bool)
    difference = relative(student) - relative(teacher)
    return masked_mean(smooth_l1(difference), mask[:, None] & mask)


def angle_loss(
    student: Float[Array, "n student_dim"],
    teacher: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """RKD-A: smooth L1 of the cosines of all triplets' angles; mean over n * n * n."""

    def cosines(rows: Array) -> Array:
        edges = l2_normalise(rows[None] - rows[:, None])
        return jnp.einsum("jid,jkd->jik", edges, edges)

    triplets = mask[:, None, None] & mask[:, None] & mask
    return masked_mean(smooth_l1(cosines(student) - cosines(teacher)), triplets)
