"""CRD: contrastive representation distillation (Tian et al. 2020).

Reference: HobbitLong/RepDistiller, crd/ and dataset/cifar100.py (the draw).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.objectives.instance_contrast import Draw, InstanceContrast
from sacd_jax.objectives.objective import Buffers, DataSpec, Params, default_weights

Positives = Literal["exact", "relax"]


@dataclass(frozen=True)
class Crd(InstanceContrast):
    """Options of CRD, in addition to those of `InstanceContrast`.

    Attributes:
        positives: `exact` scores an anchor with its own row, `relax` with a random row of its
            class. Negatives are of other classes.
    """

    weights: Mapping[str, float] = default_weights(contrast=0.8)
    positives: Positives = "exact"

    by_class: ClassVar[bool] = True

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """As `InstanceContrast.init`; also carries each row's class and the size of each class."""
        params, buffers = super().init(rng, student_spec, teacher_spec, data_spec)
        labels = np.asarray(data_spec.labels, np.int32)
        sizes = np.bincount(labels[labels >= 0], minlength=data_spec.num_classes)
        classes = {"labels": jnp.asarray(labels), "class_sizes": jnp.asarray(sizes, jnp.int32)}
        return params, {**buffers, **classes}

    def draw(self, buffers: Buffers, index: Array, stage: Array, k: int, rng: PRNGKeyArray) -> Draw:
        """Negatives of other classes; see `other_classes`."""
        rng_negative, rng_positive = jax.random.split(rng)
        labels = buffers["labels"]
        negative, valid = other_classes(rng_negative, labels, buffers["class_sizes"], stage, k)
        positive = index
        if self.positives == "relax":
            own = same_class(rng_positive, labels, stage)
            positive = jnp.where(own >= 0, own, index)
        return Draw(positive, negative, valid)


def other_classes(
    rng: PRNGKeyArray,
    labels: Int[Array, " rows"],
    class_sizes: Int[Array, " classes"],
    stage: Int[Array, " batch"],
    k: int,
) -> tuple[Int[Array, "batch k"], Bool[Array, " batch"]]:
    """Draws k rows of other classes for each anchor; rows without a class are never drawn.

    The draw is without replacement unless k exceeds the number of such rows. All anchors share one
    shuffle of the rows: an anchor takes k consecutive rows of other classes in the shuffled order,
    from a random position, wrapping around at the end. For each anchor that is a uniform draw
    without replacement, and two anchors share as many rows, on average, as in separate draws.

    Args:
        rng: random key.
        labels: class of each row, -1 unknown.
        class_sizes: number of rows of each class.
        stage: the anchors' classes, each below the number of classes.
        k: rows per anchor.

    Returns:
        The rows, and whether there is any row to draw for an anchor.
    """
    rng_shuffle, rng_start, rng_replace = jax.random.split(rng, 3)
    rows = labels.shape[0]
    shuffled = jax.random.permutation(rng_shuffle, rows).astype(jnp.int32)
    shuffled_labels = labels[shuffled]

    def others_first(own_class: Array) -> Array:
        other = (shuffled_labels != own_class) & (shuffled_labels >= 0)
        place = jnp.where(other, jnp.cumsum(other) - 1, rows)
        return jnp.zeros(rows, jnp.int32).at[place].set(shuffled, mode="drop")

    tables = jax.vmap(others_first)(jnp.arange(len(class_sizes)))
    count = (class_sizes.sum() - class_sizes)[stage][:, None]
    bound = jnp.maximum(count, 1)
    start = jax.random.randint(rng_start, (len(stage), 1), 0, bound)
    in_a_row = (start + jnp.arange(k)) % bound
    anew = jax.random.randint(rng_replace, (len(stage), k), 0, bound)
    return tables[stage[:, None], jnp.where(k <= count, in_a_row, anew)], count[:, 0] > 0


def same_class(
    rng: PRNGKeyArray, labels: Int[Array, " rows"], stage: Int[Array, " batch"]
) -> Int[Array, " batch"]:
    """A random row of each anchor's class, or -1 if there is none."""
    order = jnp.argsort(labels)
    first = jnp.searchsorted(labels[order], stage, side="left")
    count = jnp.searchsorted(labels[order], stage, side="right") - first
    place = first + jax.random.randint(rng, stage.shape, 0, jnp.maximum(count, 1))
    return jnp.where(count > 0, order[place % len(labels)], -1)
