"""DIST: distillation from a stronger teacher by correlations (Huang et al. 2022).

Reference: hunto/image_classification_sota, lib/models/losses/dist_kd.py, to which hunto/DIST_KD
points.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from sacd_jax.objectives.losses import masked_mean
from sacd_jax.objectives.objective import (
    Buffers,
    Objective,
    Params,
    Seen,
    Terms,
    default_weights,
)

_EPS = 1e-8


@dataclass(frozen=True)
class Dist(Objective):
    """Options of DIST.

    Attributes:
        weights: beta of `inter` and gamma of `intra`, each 1 times the reference's factor 2.
        temperature: tau; both losses are multiplied by its square.
    """

    weights: Mapping[str, float] = default_weights(inter=2.0, intra=2.0)
    temperature: float = 1.0

    measurable = True

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Losses `inter`, among the classes of a clip, and `intra`, among the clips of a class."""
        student, teacher = (
            jax.nn.softmax(output.logits.astype(jnp.float32) / self.temperature)
            for output in (seen.student, seen.teacher)
        )
        inter, intra = relations(student, teacher, seen.mask)
        scale = self.temperature**2
        return Terms({"inter": scale * inter, "intra": scale * intra}), buffers


def relations(
    student: Float[Array, "batch classes"],
    teacher: Float[Array, "batch classes"],
    mask: Bool[Array, " batch"],
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """1 minus the mean Pearson correlation of both, by clips and by classes.

    Args:
        student: probabilities.
        teacher: the same of the teacher.
        mask: clips that count; without any, both are 0.
    """
    every = jnp.ones_like(student, bool)
    counted = every & mask[:, None]
    inter = masked_mean(1 - correlation(student, teacher, every), mask)
    intra = jnp.mean(1 - correlation(student.T, teacher.T, counted.T))
    return inter, jnp.where(mask.any(), intra, 0.0)


def correlation(
    first: Float[Array, "rows n"], second: Float[Array, "rows n"], mask: Bool[Array, "rows n"]
) -> Float[Array, " rows"]:
    """Pearson correlation of each pair of rows; 0, without a gradient, where a row is constant."""

    def centred(values: Array) -> tuple[Array, Array]:
        values = values - masked_mean(values, mask, axis=1)[:, None]
        values = jnp.where(mask, values, 0.0)
        square = jnp.sum(values**2, axis=1)
        return values, jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)

    (a, a_norm), (b, b_norm) = centred(first), centred(second)
    varies = (a_norm > 0) & (b_norm > 0)
    # Over the epsilon alone the gradient of a constant row would be 1e8 of the other row's.
    return jnp.where(varies, jnp.sum(a * b, axis=1) / (a_norm * b_norm + _EPS), 0.0)
