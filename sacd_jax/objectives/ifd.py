"""IFD: information flow distillation over several layers (Passalis et al. 2020).

Reference: passalis/pkth, nn/pkt_transfer.py and cifar10/exp2_proposed.py, without the auxiliary
teacher. Layers are paired from the deepest on; an encoder without stages gives its embedding.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec
from sacd_jax.objectives.losses import (
    cosine_matrix,
    grouped,
    masked_mean,
    mean_over_groups,
    row_probabilities,
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
class Ifd(Objective):
    """Options of IFD.

    Attributes:
        inner_weight: weight of every layer but the deepest, at the start.
        inner_decay: its factor after each pass over the data (the critical-period schedule).
        relation_group: clips whose similarities are compared, or "global" for the whole batch.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {"information_flow": 1.0}, hash=False
    )
    inner_weight: float = 100.0
    inner_decay: float = 0.7
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
        """Carries the steps of a pass, by which the schedule counts."""
        return {}, {"steps_per_pass": jnp.asarray(data_spec.steps_per_pass, jnp.int32)}

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
        """Term `information_flow`; logs the deepest pair's loss and the inner layers' weight."""
        rows = participating(batch)
        layers = []
        for vectors, targets in layer_pairs(student, teacher):
            vectors, mask = grouped(vectors, rows, self.relation_group)
            targets, _ = grouped(targets, rows, self.relation_group)
            losses = jax.vmap(information_flow)(vectors, targets, mask)
            layers.append(mean_over_groups(losses, mask))
        passes = jnp.asarray(step, jnp.int32) // buffers["steps_per_pass"]
        inner = self.inner_weight * jnp.float32(self.inner_decay) ** passes
        total = layers[0] + inner * sum(layers[1:])
        return {
            "information_flow": total,
            "last_layer": layers[0],
            "inner_weight": inner,
        }, buffers


def layer_pairs(student: EncoderOutput, teacher: EncoderOutput) -> list[tuple[Array, Array]]:
    """Vectors of student and teacher that belong together, deepest first."""
    deepest_first = [(output.stages or (output.embedding,))[::-1] for output in (student, teacher)]
    return list(zip(*deepest_first, strict=False))


def information_flow(
    vectors: Float[Array, "n student_dim"],
    targets: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """Jeffreys divergence of similarity distributions, for a cosine and a Student-t kernel."""
    return sum(
        _jeffreys(
            row_probabilities(kernel(targets), mask),
            row_probabilities(kernel(vectors), mask),
            mask[:, None] & mask,
        )
        for kernel in (cosine_kernel, student_t_kernel)
    )


def cosine_kernel(rows: Float[Array, "n dim"]) -> Float[Array, "n n"]:
    """Cosine moved to [0, 1]; just above 0, since it meets a logarithm."""
    return jnp.maximum((cosine_matrix(rows, 1e-6) + 1) / 2, 1e-8)


def student_t_kernel(rows: Float[Array, "n dim"]) -> Float[Array, "n n"]:
    """1 / (1 + Euclidean distance)."""
    return 1 / (1 + jnp.sqrt(squared_distances(rows, rows) + 1e-6))


def _jeffreys(
    p: Float[Array, "n n"], q: Float[Array, "n n"], pairs: Bool[Array, "n n"]
) -> Float[Array, ""]:
    log_ratio = jnp.log(jnp.where(pairs, p, 1.0)) - jnp.log(jnp.where(pairs, q, 1.0))
    return masked_mean((p - q) * log_ratio, pairs)
