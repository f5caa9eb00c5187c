"""Memory bank: a ring buffer of feature vectors and labels, as a pytree (paper IV-C, Eq. 13)."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from sacd_jax.objectives.losses import l2_normalise
from sacd_jax.objectives.rows import ALL_HERE, Rows

EMPTY = -1
"""Label of a slot that holds nothing."""


@struct.dataclass
class MemoryBank:
    """The rows that were pushed last.

    Attributes:
        features: the rows, float32.
        labels: their classes; `EMPTY` in slots that were never filled.
        cursor: slot of the next row, int32.
    """

    features: Float[Array, "size dim"]
    labels: Int[Array, " size"]
    cursor: Int[Array, ""]


def empty(size: int, dim: int) -> MemoryBank:
    """A bank of `size` empty slots for vectors of width `dim`."""
    return MemoryBank(
        features=jnp.zeros((size, dim), jnp.float32),
        labels=jnp.full((size,), EMPTY, jnp.int32),
        cursor=jnp.zeros((), jnp.int32),
    )


def push(
    bank: MemoryBank,
    features: Float[Array, "batch dim"],
    labels: Int[Array, " batch"],
    rows: Rows = ALL_HERE,
) -> MemoryBank:
    """Stores a batch in its order; the bank keeps the newest `size` rows for any batch size.

    Rows with a label below 0 (padding, unknown stage) take no slot: they get an address past the
    end, which the scatter drops. So shapes stay static, and clips without a stage do not displace
    clips that can be negatives. Devices exchange what is written, at most a bank, for any batch.

    Args:
        bank: to store them in.
        features, labels: the rows that are here.
        rows: where the others are.
    """
    size = bank.labels.shape[0]
    known = labels >= 0
    count = rows.sum(known.sum())
    rank = rows.mine(jnp.cumsum(rows.gather(known)) - 1)
    stored = known & (rank >= count - size)
    slot = jnp.where(stored, (bank.cursor + rank) % size, size)
    written = (
        jnp.zeros_like(bank.features)
        .at[slot]
        .set(jax.lax.stop_gradient(features).astype(jnp.float32), mode="drop")
    )
    # One more than the label, so that 0 is a slot that is left as it is.
    numbers = jnp.zeros_like(bank.labels).at[slot].set(labels.astype(jnp.int32) + 1, mode="drop")
    written, numbers = rows.sum((written, numbers))
    return MemoryBank(
        features=jnp.where((numbers > 0)[:, None], written, bank.features),
        labels=jnp.where(numbers > 0, numbers - 1, bank.labels),
        cursor=((bank.cursor + count) % size).astype(jnp.int32),
    )


def negatives(
    bank: MemoryBank,
    anchors: Float[Array, "batch dim"],
    anchor_labels: Int[Array, " batch"],
    extra: tuple[Float[Array, "batch extra"], Int[Array, " extra"]] | None = None,
) -> tuple[Float[Array, "batch rows"], Bool[Array, "batch rows"], Int[Array, " rows"]]:
    """Cosines of anchors with all candidates, which of these are of another class, their classes.

    Args:
        bank: candidates, without gradient.
        anchors: vectors to find negatives for.
        anchor_labels: their classes; an anchor with a label below 0 has no negatives.
        extra: more candidates with gradient, such as the batch: their cosines with each anchor,
            and their labels (below 0: not a candidate).
    """
    candidates = l2_normalise(jax.lax.stop_gradient(bank.features))
    cosine, labels = l2_normalise(anchors) @ candidates.T, bank.labels
    if extra is not None:
        cosine = jnp.concatenate([cosine, extra[0]], axis=1)
        labels = jnp.concatenate([labels, extra[1].astype(jnp.int32)])
    negative = (labels >= 0) & (labels != anchor_labels[:, None]) & (anchor_labels[:, None] >= 0)
    return cosine, negative, labels


def by_class(
    negative: Bool[Array, "batch rows"], labels: Int[Array, " rows"], num_classes: int | None
) -> list[Bool[Array, "batch rows"]]:
    """The lists that negatives are chosen from: one for each class, or one (None)."""
    if num_classes is None:
        return [negative]
    return [negative & (labels == label) for label in range(num_classes)]


def hardest(
    bank: MemoryBank,
    anchors: Float[Array, "batch dim"],
    anchor_labels: Int[Array, " batch"],
    k: int,
    extra: tuple[Float[Array, "batch extra"], Int[Array, " extra"]] | None = None,
    num_classes: int | None = None,
) -> tuple[Float[Array, "batch chosen"], Bool[Array, "batch chosen"]]:
    """The k rows of other classes that are most similar (cosine) to each anchor.

    Args:
        bank, anchors, anchor_labels, extra: see `negatives`.
        k: number of negatives; with fewer candidates, fewer columns are returned.
        num_classes: choose k rows of each class from 0 to this; None chooses k of all together.

    Returns:
        Cosines, hardest first (class after class, where they are chosen so), and which of them are
        true negatives.
    """
    cosine, negative, labels = negatives(bank, anchors, anchor_labels, extra)
    cosines, valid = [], []
    for eligible in by_class(negative, labels, num_classes):
        # Ranked without gradient, then taken from the matrix that has one.
        ranked = jax.lax.stop_gradient(jnp.where(eligible, cosine, -jnp.inf))
        _, chosen = jax.lax.top_k(ranked, min(k, labels.shape[0]))
        cosines.append(jnp.take_along_axis(cosine, chosen, axis=1))
        valid.append(jnp.take_along_axis(eligible, chosen, axis=1))
    return jnp.concatenate(cosines, axis=1), jnp.concatenate(valid, axis=1)


def hardest_part(
    bank: MemoryBank,
    anchors: Float[Array, "batch dim"],
    anchor_labels: Int[Array, " batch"],
    most: int | float,
    extra: tuple[Float[Array, "batch extra"], Int[Array, " extra"]] | None = None,
    num_classes: int | None = None,
    *,
    all_the_more: Float[Array, ""] | float,
    within: tuple[Float[Array, " batch"], Float[Array, " batch"]] | None = None,
) -> tuple[Float[Array, "batch rows"], Bool[Array, "batch rows"]]:
    """The hardest part of each anchor's negatives, which may be of another size for each.

    Args:
        bank, anchors, anchor_labels, extra, num_classes: see `hardest`.
        most: how many are taken; a float is a share of those that there are, rounded up.
        all_the_more: 1 takes all instead, 0 no more than `most`, 0.5 half of what is between.
        within: cosines, above the first and below the second, outside of which nothing counts.

    Returns:
        Cosines with every candidate and which of them are chosen; once for each class.
    """
    cosine, negative, labels = negatives(bank, anchors, anchor_labels, extra)
    if within is not None:
        low, high = (bound[:, None] for bound in within)
        negative &= (cosine > low) & (cosine < high)
    cosines, chosen = [], []
    for eligible in by_class(negative, labels, num_classes):
        ranked = jax.lax.stop_gradient(jnp.where(eligible, cosine, -jnp.inf))
        rank = jnp.argsort(jnp.argsort(-ranked, axis=1), axis=1)
        count = eligible.sum(axis=1, keepdims=True).astype(jnp.float32)
        # A share of 0.1 of 10 is 1, not 2, though 0.1 is more than a tenth in binary.
        wanted = jnp.ceil(most * count - 1e-4) if isinstance(most, float) else float(most)
        wanted = jnp.minimum(wanted, count)
        wanted = jnp.ceil(wanted + all_the_more * (count - wanted) - 1e-4)
        cosines.append(cosine)
        chosen.append(eligible & (rank < wanted))
    return jnp.concatenate(cosines, axis=1), jnp.concatenate(chosen, axis=1)
