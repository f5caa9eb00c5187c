"""IFD: information flow distillation over several layers (Passalis et al. 2020).

Reference: passalis/pkth, nn/pkt_transfer.py and cifar10/exp2_proposed.py, without the auxiliary
teacher. Layers are paired from the deepest up; an encoder without stages offers its embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives.losses import (
    RelationGroup,
    cosine_matrix,
    masked_mean,
    mean_over_groups,
    row_probabilities,
    squared_distances,
)
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Objective,
    Params,
    Seen,
    Terms,
    default_weights,
)


@dataclass(frozen=True)
class Ifd(Objective):
    """Options of IFD.

    Attributes:
        inner_weight: weight of every layer but the deepest, in the first pass.
        inner_decay: what it is multiplied by after each pass over the data (the schedule of the
            critical period).
        relation_group: clips whose similarities are compared with one another.
    """

    weights: Mapping[str, float] = default_weights(information_flow=1.0)
    inner_weight: float = 100.0
    inner_decay: float = 0.7
    relation_group: RelationGroup = 16

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Carries the number of steps per pass, which the schedule needs."""
        return {}, {"steps_per_pass": jnp.asarray(data_spec.steps_per_pass, jnp.int32)}

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Loss `information_flow`; logs the deepest pair's loss and the inner layers' weight."""
        deepest, *others = (
            mean_over_groups(information_flow, self.relation_group, pair, seen.mask)
            for pair in layer_pairs(seen.student, seen.teacher)
        )
        passes = jnp.asarray(seen.step, jnp.int32) // buffers["steps_per_pass"]
        inner = self.inner_weight * jnp.float32(self.inner_decay) ** passes
        losses = {"information_flow": deepest + inner * sum(others)}
        return Terms(losses, {"last_layer": deepest, "inner_weight": inner}), buffers


def layer_pairs(student: EncoderOutput, teacher: EncoderOutput) -> list[tuple[Array, Array]]:
    """Pooled vectors of student and teacher, layer by layer, deepest first."""
    deepest_first = [(output.stages or (output.embedding,))[::-1] for output in (student, teacher)]
    return list(zip(*deepest_first, strict=False))


def information_flow(
    student: Float[Array, "n student_dim"],
    teacher: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """Jeffreys divergence of similarity distributions, summed over a cosine and a t kernel."""
    return sum(
        _jeffreys(
            row_probabilities(kernel(teacher), mask),
            row_probabilities(kernel(student), mask),
            mask[:, None] & mask,
        )
        for kernel in (cosine_kernel, student_t_kernel)
    )


def cosine_kernel(rows: Float[Array, "n dim"]) -> Float[Array, "n n"]:
    """Cosine mapped to [0, 1], kept just above 0 for the logarithm."""
    return jnp.maximum((cosine_matrix(rows, 1e-6) + 1) / 2, 1e-8)


def student_t_kernel(rows: Float[Array, "n dim"]) -> Float[Array, "n n"]:
    """1 / (1 + Euclidean distance)."""
    return 1 / (1 + jnp.sqrt(squared_distances(rows, rows) + 1e-6))


def _jeffreys(
    p: Float[Array, "n n"], q: Float[Array, "n n"], pairs: Bool[Array, "n n"]
) -> Float[Array, ""]:
    log_ratio = jnp.log(jnp.where(pairs, p, 1.0)) - jnp.log(jnp.where(pairs, q, 1.0))
    return masked_mean((p - q) * log_ratio, pairs)
