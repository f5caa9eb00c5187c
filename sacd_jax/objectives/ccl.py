"""CCL: compositional contrastive learning (Chen et al. 2021).

Reference: yanbeic/CCL, training.py, loss/ and models/. A head composes the vectors of teacher and
student and classifies the composition; the three vectors are contrasted in pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.objectives.losses import (
    RelationGroup,
    cross_entropy,
    jsd,
    l2_normalise,
    masked_mean,
    mean_over_groups,
)
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
    project_teacher,
    projection_init,
)

_EPS = 1e-10


@dataclass(frozen=True)
class Ccl(Objective):
    """Options of CCL.

    The losses `contrast` and `jsd` are the student's (with the task's cross-entropy they are the
    reference's "video loss"); the `head_*` losses train the composition head alone. So the student
    gets the gradient of its own losses and the head that of both sums, which the reference
    arranges by two backward passes with a reset in between.

    Attributes:
        temperature: 0.5 for audio or EEG teachers, 0.1 for images.
        relation_group: clips that are contrasted with one another.
        head_learning_rate: of the head's own SGD, at a constant rate.
        head_momentum: of the head's SGD.
        head_weight_decay: of the head's SGD.
    """

    weights: Mapping[str, float] = default_weights(
        contrast=1.0, jsd=1.0, head_cross_entropy=1.0, head_contrast=1.0, head_jsd=1.0
    )
    temperature: float = 0.5
    relation_group: RelationGroup = 16
    head_learning_rate: float = 1e-3
    head_momentum: float = 0.9
    head_weight_decay: float = 5e-4

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes the composition head, and a projection if the teacher's width differs."""
        dim = student_spec.embedding_dim
        rng_projection, rng_compose, rng_classify = jax.random.split(rng, 3)
        return {
            **projection_init(rng_projection, student_spec, teacher_spec),
            "compose": linear_init(rng_compose, 2 * dim, dim),
            "classify": linear_init(rng_classify, dim, student_spec.num_classes),
        }, {}

    def optimizer(self, base: optax.GradientTransformation) -> optax.GradientTransformation:
        """SGD at a constant rate, for the head alone."""
        del base
        return optax.chain(
            optax.add_decayed_weights(self.head_weight_decay),
            optax.sgd(self.head_learning_rate, momentum=self.head_momentum),
        )

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Losses of the student and of the head.

        Clips without a teacher's vector (all zero) do not count.
        """
        mask = seen.mask & jnp.any(seen.teacher.embedding != 0, axis=-1)
        labels = jnp.where(mask, seen.batch["stage"], -1)
        student = seen.student.embedding.astype(jnp.float32)
        teacher = project_teacher(params, seen.teacher.embedding)

        def contrast(first: Array, second: Array) -> Array:
            return self._both_ways(first, second, labels, mask)

        def compositions(student: Array) -> tuple[Array, Array]:
            composed = compose(params["compose"], teacher, student)
            return composed, linear(params["classify"], composed)

        composed, logits = compositions(student)
        student_losses = {
            "contrast": contrast(student, composed) + contrast(student, teacher),
            "jsd": jsd(seen.student.logits, logits, mask, "jeffreys"),
        }
        # The same values again, with the student as a constant.
        fixed = jax.lax.stop_gradient(student)
        composed, logits = compositions(fixed)
        head_losses = {
            "head_cross_entropy": cross_entropy(logits, labels, mask),
            "head_contrast": contrast(fixed, composed) + contrast(teacher, composed),
            "head_jsd": jsd(jax.lax.stop_gradient(seen.student.logits), logits, mask, "jeffreys"),
        }
        return Terms(student_losses | head_losses), buffers

    def _both_ways(
        self,
        first: Float[Array, "batch dim"],
        second: Float[Array, "batch dim"],
        labels: Int[Array, " batch"],
        mask: Bool[Array, " batch"],
    ) -> Float[Array, ""]:
        def loss(a: Array, b: Array, labels: Array, mask: Array) -> Array:
            return nce(a, b, labels, mask, self.temperature) + nce(
                b, a, labels, mask, self.temperature
            )

        return mean_over_groups(loss, self.relation_group, (first, second, labels), mask)


def compose(
    params: Mapping[str, Array],
    teacher: Float[Array, "batch dim"],
    student: Float[Array, "batch dim"],
) -> Float[Array, "batch dim"]:
    """The teacher's vector plus a linear map of both unit vectors."""
    both = jnp.concatenate([l2_normalise(teacher), l2_normalise(student)], axis=-1)
    return teacher + linear(params, both)


def nce(
    first: Float[Array, "n dim"],
    second: Float[Array, "n dim"],
    labels: Int[Array, " n"],
    mask: Bool[Array, " n"],
    temperature: float = 0.5,
) -> Float[Array, ""]:
    """Class-wise noise-contrastive loss of each row of `first` against all of `second`.

    Formula of yanbeic/CCL, loss: p is the softmax over the batch of cosine / temperature. Rows of
    the anchor's class, its own included, add -log p and rows of other classes -log(1 - p); either
    sum is averaged, and the second is 0 where there are no other classes.
    """
    cosine = l2_normalise(first) @ l2_normalise(second).T
    p = jax.nn.softmax(jnp.where(mask, cosine / temperature, -1e30), axis=-1)
    pairs = mask[:, None] & mask
    same = labels[:, None] == labels
    positive = masked_mean(-jnp.log(p + _EPS), pairs & same, axis=1)
    negative = masked_mean(-jnp.log(1 - p + _EPS), pairs & ~same, axis=1)
    return masked_mean(positive + negative, mask)
