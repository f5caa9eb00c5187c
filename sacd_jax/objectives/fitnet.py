"""FitNet: the student's vector, through a regressor, imitates the teacher's (Romero et al. 2015).

Reference: HobbitLong/RepDistiller, distiller_zoo/FitNet.py; on vectors instead of feature maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
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

Regressor = Literal["auto", "linear", "linear_bn_relu"]


@dataclass(frozen=True)
class FitNet(Objective):
    """Options of FitNet.

    Attributes:
        weights: RepDistiller's beta for `hint`, the mean squared error.
        layer: "embedding", or the number of a stage (0 the shallowest, -1 the deepest).
        regressor: `linear` is a linear layer; `auto` is none where the widths agree, else a linear
            layer; `linear_bn_relu` is RepDistiller's regressor on the pooled vector. It always
            normalises by the batch's statistics, because it is only used in training.
    """

    weights: Mapping[str, float] = default_weights(hint=100.0)
    layer: int | Literal["embedding"] = "embedding"
    regressor: Regressor = "auto"

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """See `Objective.init`.

        Raises:
            UserError: an encoder has no such stage.
        """
        student, teacher = self._width(student_spec), self._width(teacher_spec)
        if self.regressor == "auto" and student == teacher:
            return {}, {}
        params = linear_init(rng, student, teacher)
        if self.regressor == "linear_bn_relu":
            params |= {"scale": jnp.ones(teacher), "shift": jnp.zeros(teacher)}
        return {"regressor": params}, {}

    def _width(self, spec: EncoderSpec) -> int:
        if self.layer == "embedding":
            return spec.embedding_dim
        try:
            return spec.stage_dims[self.layer]
        except IndexError:
            raise UserError(
                f"objective option layer is {self.layer!r}, expected embedding or the number of "
                f"one of the encoder's {len(spec.stage_dims)} stages"
            ) from None

    def _vector(self, output: EncoderOutput) -> Float[Array, "batch dim"]:
        return output.embedding if self.layer == "embedding" else output.stages[self.layer]

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Loss `hint`."""
        student, teacher = self._vector(seen.student), self._vector(seen.teacher)
        if "regressor" in params:
            student = linear(params["regressor"], student)
            if self.regressor == "linear_bn_relu":
                student = jax.nn.relu(_batch_norm(params["regressor"], student, seen.mask))
        return Terms({"hint": mean_squared_error(student, teacher, seen.mask)}), buffers


def mean_squared_error(
    student: Float[Array, "batch dim"],
    teacher: Float[Array, "batch dim"],
    mask: Bool[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """Mean over all elements of the squared difference."""
    difference = student.astype(jnp.float32) - teacher.astype(jnp.float32)
    return masked_mean(jnp.mean(difference**2, axis=-1), mask)


def _batch_norm(
    params: Mapping[str, Array], vectors: Float[Array, "batch dim"], mask: Bool[Array, " batch"]
) -> Float[Array, "batch dim"]:
    weight = mask[:, None] / jnp.maximum(mask.sum(), 1)
    mean = jnp.sum(vectors * weight, axis=0)
    variance = jnp.sum((vectors - mean) ** 2 * weight, axis=0)
    return (vectors - mean) * jax.lax.rsqrt(variance + 1e-5) * params["scale"] + params["shift"]
