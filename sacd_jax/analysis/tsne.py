"""Embeddings in two dimensions (the paper's Figs. 8 to 10).

The paper names no parameters; these are scikit-learn's defaults on at most 50 principal components.
Distances between groups and their sizes mean little in such a picture.
"""

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from sacd_jax.analysis.ahi import spearman, targets

FEWEST_POINTS = 4
COMPONENTS = 50
PERPLEXITY = 30.0
ITERATIONS = 1000
THRESHOLD = 0.4
"""Rho with the AHI level above which a channel is taken for Fig. 8 (paper)."""


def embed(
    features: Float[np.ndarray, "points dim"], seed: int = 0
) -> Float[np.ndarray, "points 2"]:
    """Two dimensions by t-SNE, repeatable with the seed.

    Raises:
        ValueError: fewer than `FEWEST_POINTS` points, or fewer than two dimensions.
    """
    from sklearn.decomposition import PCA  # slow to import
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    points, dim = features.shape
    if points < FEWEST_POINTS or dim < 2:
        raise ValueError(f"{points} points in {dim} dimensions: too few for t-SNE")
    if dim > COMPONENTS:
        components = min(COMPONENTS, points)
        features = PCA(components, random_state=seed).fit_transform(features)
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (points - 1) / 3),
        learning_rate="auto",
        init="pca",
        max_iter=ITERATIONS,
        random_state=seed,
    )
    # On a busy machine its threads wait for each other at every step, up to 25 times as long.
    with threadpool_limits(1):
        return tsne.fit_transform(features)


def channels_of_the_ahi(
    features: Float[np.ndarray, "subjects dim"], level: Int[np.ndarray, " subjects"]
) -> Bool[np.ndarray, " dim"]:
    """The channels whose rho with the AHI level is above `THRESHOLD` (Fig. 8).

    Chosen on the subjects that are then drawn, they separate the levels a little in any case: draw
    the same with permuted levels beside it.
    """
    rho, _ = spearman(features, targets(level)[:, :1])
    return rho[:, 0] > THRESHOLD


def sample(count: int, most: int, seed: int = 0) -> Int[np.ndarray, " rows"]:
    """At most `most` of `count` rows, drawn without replacement, in ascending order."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def subjects_to_show(
    subject_id: Shaped[np.ndarray, " clips"],
    stage: Int[np.ndarray, " clips"],
    level: Int[np.ndarray, " clips"],
    shown: Int[np.ndarray, " stages"],
) -> list[str]:
    """One subject of each AHI level (Fig. 9): the one with most clips in the rarest of its stages.

    Args:
        level: AHI level of the clip's subject, -1 unknown.
        shown: the stages that are drawn.
    """
    chosen = []
    for group in np.unique(level[level >= 0]):
        names = np.unique(subject_id[level == group])
        counts = [
            min(int(((subject_id == name) & (stage == one)).sum()) for one in shown)
            for name in names
        ]
        chosen.append(str(names[int(np.argmax(counts))]))
    return chosen
