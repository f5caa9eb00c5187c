"""Memory bank: a ring buffer of feature vectors and labels, as a pytree (paper IV-C, Eq. 13)."""

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int

from sacd_jax.objectives.losses import l2_normalise

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
    bank: MemoryBank, features: Float[Array, "batch dim"], labels: Int[Array, " batch"]
) -> MemoryBank:
    """Stores a batch in its order; the bank keeps the newest `size` rows for any batch size.

    Rows with a label below 0 (padding, unknown stage) take no slot: they get an address past the
    end, which the scatter drops. So shapes stay static, and clips without a stage do not displace
    clips that can be negatives.
    """
    size = bank.labels.shape[0]
    known = labels >= 0
    rank = jnp.cumsum(known) - 1
    count = known.sum()
    stored = known & (rank >= count - size)
    slot = jnp.where(stored, (bank.cursor + rank) % size, size)
    return MemoryBank(
        features=bank.features.at[slot].set(
            jax.lax.stop_gradient(features).astype(jnp.float32), mode="drop"
        ),
        labels=bank.labels.at[slot].set(labels.astype(jnp.int32), mode="drop"),
        cursor=((bank.cursor + count) % size).astype(jnp.int32),
    )


def hardest(
    bank: MemoryBank,
    anchors: Float[Array, "batch dim"],
    anchor_labels: Int[Array, " batch"],
    k: int,
    extra: tuple[Float[Array, "extra dim"], Int[Array, " extra"]] | None = None,
    num_classes: int | None = None,
) -> tuple[Float[Array, "batch chosen"], Bool[Array, "batch chosen"]]:
    """The k rows of other classes that are most similar (cosine) to each anchor.

    Args:
        bank: candidates, without gradient.
        anchors: vectors to find negatives for.
        anchor_labels: their classes; an anchor with a label below 0 has no negatives.
        k: number of negatives; with fewer candidates, fewer columns are returned.
        extra: more candidates with gradient, such as the batch, and their labels (below 0: not a
            candidate).
        num_classes: choose k rows of each class from 0 to this; None chooses k of all together.

    Returns:
        Cosines, hardest first (class after class, where they are chosen so), and which of them are
        true negatives.
    """
    candidates = l2_normalise(jax.lax.stop_gradient(bank.features))
    labels = bank.labels
    if extra is not None:
        candidates = jnp.concatenate([candidates, l2_normalise(extra[0])])
        labels = jnp.concatenate([labels, extra[1].astype(jnp.int32)])
    cosine = l2_normalise(anchors) @ candidates.T
    negative = (labels >= 0) & (labels != anchor_labels[:, None]) & (anchor_labels[:, None] >= 0)
    lists = [negative]
    if num_classes is not None:
        lists = [negative & (labels == label) for label in range(num_classes)]
    cosines, valid = [], []
    for eligible in lists:
        # Ranked without gradient, then taken from the matrix that has one.
        ranked = jax.lax.stop_gradient(jnp.where(eligible, cosine, -jnp.inf))
        _, chosen = jax.lax.top_k(ranked, min(k, labels.shape[0]))
        cosines.append(jnp.take_along_axis(cosine, chosen, axis=1))
        valid.append(jnp.take_along_axis(eligible, chosen, axis=1))
    return jnp.concatenate(cosines, axis=1), jnp.concatenate(valid, axis=1)
