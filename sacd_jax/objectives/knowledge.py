"""What a loss term knows of clips that are not trained on, beside its value.

A term can fall while it tells nothing of the clip: by the class, or by one vector for all. What it
knows shows in a rank: does a clip's student find its own teacher among those of other clips?
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sacd_jax.objectives.losses import masked_mean


def wins(
    own: Float[Array, " n"], distance: Float[Array, "n others"], counts: Bool[Array, "n others"]
) -> Float[Array, ""]:
    """Share of the others that are farther away than the own partner, mean of the rows that have
    others; equal distances are half a win. 1 is always first, 0.5 chance.

    Args:
        own: distance of each to its own partner.
        distance: the same to others.
        counts: which of these compete.
    """
    beaten = (distance > own[:, None]) + 0.5 * (distance == own[:, None])
    return masked_mean(masked_mean(beaten, counts, axis=1), counts.any(axis=1))


def mutual_wins(
    distance: Float[Array, "n n"], counts: Bool[Array, "n n"] | None = None
) -> Float[Array, ""]:
    """`wins` of students (rows) among teachers (columns) and of teachers among students, mean.

    Args:
        distance: own partners on the diagonal.
        counts: symmetric; None: all others compete.
    """
    others = ~jnp.eye(len(distance), dtype=bool)
    others = others if counts is None else others & counts
    own = jnp.diagonal(distance)
    return 0.5 * (wins(own, distance, others) + wins(own, distance.T, others.T))


def divergences(
    student: Float[Array, "n classes"], teacher: Float[Array, "n classes"]
) -> Float[Array, "n n"]:
    """Jensen-Shannon divergence of each student's softmax from each teacher's, of logits."""
    log_p = jax.nn.log_softmax(student.astype(jnp.float32))[:, None]
    log_q = jax.nn.log_softmax(teacher.astype(jnp.float32))[None]
    log_m = jnp.logaddexp(log_p, log_q) - jnp.log(2.0)
    rows = jnp.exp(log_p) * (log_p - log_m) + jnp.exp(log_q) * (log_q - log_m)
    return 0.5 * rows.sum(axis=-1)
