"""C2KD: distillation across a modality gap, both ways and by chosen clips (Huo et al. 2024).

Reference: huofushuo/C2KD, cramed/utils/helper.py and module.py. Each side has a proxy, a small head
on its vectors. Proxies learn from their own network and from each other, on classes other than the
clip's and only for clips whose proxies rank the classes alike; each network learns from its proxy.
There the teacher is tuned along, with a cross-entropy of its own; here it is if `teacher_trainable`
is set, and a frozen one's `teacher` loss is a constant.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.objectives.losses import masked_mean
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Objective,
    Params,
    Seen,
    Terms,
    default_weights,
    linear,
    linear_init,
)

_EPS = 1e-5


@dataclass(frozen=True)
class C2kd(Objective):
    """Options of C2KD.

    Attributes:
        weights: all 1 in the reference.
        threshold: clips count between the proxies whose rank correlation is above it.
    """

    weights: Mapping[str, float] = default_weights(
        student=1.0,
        student_proxy=1.0,
        student_from_teacher=1.0,
        teacher=1.0,
        teacher_proxy=1.0,
        teacher_from_student=1.0,
    )
    threshold: float = 0.0

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes both proxies."""
        rng_student, rng_teacher = jax.random.split(rng)
        return {
            "student": proxy_init(rng_student, student_spec),
            "teacher": proxy_init(rng_teacher, teacher_spec),
        }, {}

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Losses of both sides; logs the share of clips that are chosen."""
        mask, labels = seen.mask, seen.batch["stage"]
        student, teacher = (
            proxy(params[side], output.embedding, mask)
            for side, output in (("student", seen.student), ("teacher", seen.teacher))
        )
        fixed = jax.lax.stop_gradient
        chosen = seen.classed & (rank_correlation(fixed(student), fixed(teacher)) > self.threshold)

        def own(learns: Array, knows: Array) -> Array:
            return masked_mean(divergence(fixed(knows), learns), mask)

        def across(learns: Array, knows: Array) -> Array:
            rows = divergence(*(without_class(x, labels) for x in (fixed(knows), learns)))
            return masked_mean(jnp.where(chosen, rows, 0.0), mask)

        losses = {
            "student": own(seen.student.logits, student),
            "student_proxy": own(student, seen.student.logits),
            "student_from_teacher": across(student, teacher),
            "teacher": own(seen.teacher.logits, teacher),
            "teacher_proxy": own(teacher, seen.teacher.logits),
            "teacher_from_student": across(teacher, student),
        }
        share = masked_mean(chosen.astype(jnp.float32), seen.classed)
        return Terms(losses, {"chosen": share}), buffers


def proxy_init(rng: PRNGKeyArray, spec: EncoderSpec) -> dict[str, dict[str, Array]]:
    """Parameters of `proxy`: a square layer without bias, its norm, a classifier."""
    rng_layer, rng_classifier = jax.random.split(rng)
    dim = spec.embedding_dim
    # He et al. 2015 by fan-out, as the reference draws its layer.
    kernel = jax.random.normal(rng_layer, (dim, dim)) * jnp.sqrt(2.0 / dim)
    return {
        "layer": {"kernel": kernel},
        "norm": {"scale": jnp.ones(dim), "bias": jnp.zeros(dim)},
        "classifier": linear_init(rng_classifier, dim, spec.num_classes),
    }


def proxy(
    params: Mapping[str, Mapping[str, Array]],
    embedding: Float[Array, "batch dim"],
    mask: Bool[Array, " batch"],
) -> Float[Array, "batch classes"]:
    """A side's proxy logits: linear, BatchNorm over the clips that count, leaky ReLU, linear."""
    x = embedding.astype(jnp.float32) @ params["layer"]["kernel"]
    rows = jnp.broadcast_to(mask[:, None], x.shape)
    x = x - masked_mean(x, rows, axis=0)
    x = x * jax.lax.rsqrt(masked_mean(x**2, rows, axis=0) + _EPS)
    x = jax.nn.leaky_relu(x * params["norm"]["scale"] + params["norm"]["bias"], 0.1)
    return linear(params["classifier"], x)


def divergence(
    knows: Float[Array, "batch classes"], learns: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Kullback-Leibler divergence of each row's softmax of `learns` from that of `knows`."""
    log_p, log_q = (jax.nn.log_softmax(x.astype(jnp.float32)) for x in (knows, learns))
    return jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)


def without_class(
    logits: Float[Array, "batch classes"], labels: Int[Array, " batch"]
) -> Float[Array, "batch classes"]:
    """Logits in which that of the clip's class is 0, as the reference has it (it stays a class)."""
    own = labels[:, None] == jnp.arange(logits.shape[-1])
    return jnp.where(own, 0.0, logits.astype(jnp.float32))


def rank_correlation(
    first: Float[Array, "batch classes"], second: Float[Array, "batch classes"]
) -> Float[Array, " batch"]:
    """Kendall's tau-b of each pair of rows; 0 where all of a row are equal."""
    a, b = (jnp.sign(x[:, :, None] - x[:, None, :]) for x in (first, second))
    both, square = jnp.sum(a * b, axis=(1, 2)), jnp.sum(a**2, (1, 2)) * jnp.sum(b**2, (1, 2))
    return both * jax.lax.rsqrt(jnp.maximum(square, 1.0))
