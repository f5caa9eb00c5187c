"""Contrast of single clips against banks with one row for every clip of the train split.

What CRD and CMC share (HobbitLong/RepDistiller, crd/; HobbitLong/CMC, NCE/): two linear heads,
two banks addressed by `batch["index"]`, and scores exp(bank_row . v / T) / Z with a Z that the
first batch fixes. They differ in how negatives are drawn.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from sacd_jax.models.encoder import EncoderSpec
from sacd_jax.objectives import clip_bank
from sacd_jax.objectives.losses import l2_normalise, masked_mean
from sacd_jax.objectives.objective import (
    Buffers,
    DataSpec,
    Objective,
    Params,
    Seen,
    Terms,
    linear,
    linear_init,
)
from sacd_jax.registry import Count

BankSharding = Literal["replicated", "rows"]
_ROW_MULTIPLE = 1024
"""The rows of row-sharded banks are filled up to a multiple of this, to fit any mesh."""
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
        negatives: negatives per anchor, at most one fewer than a bank has rows.
        dim: width of the heads and banks.
        temperature: T of the scores.
        momentum: share of the old row that is kept when a row is updated.
        bank_sharding: `replicated` keeps the banks whole on every device, `rows` spreads their rows
            over the mesh, and devices exchange scores (see `clip_bank`). Spread banks are filled up
            with rows that are never drawn; a train split of fewer clips than `negatives` then has
            some more of them.
    """

    negatives: Count = 16384
    dim: Count = 128
    temperature: float = 0.07
    momentum: float = 0.5
    bank_sharding: BankSharding = "replicated"

    by_class: ClassVar[bool] = False
    """Whether `draw` goes by the anchors' classes."""

    @property
    def row_sharded(self) -> tuple[str, ...]:
        """The banks, if their rows are to be spread."""
        return ("student_bank", "teacher_bank") if self._spread else ()

    @property
    def _spread(self) -> bool:
        return self.bank_sharding == "rows"

    @abstractmethod
    def draw(
        self,
        buffers: Buffers,
        index: Int[Array, " batch"],
        stage: Int[Array, " batch"],
        k: int,
        rng: PRNGKeyArray,
    ) -> Draw:
        """Chooses the rows that the anchors (rows `index`, classes `stage`) are scored against."""

    def init(
        self,
        rng: PRNGKeyArray,
        student_spec: EncoderSpec,
        teacher_spec: EncoderSpec,
        data_spec: DataSpec,
    ) -> tuple[Params, Buffers]:
        """Makes two heads and two banks with rows from U(-a, a), a = sqrt(3 / dim)."""
        rngs = jax.random.split(rng, 4)
        rows = data_spec.size
        if self._spread:
            rows += -rows % _ROW_MULTIPLE
        limit = (3 / self.dim) ** 0.5

        def bank(rng: PRNGKeyArray) -> jax.Array:
            return jax.random.uniform(rng, (rows, self.dim), minval=-limit, maxval=limit)

        params = {
            "student_head": linear_init(rngs[0], student_spec.embedding_dim, self.dim),
            "teacher_head": linear_init(rngs[1], teacher_spec.embedding_dim, self.dim),
        }
        buffers = {
            "student_bank": bank(rngs[2]),
            "teacher_bank": bank(rngs[3]),
            "size": jnp.asarray(data_spec.size, jnp.int32),
            # 0: no batch has fixed it yet.
            "student_z": jnp.zeros(()),
            "teacher_z": jnp.zeros(()),
        }
        return params, buffers

    def terms(self, params: Params, buffers: Buffers, seen: Seen) -> tuple[Terms, Buffers]:
        """Loss `contrast`; updates the batch's rows of the banks after scoring."""
        mask = seen.classed if self.by_class else seen.mask
        index = jnp.where(mask, seen.batch["index"], 0)
        stage = jnp.where(mask, seen.batch["stage"], 0)
        vectors = {
            "student": l2_normalise(linear(params["student_head"], seen.student.embedding)),
            "teacher": l2_normalise(linear(params["teacher_head"], seen.teacher.embedding)),
        }
        k = min(self.negatives, buffers["student_bank"].shape[0] - 1)
        draw = self.draw(buffers, index, stage, k, seen.rng)
        loss, gradients, changed = jnp.zeros(()), {}, {}
        for side, other in (("student", "teacher"), ("teacher", "student")):
            # Each side is scored against the other side's bank.
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
            side: self._updated_rows(buffers[f"{side}_bank"], vectors[side], index)
            for side in vectors
        }
        # Taking the gradients above, and this order, lets XLA update the banks in place: if the
        # backward pass still had to read them, it would copy them whole at every step.
        gradients, rows = jax.lax.optimization_barrier((gradients, rows))
        for side, vector in vectors.items():
            loss += jnp.sum((vector - jax.lax.stop_gradient(vector)) * gradients[side])
            bank = buffers[f"{side}_bank"]
            place = _places(index, mask, len(bank))
            changed[f"{side}_bank"] = clip_bank.write(bank, place, rows[side], self._spread)
        return Terms({"contrast": loss}), {**buffers, **changed}

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
        positive, negative = self.scores(anchors, bank, draw)
        positive, negative = jnp.exp(positive), jnp.exp(negative)
        z = fixed_normaliser(z, positive, negative, mask, size)
        divisor = jnp.where(z > 0, z, 1.0)
        return nce(positive / divisor, negative / divisor, draw.valid, mask, size), z

    def scores(
        self, anchors: Float[Array, "batch dim"], bank: Float[Array, "rows dim"], draw: Draw
    ) -> tuple[Float[Array, " batch"], Float[Array, "batch k"]]:
        """Inner products over temperature with the positive and the negatives.

        One matrix product scores all rows, and the drawn ones are picked: that moves far fewer
        bytes than gathering k rows of the bank for every anchor.
        """
        everything = clip_bank.scores(anchors, bank, self._spread) / self.temperature
        positive = jnp.take_along_axis(everything, draw.positive[:, None], axis=1)[:, 0]
        return positive, jnp.take_along_axis(everything, draw.negative, axis=1)

    def _updated_rows(
        self,
        bank: Float[Array, "rows dim"],
        vectors: Float[Array, "batch dim"],
        index: Int[Array, " batch"],
    ) -> Float[Array, "batch dim"]:
        old, vectors = clip_bank.read(bank, index, self._spread), jax.lax.stop_gradient(vectors)
        return l2_normalise(self.momentum * old + (1 - self.momentum) * vectors)


def _places(
    index: Int[Array, " batch"], mask: Bool[Array, " batch"], rows: int
) -> Int[Array, " batch"]:
    """The rows of a bank that a batch is written to; past its end for what is to be left out.

    If a clip is in the batch twice (where one pass ends and the next begins), the last one is
    written: a scatter does not define which one wins.
    """
    later = jnp.triu((index[:, None] == index) & mask, k=1).any(axis=1)
    return jnp.where(mask & ~later, index, rows)


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
    # A first batch without any known stage leaves Z open (0).
    return jnp.where(z > 0, z, first)


def nce(
    positive: Float[Array, " batch"],
    negative: Float[Array, "batch k"],
    valid: Bool[Array, " batch"],
    mask: Bool[Array, " batch"],
    size: Int[Array, ""],
) -> Float[Array, ""]:
    """Noise-contrastive estimation: data against k samples of uniform noise, mean over anchors.

    Args:
        positive: exp(score) / Z of the positives.
        negative: the same of the negatives.
        valid: anchors that have negatives.
        mask: anchors that count.
        size: rows of the data; the probability of a noise sample is 1 / size.
    """
    noise = negative.shape[1] / size
    data = jnp.log(positive / (positive + noise + _EPS))
    others = jnp.sum(jnp.log(noise / (negative + noise + _EPS)), axis=1)
    return -masked_mean(data + jnp.where(valid, others, 0.0), mask)
