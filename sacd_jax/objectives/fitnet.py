"""FitNet: the student's vector, through a regressor, shall be the teacher's (Romero et al. 2015).

Reference: HobbitLong/RepDistiller, distiller_zoo/FitNet.py; on vectors instead of feature maps.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from input_pipeline.errors import UserError
from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec
from sacd_jax.objectives.losses import masked_mean
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Keys,
    Objective,
    Params,
    Terms,
    check_choice,
    linear,
    linear_init,
    participating,
)

Regressor = Literal["auto", "linear", "linear_bn_relu"]


@dataclass(frozen=True)
class FitNet(Objective):
    """Options of FitNet.

    Attributes:
        weights: RepDistiller's beta for the mean squared error.
        layer: "embedding", or the number of a stage (0 the shallowest, -1 the deepest).
        regressor: `linear` is Linear; `auto` is nothing where the widths agree, else Linear;
            `linear_bn_relu` is RepDistiller's regressor on the pooled vector. Its normalisation
            always takes the batch's statistics: the regressor is never used outside training.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"hint": 100.0}, hash=False)
    layer: int | Literal["embedding"] = "embedding"
    regressor: Regressor = "auto"

    def __post_init__(self) -> None:
        check_choice("regressor", self.regressor, Regressor)

    def init(
        self,
        rng: jax.Array,
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
        except (IndexError, TypeError):
            raise UserError(
                f"objective option layer is {self.layer!r}, expected embedding or the number of "
                f"one of the encoder's {len(spec.stage_dims)} stages"
            ) from None

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
        """Term `hint`."""
        mask = participating(batch)
        vectors, targets = (
            output.embedding if self.layer == "embedding" else output.stages[self.layer]
            for output in (student, teacher)
        )
        if "regressor" in params:
            vectors = linear(params["regressor"], vectors)
            if self.regressor == "linear_bn_relu":
                vectors = jax.nn.relu(_batch_norm(params["regressor"], vectors, mask))
        return {"hint": mean_squared_error(vectors, targets, mask)}, buffers


def mean_squared_error(
    vectors: Float[Array, "batch dim"],
    targets: Float[Array, "batch dim"],
    mask: Bool[Array, " batch"] | None = None,
) -> Float[Array, ""]:
    """Mean over all elements of the squared difference."""
    difference = vectors.astype(jnp.float32) - targets.astype(jnp.float32)
    return masked_mean(jnp.mean(difference**2, axis=-1), mask)


def _batch_norm(
    params: Mapping[str, Array], vectors: Float[Array, "batch dim"], mask: Bool[Array, " batch"]
) -> Float[Array, "batch dim"]:
    weight = mask[:, None] / jnp.maximum(mask.sum(), 1)
    mean = jnp.sum(vectors * weight, axis=0)
    variance = jnp.sum((vectors - mean) ** 2 * weight, axis=0)
    return (vectors - mean) * jax.lax.rsqrt(variance + 1e-5) * params["scale"] + params["shift"]
