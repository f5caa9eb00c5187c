"""BatchNorm equals Flax's; parts of the batch and folded columns are what they say."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax.models.batch_norm import BatchNorm

X = jax.random.normal(jax.random.key(0), (8, 3, 5)) * 2 + 1
VARIABLES = {
    "params": {"scale": jnp.arange(1.0, 6), "bias": jnp.arange(5.0)},
    "batch_stats": {"mean": jnp.arange(5.0), "var": jnp.arange(1.0, 6)},
}


def run(module: BatchNorm, x: jax.Array, train: bool = True, columns: int = 1):
    return module.apply(VARIABLES, x, train, columns, mutable=["batch_stats"])


@pytest.mark.parametrize("train", [True, False])
def test_equals_flax(train: bool) -> None:
    reference = nn.BatchNorm(use_running_average=not train, momentum=0.9)
    y, stats = reference.apply(VARIABLES, X, mutable=["batch_stats"])
    ours, our_stats = run(BatchNorm(), X, train)
    np.testing.assert_allclose(ours, y, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), our_stats, stats)


def test_running_mean_keeps_nine_tenths() -> None:
    _, stats = run(BatchNorm(), X)
    expected = 0.9 * VARIABLES["batch_stats"]["mean"] + 0.1 * X.mean((0, 1))
    np.testing.assert_allclose(stats["batch_stats"]["mean"], expected, rtol=1e-5)


def test_replicas_have_statistics_of_their_own() -> None:
    ours, stats = run(BatchNorm(replicas=2), X)
    halves = [run(BatchNorm(), half) for half in (X[:4], X[4:])]
    np.testing.assert_allclose(ours, jnp.concatenate([y for y, _ in halves]), atol=1e-5)
    expected = jax.tree.map(lambda a, b: (a + b) / 2, halves[0][1], halves[1][1])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), stats, expected)
    with pytest.raises(ValueError, match="not a multiple of 3 replicas"):
        run(BatchNorm(replicas=3), X)


@pytest.mark.parametrize("train", [True, False])
def test_columns_in_the_channels_share_statistics(train: bool) -> None:
    x = X[:, :2]
    plain, stats = run(BatchNorm(), x, train)
    folded, folded_stats = run(BatchNorm(), x.reshape(8, 1, 10), train, columns=2)
    np.testing.assert_allclose(folded.reshape(plain.shape), plain, atol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), folded_stats, stats)


def test_bfloat16_keeps_float32_statistics() -> None:
    y, stats = run(BatchNorm(dtype=jnp.bfloat16), X.astype(jnp.bfloat16))
    assert y.dtype == jnp.bfloat16
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(stats))
