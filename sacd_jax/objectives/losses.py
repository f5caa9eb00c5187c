"""Formulas that several objectives share. Masked rows neither count nor get a gradient.

Values and epsilons are those of the reference repositories. All arithmetic is in float32.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Shaped

from sacd_jax.registry import Count

JsdVariant = Literal["js", "jeffreys"]
RelationGroup = Count | Literal["global"]
"""Clips whose relations a loss compares: a number of neighbours in the batch, or all of it."""


def masked_mean(
    values: Float[Array, "*shape"], mask: Bool[Array, "*shape"] | None, axis: int | None = None
) -> Float[Array, "..."]:
    """Mean of the values whose mask is True; 0 if there are none."""
    if mask is None:
        return jnp.mean(values, axis=axis)
    total = jnp.sum(jnp.where(mask, values, 0.0), axis=axis)
    return total / jnp.maximum(jnp.sum(mask, axis=axis), 1)


def l2_normalise(vectors: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Vectors of length 1, in float32; a zero vector stays zero and gets no gradient."""
    vectors = vectors.astype(jnp.float32)
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    nonzero = square > 1e-24
    return jnp.where(nonzero, vectors * jax.lax.rsqrt(jnp.where(nonzero, square, 1.0)), 0.0)


def cosine_matrix(vectors: Float[Array, "*batch n dim"], eps: float) -> Float[Array, "*batch n n"]:
    """Cosine of every pair of rows, each row divided by its norm + eps."""
    vectors = vectors.astype(jnp.float32)
    square = jnp.sum(vectors**2, axis=-1, keepdims=True)
    norm = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)
    unit = vectors / (norm + eps)
    return unit @ jnp.swapaxes(unit, -1, -2)


def row_probabilities(
    kernel: Float[Array, "*batch n n"], mask: Bool[Array, "*batch n"]
) -> Float[Array, "*batch n n"]:
    """The rows of a non-negative kernel, each divided by its sum over the columns of the mask."""
    kernel = jnp.where(mask[..., None, :], kernel, 0.0)
    total = kernel.sum(axis=-1, keepdims=True)
    return kernel / jnp.where(total > 0, total, 1.0)


def squared_distances(
    first: Float[Array, "*batch n dim"], second: Float[Array, "*batch m dim"]
) -> Float[Array, "*batch n m"]:
    """Squared Euclidean distance of every pair of rows; exactly 0 for equal rows."""
    difference = first[..., :, None, :] - second[..., None, :, :]
    return jnp.sum(difference.astype(jnp.float32) ** 2, axis=-1)


def smooth_l1(difference: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Half the square up to 1, then the absolute value minus one half (Huber, beta = 1)."""
    size = jnp.abs(difference)
    return jnp.where(size < 1.0, 0.5 * difference**2, size - 0.5)


def cross_entropy(
    logits: Float[Array, "batch classes"],
    labels: Int[Array, " batch"],
    mask: Bool[Array, " batch"] | None = None,
    class_weights: Sequence[float] | Float[Array, " classes"] | None = None,
    logit_offsets: Sequence[float] | Float[Array, " classes"] | None = None,
) -> Float[Array, ""]:
    """Cross-entropy, averaged as in PyTorch: the sum of w_y * loss over the sum of w_y.

    Args:
        logits: class scores.
        labels: class of each row; rows with a label below 0 do not count.
        mask: rows that count, if they have a label; None for all.
        class_weights: factor of each class; None for 1.
        logit_offsets: added to the logits (Menon et al. 2021, Eq. 10); None for 0.
    """
    known = labels >= 0 if mask is None else mask & (labels >= 0)
    label = jnp.where(known, labels, 0)
    logits = logits.astype(jnp.float32)
    if logit_offsets is not None:
        logits = logits + jnp.asarray(logit_offsets)
    log_probability = jax.nn.log_softmax(logits)
    loss = -jnp.take_along_axis(log_probability, label[:, None], axis=-1)[:, 0]
    weight = jnp.ones_like(loss) if class_weights is None else jnp.asarray(class_weights)[label]
    weight = jnp.where(known, weight, 0.0)
    total = weight.sum()
    return jnp.sum(jnp.where(known, weight * loss, 0.0)) / jnp.where(total > 0, total, 1.0)


def jsd(
    first: Float[Array, "batch classes"],
    second: Float[Array, "batch classes"],
    mask: Bool[Array, " batch"] | None = None,
    variant: JsdVariant = "js",
) -> Float[Array, ""]:
    """Divergence of two classifiers' softmax distributions, natural log, mean over the batch.

    Args:
        first: logits of one classifier.
        second: logits of the other.
        mask: rows that count; None for all.
        variant: `js` is the Jensen-Shannon divergence, in [0, ln 2] (paper Eq. 4). `jeffreys` is
            what the CCL code calls JSD: half the sum of both Kullback-Leibler divergences, with
            1e-10 inside the logarithms (yanbeic/CCL, loss).
    """
    log_p = jax.nn.log_softmax(first.astype(jnp.float32))
    log_q = jax.nn.log_softmax(second.astype(jnp.float32))
    p, q = jnp.exp(log_p), jnp.exp(log_q)
    if variant == "js":
        log_m = jnp.logaddexp(log_p, log_q) - jnp.log(2.0)
        rows = p * (log_p - log_m) + q * (log_q - log_m)
    else:
        # log(p/q + 1e-10) without the overflow of p/q.
        rows = p * jnp.logaddexp(log_p - log_q, jnp.log(1e-10))
        rows += q * jnp.logaddexp(log_q - log_p, jnp.log(1e-10))
    return masked_mean(0.5 * rows.sum(axis=-1), mask)


def grouped(
    rows: Shaped[Array, "batch *shape"], group: RelationGroup
) -> Shaped[Array, "groups size *shape"]:
    """Cuts a batch into groups of neighbours, the last one filled up with zeros (False)."""
    batch = rows.shape[0]
    size = batch if group == "global" else min(group, batch)
    missing = -batch % size
    if missing:
        rows = jnp.pad(rows, [(0, missing)] + [(0, 0)] * (rows.ndim - 1))
    return rows.reshape(-1, size, *rows.shape[1:])


def mean_over_groups[Losses](
    loss: Callable[..., Losses],
    group: RelationGroup,
    rows: Sequence[Shaped[Array, "batch ..."]],
    mask: Bool[Array, " batch"],
) -> Losses:
    """A loss on the relations among clips, taken within groups of the batch.

    Args:
        loss: a scalar or a tree of scalars; its arguments are the rows of a group, array by array,
            and then their mask.
        group: clips of a group.
        rows: arrays over the batch.
        mask: rows that count.

    Returns:
        The mean of the groups' losses, weighted by the rows that count in each.
    """
    groups = grouped(mask, group)
    losses = jax.vmap(loss)(*(grouped(array, group) for array in rows), groups)
    count = groups.sum(axis=1)
    return jax.tree.map(
        lambda values: jnp.sum(values * count) / jnp.maximum(count.sum(), 1), losses
    )
