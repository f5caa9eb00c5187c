"""KD: the teacher's softened class probabilities (Hinton et al. 2015), raw or standardised logits.

Reference: sunshangquan/logit-standardization-KD, mdistiller/distillers/KD.py (Sun et al. 2024).
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

_EPS = 1e-7


@dataclass(frozen=True)
class Kd(Objective):
    """Options of KD.

    Attributes:
        weights: the reference's, beside 0.1 of the cross-entropy there and 1 here.
        temperature: divides the logits, standardised or not.
        standardise: logits of a clip lose their mean and are divided by their spread, so that the
            student need not have the teacher's range of logits.
    """

    weights: Mapping[str, float] = default_weights(kd=9.0)
    temperature: float = 2.0
    standardise: bool = False

    measurable = True

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Loss `kd`."""
        student, teacher = seen.student.logits, seen.teacher.logits
        if self.standardise:
            student, teacher = standardised(student), standardised(teacher)
        loss = softened_divergence(student, teacher, seen.mask, self.temperature)
        return Terms({"kd": loss}), buffers


@dataclass(frozen=True)
class KdStandardised(Kd):
    """KD on standardised logits, a row of its own in tables."""

    standardise: bool = True


def standardised(logits: Float[Array, "batch classes"]) -> Float[Array, "batch classes"]:
    """Z-scores of each row (Sun et al. 2024, Eq. 8), in float32; equal logits give zeros.

    The standard deviation is that of a sample (n - 1), as in the reference, plus 1e-7.
    """
    logits = logits.astype(jnp.float32)
    centred = logits - logits.mean(axis=-1, keepdims=True)
    variance = jnp.sum(centred**2, axis=-1, keepdims=True) / (logits.shape[-1] - 1)
    varies = variance > 0
    spread = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1.0)), 1.0)
    return centred / (spread + _EPS)


def softened_divergence(
    student: Float[Array, "batch classes"],
    teacher: Float[Array, "batch classes"],
    mask: Bool[Array, " batch"],
    temperature: float,
) -> Float[Array, ""]:
    """Kullback-Leibler divergence of the student's softmax from the teacher's, mean of the clips.

    Both are taken at `temperature`, and the mean is multiplied by its square.
    """
    log_p = jax.nn.log_softmax(teacher.astype(jnp.float32) / temperature)
    log_q = jax.nn.log_softmax(student.astype(jnp.float32) / temperature)
    rows = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
    return temperature**2 * masked_mean(rows, mask)
