"""What every way to distil is: heads that train, buffers carried along, named loss terms."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jaxtyping import Array, Bool, Float

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec


@struct.dataclass
class Keys:
    """What the momentum encoders say of a batch; constants.

    Attributes:
        student: the average of the student's weights on its clips.
        teacher: that of a teacher that trains; a frozen teacher's own output.
    """

    student: EncoderOutput
    teacher: EncoderOutput


Params = Mapping[str, Any]
Buffers = Mapping[str, Any]
Terms = dict[str, jax.Array]


@dataclass(frozen=True, eq=False)
class DataSpec:
    """What an objective may know of the data before training.

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
        weights: loss term -> its factor in the total. The student's cross-entropy is the task's,
            with weight 1. A term of weight 0 is not computed.
        needs_keys: `terms` reads the momentum encoders' outputs.
        needs_index: `terms` reads `batch["index"]`.
        row_sharded: names of buffers whose rows may be spread over the mesh; the others are
            replicated.
    """

    weights: Mapping[str, float]
    needs_keys: bool = False
    needs_index: bool = False
    row_sharded: tuple[str, ...] = ()

    @abstractmethod
    def init(
        self,
        rng: jax.Array,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes the heads (trained with the student) and the buffers (banks, normalisers, ...).

        Raises:
            UserError: the method cannot work with these sizes.
        """

    @abstractmethod
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
        """Loss terms of a batch and the buffers for the next step.

        Entries named in `weights` are losses; the others are only logged. Rows without a stage
        (`stage` < 0) and padding (`mask` False) take no part. The task hands over the output of
        a frozen teacher as constants; nothing here stops the gradient of a teacher that trains.

        Args:
            step: number of updates done, int32 scalar.
        """

    def optimizer(self, base: optax.GradientTransformation) -> optax.GradientTransformation:
        """The optimizer of the heads; `base` is the student's."""
        return base


def participating(batch: Batch) -> Bool[Array, " batch"]:
    """Rows that take part in a loss: not padding, and with a known stage."""
    return batch["mask"] & (batch["stage"] >= 0)


def linear_init(rng: jax.Array, inputs: int, outputs: int) -> dict[str, jax.Array]:
    """Parameters of `linear`, with PyTorch's default start: U(-1/sqrt(inputs), 1/sqrt(inputs))."""
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


def project_teacher(params: Params, embedding: Float[Array, "*batch dim"]) -> Array:
    """The teacher's embedding at the student's width: through `params["projection"]` if there is.

    An encoder without a bottleneck of the student's width gets this trainable linear layer
    (`projection_init`); the others pass unchanged.
    """
    if "projection" not in params:
        return embedding.astype(jnp.float32)
    return linear(params["projection"], embedding)


def projection_init(
    rng: jax.Array, student_spec: EncoderSpec, teacher_spec: EncoderSpec
) -> dict[str, dict[str, jax.Array]]:
    """Parameters for `project_teacher`: none where the widths agree."""
    if teacher_spec.embedding_dim == student_spec.embedding_dim:
        return {}
    return {"projection": linear_init(rng, teacher_spec.embedding_dim, student_spec.embedding_dim)}


def check_choice(option: str, value: Any, choices: Any) -> None:
    """Refuses a value that is not one of a `Literal`'s.

    Raises:
        UserError: names the option, the value and the choices.
    """
    if value not in get_args(choices):
        expected = " | ".join(map(str, get_args(choices)))
        raise UserError(f"objective option {option} is {value!r}, expected {expected}")


def check_group(option: str, value: int | str) -> None:
    """Refuses a group size that is neither a positive number nor "global".

    Raises:
        UserError: names the option and the value.
    """
    if value != "global" and not (isinstance(value, int) and value > 0):
        raise UserError(f'objective option {option} is {value!r}, expected clips or "global"')
