"""CCL: compositional contrastive learning (Chen et al. 2021).

Reference: yanbeic/CCL, training.py, loss/ and models/. A head composes the teacher's and the
student's vectors and classifies the sum; three pairs of vectors are contrasted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec
from sacd_jax.objectives.losses import (
    cross_entropy,
    grouped,
    jsd,
    l2_normalise,
    masked_mean,
    mean_over_groups,
)
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Keys,
    Objective,
    Params,
    Terms,
    check_group,
    linear,
    linear_init,
    participating,
    project_teacher,
    projection_init,
)

_EPS = 1e-10


@dataclass(frozen=True)
class Ccl(Objective):
    """Options of CCL.

    The terms `contrast` and `jsd` are the student's (with the task's cross-entropy its "video
    loss"); the `head_*` terms train the composition head alone. So the student's gradient is that
    of the video loss, and the head's that of both sums, as the reference arranges it with two
    backward passes and a reset in between.

    Attributes:
        temperature: 0.5 for audio or EEG teachers, 0.1 for images.
        relation_group: clips among which samples are contrasted, or "global" for the whole batch.
        head_learning_rate: of the head's own SGD, which follows no schedule.
        head_momentum: of the head's SGD.
        head_weight_decay: of the head's SGD.
    """

    weights: Mapping[str, float] = field(
        default_factory=lambda: {
            "contrast": 1.0,
            "jsd": 1.0,
            "head_cross_entropy": 1.0,
            "head_contrast": 1.0,
            "head_jsd": 1.0,
        },
        hash=False,
    )
    temperature: float = 0.5
    relation_group: int | Literal["global"] = 16
    head_learning_rate: float = 1e-3
    head_momentum: float = 0.9
    head_weight_decay: float = 5e-4

    def __post_init__(self) -> None:
        check_group("relation_group", self.relation_group)

    def init(
        self,
        rng: jax.Array,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes the composition head, and a projection where the teacher has another width."""
        dim = student_spec.embedding_dim
        rng_projection, rng_compose, rng_classify = jax.random.split(rng, 3)
        return {
            **projection_init(rng_projection, student_spec, teacher_spec),
            "compose": linear_init(rng_compose, 2 * dim, dim),
            "classify": linear_init(rng_classify, dim, student_spec.num_classes),
        }, {}

    def optimizer(self, base: optax.GradientTransformation) -> optax.GradientTransformation:
        """SGD of the head's own at a constant rate."""
        return optax.chain(
            optax.add_decayed_weights(self.head_weight_decay),
            optax.sgd(self.head_learning_rate, momentum=self.head_momentum),
        )

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
        """Terms of the student and of the head. Rows whose teacher vector is missing (all zero)
        take no part."""
        mask = participating(batch) & jnp.any(teacher.embedding != 0, axis=-1)
        labels = jnp.where(mask, batch["stage"], -1)
        sound = project_teacher(params, teacher.embedding)

        def contrast(first: Array, second: Array) -> Array:
            return self._both_ways(first, second, labels, mask)

        def compositions(video: Array) -> tuple[Array, Array]:
            composed = compose(params["compose"], sound, video)
            return composed, linear(params["classify"], composed)

        video = student.embedding.astype(jnp.float32)
        composed, logits = compositions(video)
        video_terms = {
            "contrast": contrast(video, composed) + contrast(video, sound),
            "jsd": jsd(student.logits, logits, mask, "jeffreys"),
        }
        # The same numbers once more, with the student as a constant.
        fixed = jax.lax.stop_gradient(video)
        composed, logits = compositions(fixed)
        head_terms = {
            "head_cross_entropy": cross_entropy(logits, labels, mask),
            "head_contrast": contrast(fixed, composed) + contrast(sound, composed),
            "head_jsd": jsd(jax.lax.stop_gradient(student.logits), logits, mask, "jeffreys"),
        }
        return video_terms | head_terms, buffers

    def _both_ways(
        self,
        first: Float[Array, "batch dim"],
        second: Float[Array, "batch dim"],
        labels: Int[Array, " batch"],
        mask: Bool[Array, " batch"],
    ) -> Float[Array, ""]:
        first_groups, groups = grouped(first, mask, self.relation_group)
        second_groups, _ = grouped(second, mask, self.relation_group)
        label_groups, _ = grouped(labels, mask, self.relation_group)

        def loss(a: Array, b: Array, y: Array, rows: Array) -> Array:
            return nce(a, b, y, rows, self.temperature) + nce(b, a, y, rows, self.temperature)

        losses = jax.vmap(loss)(first_groups, second_groups, label_groups, groups)
        return mean_over_groups(losses, groups)


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
    """Class-wise noise-contrastive loss of `first`'s rows among `second`'s (yanbeic/CCL, loss).

    p = softmax over the batch of cosine / temperature; rows of the own class (and the own row)
    give -log p, rows of other classes -log(1 - p), each averaged; a class alone gives no second
    part.
    """
    cosine = l2_normalise(first) @ l2_normalise(second).T
    p = jax.nn.softmax(jnp.where(mask, cosine / temperature, -1e30), axis=-1)
    pairs = mask[:, None] & mask
    same = labels[:, None] == labels
    positive = masked_mean(-jnp.log(p + _EPS), pairs & same, axis=1)
    negative = masked_mean(-jnp.log(1 - p + _EPS), pairs & ~same, axis=1)
    return masked_mean(positive + negative, mask)
