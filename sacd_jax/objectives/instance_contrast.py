"""Contrast of single instances against banks with one row for every clip of the train split.

What CRD and CMC share (HobbitLong/RepDistiller, crd/; HobbitLong/CMC, NCE/): two linear heads,
two banks addressed by `index`, scores exp(bank_row . v / T) / Z whose Z is fixed by the first
batch. They differ in how negatives are drawn.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from sacd_jax.models.encoder import Batch, EncoderOutput, EncoderSpec
from sacd_jax.objectives.losses import l2_normalise, masked_mean
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

BankSharding = Literal["replicated", "rows"]
_ROW_MULTIPLE = 1024
"""Row-sharded banks are filled up to this, to be divisible by the devices of any mesh."""
_EPS = 1e-7


@dataclass(frozen=True)
class Draw:
    """Rows of the banks that the anchors of a batch are scored against.

    Attributes:
        positive: the anchor's positive row, int32 [batch].
        negative: its negatives, int32 [batch, k].
        valid: whether there are negatives at all, bool [batch].
    """

    positive: Int[Array, " batch"]
    negative: Int[Array, "batch k"]
    valid: Bool[Array, " batch"]


@dataclass(frozen=True)
class InstanceContrast(Objective):
    """Options that CRD and CMC share.

    Attributes:
        negatives: rows an anchor is told from; at most one less than the split has.
        dim: width of the heads and banks.
        temperature: T.
        momentum: part of the old row that stays when a row is renewed.
        bank_sharding: banks whole on every device, or their rows spread over the mesh.
    """

    negatives: int = 16384
    dim: int = 128
    temperature: float = 0.07
    momentum: float = 0.5
    bank_sharding: BankSharding = "replicated"

    def __post_init__(self) -> None:
        check_choice("bank_sharding", self.bank_sharding, BankSharding)

    @property
    def needs_index(self) -> bool:
        """Banks are addressed by the clip's row in the split."""
        return True

    @property
    def row_sharded(self) -> tuple[str, ...]:
        """The banks, where they are to be spread."""
        return ("student_bank", "teacher_bank") if self.bank_sharding == "rows" else ()

    @abstractmethod
    def draw(self, buffers: Buffers, index: Array, stage: Array, k: int, rng: jax.Array) -> Draw:
        """Chooses the rows that anchors (their rows `index`, classes `stage`) are scored with."""

    def init(
        self,
        rng: jax.Array,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes two heads and two banks with rows from U(-a, a), a = sqrt(3 / dim)."""
        rngs = jax.random.split(rng, 4)
        rows = data_spec.size
        if self.bank_sharding == "rows":
            rows += -rows % _ROW_MULTIPLE
        limit = (3 / self.dim) ** 0.5

        def bank(rng: jax.Array) -> jax.Array:
            return jax.random.uniform(rng, (rows, self.dim), minval=-limit, maxval=limit)

        params = {
            "student_head": linear_init(rngs[0], student_spec.embedding_dim, self.dim),
            "teacher_head": linear_init(rngs[1], teacher_spec.embedding_dim, self.dim),
        }
        buffers = {
            "student_bank": bank(rngs[2]),
            "teacher_bank": bank(rngs[3]),
            "size": jnp.asarray(data_spec.size, jnp.int32),
            # 0: not fixed yet.
            "student_z": jnp.zeros(()),
            "teacher_z": jnp.zeros(()),
        }
        return params, buffers

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
        """Term `contrast`; renews the banks' rows of the batch after scoring."""
        mask = participating(batch)
        index = jnp.where(mask, batch["index"], 0)
        stage = jnp.where(mask, batch["stage"], 0)
        vectors = {
            "student": l2_normalise(linear(params["student_head"], student.embedding)),
            "teacher": l2_normalise(linear(params["teacher_head"], teacher.embedding)),
        }
        k = min(self.negatives, buffers["student_bank"].shape[0] - 1)
        draw = self.draw(buffers, index, stage, k, rng)
        loss, gradients, changed = jnp.zeros(()), {}, {}
        for side, other in (("student", "teacher"), ("teacher", "student")):
            # Each side meets the other side's bank.
            direction = jax.value_and_grad(self.direction, has_aux=True)
            (value, changed[f"{side}_z"]), gradients[side] = direction(
                jax.lax.stop_gradient(vectors[side]),
                jax.lax.stop_gradient(buffers[f"{other}_bank"]),
                draw,
                mask,
                buffers[f"{side}_z"],
                buffers["size"],
            )
            loss += value
        rows = {
            side: self._renewed_rows(buffers[f"{side}_bank"], vectors[side], index)
            for side in vectors
        }
        # The gradients above and this order let XLA write into the banks: with the backward pass
        # still to read them, it would copy them whole at every step.
        gradients, rows = jax.lax.optimization_barrier((gradients, rows))
        for side, vector in vectors.items():
            loss += jnp.sum((vector - jax.lax.stop_gradient(vector)) * gradients[side])
            bank = buffers[f"{side}_bank"]
            place = _places(index, mask, len(bank))
            changed[f"{side}_bank"] = bank.at[place].set(rows[side], mode="drop")
        return {"contrast": loss}, {**buffers, **changed}

    def direction(
        self,
        anchors: Float[Array, "batch dim"],
        bank: Float[Array, "rows dim"],
        draw: Draw,
        mask: Bool[Array, " batch"],
        z: Float[Array, ""],
        size: Int[Array, ""],
    ) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Loss of one side's anchors against the other side's bank, and Z."""
        positive, negative = scores(anchors, bank, draw, self.temperature)
        positive, negative = jnp.exp(positive), jnp.exp(negative)
        z = fixed_normaliser(z, positive, negative, mask, size)
        divisor = jnp.where(z > 0, z, 1.0)
        return nce(positive / divisor, negative / divisor, draw.valid, mask, size), z

    def _renewed_rows(
        self,
        bank: Float[Array, "rows dim"],
        vectors: Float[Array, "batch dim"],
        index: Int[Array, " batch"],
    ) -> Float[Array, "batch dim"]:
        vectors = jax.lax.stop_gradient(vectors)
        return l2_normalise(self.momentum * bank[index] + (1 - self.momentum) * vectors)


def _places(
    index: Int[Array, " batch"], mask: Bool[Array, " batch"], rows: int
) -> Int[Array, " batch"]:
    """Where a batch is written into a bank: past its end for what is to be left out.

    Of a clip that is in the batch twice (where one pass ends and the next begins) the last one
    counts; the scatter would not say which.
    """
    later = jnp.triu((index[:, None] == index) & mask, k=1).any(axis=1)
    return jnp.where(mask & ~later, index, rows)


def scores(
    anchors: Float[Array, "batch dim"],
    bank: Float[Array, "rows dim"],
    draw: Draw,
    temperature: float,
) -> tuple[Float[Array, " batch"], Float[Array, "batch k"]]:
    """Inner products over temperature with the positive and the negatives.

    All rows are scored in one matrix product and the drawn ones picked: far fewer bytes move than
    if k rows of the bank were gathered for every anchor.
    """
    everything = anchors @ bank.T / temperature
    positive = jnp.take_along_axis(everything, draw.positive[:, None], axis=1)[:, 0]
    return positive, jnp.take_along_axis(everything, draw.negative, axis=1)


def fixed_normaliser(
    z: Float[Array, ""],
    positive: Float[Array, " batch"],
    negative: Float[Array, "batch k"],
    mask: Bool[Array, " batch"],
    size: Int[Array, ""],
) -> Float[Array, ""]:
    """Z: the first batch's mean exponential score times the data's size; constant from then on."""
    per_anchor = (positive + negative.sum(axis=1)) / (negative.shape[1] + 1)
    first = jax.lax.stop_gradient(masked_mean(per_anchor, mask)) * size
    # A first batch without a single stage leaves it open (0).
    return jnp.where(z > 0, z, first)


def nce(
    positive: Float[Array, " batch"],
    negative: Float[Array, "batch k"],
    valid: Bool[Array, " batch"],
    mask: Bool[Array, " batch"],
    size: Int[Array, ""],
) -> Float[Array, ""]:
    """Noise-contrastive estimation: data against k times uniform noise, mean over anchors.

    Args:
        positive: exp(score) / Z of the positives.
        negative: the same of the negatives.
        valid: anchors whose negatives exist.
        size: rows of the data; the noise's probability is 1 / size.
    """
    noise = negative.shape[1] / size
    data = jnp.log(positive / (positive + noise + _EPS))
    others = jnp.sum(jnp.log(noise / (negative + noise + _EPS)), axis=1)
    return -masked_mean(data + jnp.where(valid, others, 0.0), mask)
