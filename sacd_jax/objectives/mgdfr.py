"""MGDFR: distillation of the teacher's modality-general decisive features (Xue et al. 2023).

Reference: Gray-OREO/MST-Distill, main-MGDFR.py and KD_methods/MGDFR.py and KD.py. A feature of the
teacher is salient if permuting it among the clips takes the teacher's logits away from the
student's; the least salient three quarters are frozen at their batch mean, and what the teacher
says then is distilled by its softened classes.

A reading in two places. There both networks train together first, salience is measured once, and a
second student is distilled; here it is gathered while the one student trains. There the teacher
runs again for every permuted feature; here its classifier, a linear layer in the networks of this
package, is found by least squares of its logits on its vectors, and the expectation over all
permutations has a closed form.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.objectives.kd import softened_divergence
from sacd_jax.objectives.losses import masked_mean
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Objective,
    Params,
    Seen,
    Terms,
    default_weights,
)

WIDEST = 1024
"""Of the teacher's vectors: a system of so many equations is solved in every step."""

_RIDGE = 1e-4


@dataclass(frozen=True)
class Mgdfr(Objective):
    """Options of MGDFR.

    Attributes:
        weights: alpha over 1 - alpha of the reference, whose alpha is 0.5.
        temperature: of the softened classes.
        ratio: share of the teacher's features that is frozen.
    """

    weights: Mapping[str, float] = default_weights(kd=1.0)
    temperature: float = 4.0
    ratio: float = 0.75

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes the sums of the least squares, and those of salience.

        Raises:
            UserError: the teacher's vectors are too wide.
        """
        width = teacher_spec.embedding_dim
        if width > WIDEST:
            raise UserError(
                f"mgdfr: the teacher's vectors have {width} numbers, expected {WIDEST} at most "
                "(a bottleneck)"
            )
        return {}, {
            "products": jnp.zeros((width + 1, width + 1)),
            "targets": jnp.zeros((width + 1, teacher_spec.num_classes)),
            "salience": jnp.zeros(width),
        }

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Loss `kd`; logs how far the frozen features move the teacher's logits, squared."""
        mask, fixed = seen.mask, jax.lax.stop_gradient
        vectors, logits = (
            x.astype(jnp.float32) for x in (seen.teacher.embedding, seen.teacher.logits)
        )
        known = fixed(vectors)
        ones = jnp.where(mask[:, None], jnp.concatenate([known, jnp.ones((len(known), 1))], 1), 0.0)
        buffers = {
            "products": buffers["products"] + ones.T @ ones,
            "targets": buffers["targets"] + ones.T @ fixed(logits),
            "salience": buffers["salience"],
        }
        kernel = classifier(buffers["products"], buffers["targets"])[:-1]
        residual = fixed(logits - seen.student.logits.astype(jnp.float32))
        buffers["salience"] += mask.any() * salience(known, residual, kernel, mask)
        rank = jnp.argsort(jnp.argsort(buffers["salience"]))
        frozen = rank < int(self.ratio * len(rank))
        rows = jnp.broadcast_to(mask[:, None], vectors.shape)
        away = jnp.where(frozen, masked_mean(vectors, rows, axis=0) - vectors, 0.0) @ kernel
        loss = softened_divergence(seen.student.logits, logits + away, mask, self.temperature)
        moved = masked_mean(jnp.mean(fixed(away) ** 2, axis=-1), mask)
        return Terms({"kd": loss}, {"teacher_moved": moved}), buffers


def classifier(
    products: Float[Array, "inputs inputs"], targets: Float[Array, "inputs classes"]
) -> Float[Array, "inputs classes"]:
    """Weights of a linear layer from the sums of x x^T and x y^T, slightly ridged."""
    size = jnp.trace(products) / len(products)
    ridge = _RIDGE * jnp.where(size > 0, size, 1.0)
    factor = jax.scipy.linalg.cho_factor(products + ridge * jnp.eye(len(products)))
    return jax.scipy.linalg.cho_solve(factor, targets)


def salience(
    vectors: Float[Array, "batch width"],
    residual: Float[Array, "batch classes"],
    kernel: Float[Array, "width classes"],
    mask: Bool[Array, " batch"],
) -> Float[Array, " width"]:
    """Expected mean square of teacher's less student's logits, each feature permuted alone.

    The mean over all pairs of rows (i, k) of mean_c (residual_ic + (x_kj - x_ij) kernel_jc)^2.

    Args:
        vectors: x, of the teacher.
        residual: teacher's less student's logits.
        kernel: of the teacher's classifier.
        mask: rows that count.
    """
    rows = jnp.broadcast_to(mask[:, None], vectors.shape)
    away = masked_mean(vectors, rows, axis=0) - vectors
    spread = masked_mean(away**2, rows, axis=0)
    classes = kernel.shape[1]
    before = masked_mean(jnp.mean(residual**2, axis=-1), mask)
    cross = masked_mean(away * (residual @ kernel.T), rows, axis=0) / classes
    return before + 2 * cross + 2 * spread * jnp.mean(kernel**2, axis=-1)
