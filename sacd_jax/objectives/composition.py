"""What CCL and SACD's released code share: a head that composes teacher and student.

Reference: yanbeic/CCL, training.py and models/. The head composes the vectors of teacher and
student and classifies the composition; the three vectors are contrasted in pairs.
"""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.objectives.losses import RelationGroup, cross_entropy, jsd, l2_normalise
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

Contrast = dict[str, Float[Array, ""]]
"""`loss`, and what is logged beside it."""


@dataclass(frozen=True)
class Composition(Objective):
    """Base of methods with a composition head.

    The losses `contrast` and `jsd` are the student's (with the task's cross-entropy they are the
    reference's "video loss"); the `head_*` losses train the composition head alone. So the student
    gets the gradient of its own losses and the head that of both sums, which the reference
    arranges by two backward passes with a reset in between.

    Attributes:
        relation_group: clips that are contrasted with one another.
        head_learning_rate: of the head's own SGD, at a constant rate.
        head_momentum: of the head's SGD.
        head_weight_decay: of the head's SGD.
    """

    weights: Mapping[str, float] = default_weights(
        contrast=1.0, jsd=1.0, head_cross_entropy=1.0, head_contrast=1.0, head_jsd=1.0
    )
    relation_group: RelationGroup = 16
    head_learning_rate: float = 1e-3
    head_momentum: float = 0.9
    head_weight_decay: float = 5e-4

    @abstractmethod
    def contrast(
        self,
        first: Float[Array, "batch dim"],
        second: Float[Array, "batch dim"],
        labels: Int[Array, " batch"],
        mask: Bool[Array, " batch"],
    ) -> Contrast:
        """The loss of two sets of vectors of the same clips, both ways."""

    def contrasted_teacher(
        self, teacher: Float[Array, "batch dim"], composed: Float[Array, "batch dim"]
    ) -> Float[Array, "batch dim"]:
        """What is contrasted in the teacher's place."""
        del composed
        return teacher

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
        """Losses of the student and of the head; logs what the student's contrast says of itself.

        Clips without a teacher's vector (all zero) do not count.
        """
        mask = seen.mask & jnp.any(seen.teacher.embedding != 0, axis=-1)
        labels = jnp.where(mask, seen.batch["stage"], -1)
        student = seen.student.embedding.astype(jnp.float32)
        teacher = project_teacher(params, seen.teacher.embedding)

        def contrasts(*pairs: tuple[Array, Array]) -> Contrast:
            each = [self.contrast(first, second, labels, labels >= 0) for first, second in pairs]
            return jax.tree.map(lambda *values: sum(values), *each)

        def compositions(student: Array) -> tuple[Array, Array, Array]:
            composed = compose(params["compose"], teacher, student)
            partner = self.contrasted_teacher(teacher, composed)
            return composed, partner, linear(params["classify"], composed)

        composed, partner, logits = compositions(student)
        logged = contrasts((student, composed), (student, partner))
        student_losses = {
            "contrast": logged.pop("loss"),
            "jsd": jsd(seen.student.logits, logits, mask, "jeffreys"),
        }
        # The same values again, with the student as a constant.
        fixed = jax.lax.stop_gradient(student)
        composed, partner, logits = compositions(fixed)
        head_losses = {
            "head_cross_entropy": cross_entropy(logits, labels, mask),
            "head_contrast": contrasts((fixed, composed), (partner, composed))["loss"],
            "head_jsd": jsd(jax.lax.stop_gradient(seen.student.logits), logits, mask, "jeffreys"),
        }
        return Terms(student_losses | head_losses, logged), buffers


def compose(
    params: Mapping[str, Array],
    teacher: Float[Array, "batch dim"],
    student: Float[Array, "batch dim"],
) -> Float[Array, "batch dim"]:
    """The teacher's vector plus a linear map of both unit vectors."""
    both = jnp.concatenate([l2_normalise(teacher), l2_normalise(student)], axis=-1)
    return teacher + linear(params, both)
