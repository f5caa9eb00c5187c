"""RKD: relational knowledge distillation of distances and angles (Park et al. 2019).

Reference: lenscloth/RKD, metric/loss.py; HobbitLong/RepDistiller, distiller_zoo/RKD.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec
from sacd_jax.objectives.losses import (
    grouped,
    l2_normalise,
    masked_mean,
    mean_over_groups,
    smooth_l1,
    squared_distances,
)
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Keys,
    Objective,
    Params,
    Terms,
    check_group,
    participating,
)


@dataclass(frozen=True)
class Rkd(Objective):
    """Options of RKD.

    Attributes:
        weights: RepDistiller's (the authors use 1 and 2 in metric learning).
        relation_group: clips among which pairs and triplets are formed, or "global"; the angles
            cost the cube of it.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {"distance": 25.0, "angle": 50.0}, hash=False
    )
    relation_group: int | Literal["global"] = 16

    def __post_init__(self) -> None:
        check_group("relation_group", self.relation_group)

    def init(
        self,
        rng: jax.Array,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Nothing to train or to carry."""
        return {}, {}

    def terms(
        self,
        params: Params,
        buffers: Buffers,
        student: EncoderOutput,
        teacher: EncoderOutput,
        keys: Keys | None,
        batch: Batch,
        rng: jax.Array,
        step: jax.Array,
    ) -> tuple[Terms, Buffers]:
        """Terms `distance` and `angle`."""
        rows = participating(batch)
        vectors, mask = grouped(student.embedding, rows, self.relation_group)
        targets, _ = grouped(teacher.embedding, rows, self.relation_group)
        losses = {"distance": distance_loss, "angle": angle_loss}
        return {
            name: mean_over_groups(jax.vmap(loss)(vectors, targets, mask), mask)
            for name, loss in losses.items()
            if self.weights[name] != 0
        }, buffers


def distance_loss(
    vectors: Float[Array, "n student_dim"],
    targets: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """RKD-D: smooth-L1 of pairwise distances, each space's divided by its mean; mean over n * n."""

    def relative(rows: Array) -> Array:
        # The clamp keeps the square root's gradient finite (at most 5e5).
        distance = jnp.sqrt(jnp.maximum(squared_distances(rows, rows), 1e-12))
        mean = masked_mean(distance, others)
        return jnp.where(others, distance, 0.0) / jnp.where(mean > 0, mean, 1.0)

    others = mask[:, None] & mask & ~jnp.eye(len(mask), dtype=bool)
    difference = relative(vectors) - relative(targets)
    return masked_mean(smooth_l1(difference), mask[:, None] & mask)


def angle_loss(
    vectors: Float[Array, "n student_dim"],
    targets: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """RKD-A: smooth-L1 of the cosines of all triplets' angles; mean over n * n * n."""

    def cosines(rows: Array) -> Array:
        edges = l2_normalise(rows[None] - rows[:, None])
        return jnp.einsum("jid,jkd->jik", edges, edges)

    triplets = mask[:, None, None] & mask[:, None] & mask
    return masked_mean(smooth_l1(cosines(vectors) - cosines(targets)), triplets)
