"""L_D: distances of graph vectors, and the loss of pairs (the paper's Eqs. 2, 11)."""

from collections.abc import Callable
from typing import Literal

import jax
from jaxtyping import Array, Bool, Float

from sacd_jax.objectives.losses import l2_normalise, masked_mean, squared_distances

Norm = Literal["l2", "none"]


def graph_distances(
    student_graphs: Float[Array, "groups dim"],
    teacher_graphs: Float[Array, "others dim"],
    norm: Norm = "l2",
) -> Float[Array, "groups others"]:
    """Squared Euclidean distance of every pair of graph vectors; `l2` scales them to length 1."""
    if norm == "l2":
        student_graphs, teacher_graphs = l2_normalise(student_graphs), l2_normalise(teacher_graphs)
    return squared_distances(student_graphs, teacher_graphs)


def pair_loss(
    distance: Float[Array, "groups others"],
    positive: Bool[Array, "groups others"],
    negative: Bool[Array, "groups others"],
    margin: float = 1.0,
    balanced: bool = True,
    mean: Callable[[Array, Array], Array] = masked_mean,
) -> Float[Array, ""]:
    """L_D: Eq. 11 read as Graph Matching Networks' pair loss.

    Formula of Lin-Yijie/Graph-Matching-Networks, GMN/loss.py:
    max(0, margin - t (1 - d)), t = 1 for positive pairs and -1 for negative ones.

    Args:
        distance: squared distances d.
        positive: pairs to pull together.
        negative: pairs to push apart.
        margin: gamma.
        balanced: half the mean over positives plus half the mean over negatives (0 if there are
            none); else the mean over positives alone.
        mean: (values, mask) -> their mean, over several devices where pairs are on several.
    """
    pull = mean(jax.nn.relu(margin - 1.0 + distance), positive)
    if not balanced:
        return pull
    push = mean(jax.nn.relu(margin + 1.0 - distance), negative)
    return 0.5 * pull + 0.5 * push
