"""What every distillation method is: heads to train, buffers to carry along, named losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec

Params = Mapping[str, Any]
Buffers = Mapping[str, Any]


@struct.dataclass
class Keys:
    """Outputs of the momentum encoders for a batch; constants.

    Attributes:
        student: output of the average of the student's weights.
        teacher: the same of a teacher that trains; a frozen teacher's own output.
        fresh: whether `student` was computed in this step, and is not zeros; None: in every step.
    """

    student: EncoderOutput
    teacher: EncoderOutput
    fresh: Bool[Array, ""] | None = None


@struct.dataclass
class Seen:
    """What a method sees of one step.

    Attributes:
        student: the student's output.
        teacher: the teacher's output; a constant where the teacher is frozen.
        keys: outputs of the momentum encoders; None unless the method has `needs_keys`.
        batch: `stage` int32 [batch] (-1 unknown; of an unlabelled clip it may be the teacher's
            guess), `mask` bool [batch] (False for padding), `index` int32 [batch] (row in the train
            split).
        mask: clips that count, see `participating`; in runs that train on unlabelled clips, those
            too, and what goes by class asks `classed`.
        rng: random key of the step.
        step: updates done so far.
    """

    student: EncoderOutput
    teacher: EncoderOutput
    keys: Keys | None
    batch: Batch
    mask: Bool[Array, " batch"]
    rng: PRNGKeyArray
    step: Int[Array, ""]

    @property
    def classed(self) -> Bool[Array, " batch"]:
        """Clips that count and have a class."""
        return self.mask & (self.batch["stage"] >= 0)


@struct.dataclass
class Terms:
    """Scalars of one step.

    Attributes:
        losses: what is weighted and added; the names are those of `Objective.weights`.
        logged: what is only logged.
    """

    losses: dict[str, Float[Array, ""]]
    logged: dict[str, Float[Array, ""]] = struct.field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class DataSpec:
    """What a method may know of the data before training.

    Attributes:
        size: rows of the train split; `batch["index"]` points into them.
        labels: class of each row, int32 [size], -1 unknown.
        num_classes: number of classes.
        batch_size: clips in a step, over all devices and processes.
        steps_per_pass: steps in one pass over the split.
    """

    size: int
    labels: np.ndarray
    num_classes: int
    batch_size: int
    steps_per_pass: int


class Objective(ABC):
    """Base of a distillation method: a frozen dataclass of options, and pure functions of arrays.

    Attributes:
        weights: name of a loss -> its factor in the total; `default_weights` makes the field. The
            student's cross-entropy is the task's, with factor 1. A loss of weight 0 is neither
            computed nor logged.
        needs_keys: whether `terms` reads the momentum encoders' outputs.
        clips_together: a device's share of the batch must be a multiple of this many clips.
        measurable: whether `terms` reads nothing of a clip but embedding, logits and class, so that
            its losses have values on clips that are not trained on.
        row_sharded: names of the buffers whose rows may be spread over the mesh; the others are
            replicated.
    """

    weights: Mapping[str, float]
    needs_keys: bool = False
    clips_together: int = 1
    measurable: bool = False
    row_sharded: tuple[str, ...] = ()

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes the heads (trained with the student) and the buffers (banks, normalisers, ...).

        A method without either need not define it.

        Raises:
            UserError: the method cannot work with these sizes.
        """
        del rng, student_spec, teacher_spec, data_spec
        return {}, {}

    @abstractmethod
    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Losses of a batch, and the buffers for the next step.

        Clips outside `seen.mask` add nothing. Nothing here stops the gradient of the teacher's
        output: in some experiments the teacher trains.
        """

    def ranks(self, params: Params, buffers: Buffers, seen: Seen) -> dict[str, Float[Array, ""]]:
        """What its terms know of clips that are not trained on (`knowledge`), for the log.

        A method that says nothing need not define it.
        """
        del params, buffers, seen
        return {}

    def optimizer(self, base: optax.GradientTransformation) -> optax.GradientTransformation:
        """The optimizer of the heads; `base` is the student's."""
        return base


def default_weights(**weights: float) -> Any:
    """The field `weights` of a method: name of a loss -> its default factor."""
    return field(default_factory=lambda: dict(weights), hash=False)


def participating(batch: Batch) -> Bool[Array, " batch"]:
    """Clips that count in losses and metrics: not padding, and of a known stage."""
    return batch["mask"] & (batch["stage"] >= 0)


def linear_init(rng: PRNGKeyArray, inputs: int, outputs: int) -> dict[str, jax.Array]:
    """Parameters of `linear`, drawn as PyTorch does: U(-1/sqrt(inputs), 1/sqrt(inputs))."""
    limit = inputs**-0.5
    kernel, bias = jax.random.split(rng)
    return {
        "kernel": jax.random.uniform(kernel, (inputs, outputs), minval=-limit, maxval=limit),
        "bias": jax.random.uniform(bias, (outputs,), minval=-limit, maxval=limit),
    }


def linear(
    params: Mapping[str, jax.Array], inputs: Float[Array, "*batch inputs"]
) -> Float[Array, "*batch outputs"]:
    """inputs @ kernel + bias, in float32."""
    return inputs.astype(jnp.float32) @ params["kernel"] + params["bias"]


def projection_init(
    rng: PRNGKeyArray, student_spec: EncoderSpec, teacher_spec: EncoderSpec
) -> dict[str, dict[str, jax.Array]]:
    """Parameters of `project_teacher`: none where the widths agree."""
    if teacher_spec.embedding_dim == student_spec.embedding_dim:
        return {}
    return {"projection": linear_init(rng, teacher_spec.embedding_dim, student_spec.embedding_dim)}


def project_teacher(
    params: Params, embedding: Float[Array, "*batch teacher_dim"]
) -> Float[Array, "*batch student_dim"]:
    """The teacher's embedding at the student's width, in float32.

    A teacher without a bottleneck of the student's width goes through the trainable layer
    `params["projection"]`; any other passes unchanged.
    """
    if "projection" not in params:
        return embedding.astype(jnp.float32)
    return linear(params["projection"], embedding)
