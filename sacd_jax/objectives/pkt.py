"""PKT: probabilistic knowledge transfer (Passalis and Tefas 2018).

Reference: HobbitLong/RepDistiller, distiller_zoo/PKT.py; passalis/probabilistic_kt, nn/pkt.py.
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

_EPS = 1e-7


@dataclass(frozen=True)
class Pkt(Objective):
    """Options of PKT.

    Attributes:
        weights: RepDistiller's beta.
        relation_group: clips whose similarities are compared, or "global" for the whole batch.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"pkt": 30000.0}, hash=False)
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
        """Term `pkt`."""
        rows = participating(batch)
        vectors, mask = grouped(student.embedding, rows, self.relation_group)
        targets, _ = grouped(teacher.embedding, rows, self.relation_group)
        losses = jax.vmap(probabilistic_transfer)(vectors, targets, mask)
        return {"pkt": mean_over_groups(losses, mask)}, buffers


def probabilistic_transfer(
    vectors: Float[Array, "n student_dim"],
    targets: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """Kullback-Leibler divergence of the two spaces' similarity distributions.

    Similarities are cosines moved to [0, 1], each row divided by its sum; the mean goes over all
    n * n entries, the diagonal included.
    """
    p = row_probabilities((cosine_matrix(targets, _EPS) + 1) / 2, mask)
    q = row_probabilities((cosine_matrix(vectors, _EPS) + 1) / 2, mask)
    divergence = p * jnp.log((p + _EPS) / (q + _EPS))
    return masked_mean(divergence, mask[:, None] & mask)
