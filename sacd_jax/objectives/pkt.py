"""PKT: probabilistic knowledge transfer (Passalis and Tefas 2018).

Reference: HobbitLong/RepDistiller, distiller_zoo/PKT.py; passalis/probabilistic_kt, nn/pkt.py.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sacd_jax.objectives.losses import (
    RelationGroup,
    cosine_matrix,
    masked_mean,
    mean_over_groups,
    row_probabilities,
)
from sacd_jax.objectives.objective import (
    Buffers,
    Objective,
    Params,
    Seen,
    Terms,
    default_weights,
)

_EPS = 1e-7


@dataclass(frozen=True)
class Pkt(Objective):
    """Options of PKT.

    Attributes:
        weights: RepDistiller's beta for `pkt`.
        relation_group: clips whose similarities are compared with one another.
    """

    weights: Mapping[str, float] = default_weights(pkt=30000.0)
    relation_group: RelationGroup = 16

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Loss `pkt`."""
        embeddings = (seen.student.embedding, seen.teacher.embedding)
        loss = mean_over_groups(probabilistic_transfer, self.relation_group, embeddings, seen.mask)
        return Terms({"pkt": loss}), buffers


def probabilistic_transfer(
    student: Float[Array, "n student_dim"],
    teacher: Float[Array, "n teacher_dim"],
    mask: Bool[Array, " n"],
) -> Float[Array, ""]:
    """Kullback-Leibler divergence of the two spaces' similarity distributions.

    Similarities are cosines mapped to [0, 1], each row divided by its sum; the mean is over all
    n * n entries, including the diagonal.
    """
    p = row_probabilities((cosine_matrix(teacher, _EPS) + 1) / 2, mask)
    q = row_probabilities((cosine_matrix(student, _EPS) + 1) / 2, mask)
    divergence = p * jnp.log((p + _EPS) / (q + _EPS))
    return masked_mean(divergence, mask[:, None] & mask)
