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


@pytest.mark.parametrize("mean", [0.0, 10.0, 100.0, 1e3, 1e4])
@pytest.mark.parametrize("replicas", [1, 2])
def test_a_raw_inputs_offset_costs_no_digits(mean: float, replicas: int) -> None:
    """Output, statistics and gradient against float64, at a standard deviation of 1."""
    x = np.float32(np.random.default_rng(0).normal(mean, 1, (8, 300, 5)))
    weight = np.random.default_rng(1).normal(0, 1, x.shape)
    parts = x.astype(np.float64).reshape(replicas, -1, 5)
    means, variances = parts.mean(1), parts.var(1)
    unit = (parts - means[:, None]) / np.sqrt(variances + 1e-5)[:, None]
    scale, bias = (np.asarray(VARIABLES["params"][name], np.float64) for name in ("scale", "bias"))

    module = BatchNorm(momentum=0.0, replicas=replicas, raw_input=True)
    y, stats = run(module, jnp.asarray(x))
    np.testing.assert_allclose(y, (unit * scale + bias).reshape(x.shape), atol=1e-4)
    np.testing.assert_allclose(stats["batch_stats"]["mean"], means.mean(0), atol=1e-5 + 1e-7 * mean)
    np.testing.assert_allclose(stats["batch_stats"]["var"], variances.mean(0), rtol=1e-5)

    by_unit = (weight * scale).reshape(parts.shape)
    expected = by_unit - by_unit.mean(1)[:, None] - unit * (by_unit * unit).mean(1)[:, None]
    expected = (expected / np.sqrt(variances + 1e-5)[:, None]).reshape(x.shape)
    grad = jax.grad(lambda x: (run(module, x)[0] * weight).sum())(jnp.asarray(x))
    np.testing.assert_allclose(grad, expected, atol=1e-4)

    evaluated = module.apply({**VARIABLES, **stats}, jnp.asarray(x), False)
    by_running = (x.astype(np.float64) - means.mean(0)) / np.sqrt(variances.mean(0) + 1e-5)
    np.testing.assert_allclose(evaluated, by_running * scale + bias, atol=1e-4 + 1e-6 * mean)


COLLECTIVES = """
import jax, jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec as P
from sacd_jax.benchmarks import hlo
from sacd_jax.models.batch_norm import BatchNorm

mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
x = jnp.zeros((16, 30, 4))
for options in ({}, {"raw_input": True}, {"replicas": 8}, {"replicas": 8, "raw_input": True}):
    module = BatchNorm(**options)
    variables = module.init(jax.random.key(0), x, True)

    def step(variables, x):
        return module.apply(variables, x, True, mutable=["batch_stats"])

    layouts = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
    compiled = jax.jit(step, in_shardings=layouts).lower(variables, x).compile()
    found = hlo.read(compiled.as_text())
    print(sum(found.collectives.values()), found.collective_bytes)
"""


def test_collectives_of_a_layer(run_python) -> None:
    """Synchronised: one of two sums a channel; a raw input's takes a second, as small.

    With a replica a device only the running statistics cross devices.
    """
    plain, raw, *own = [
        tuple(map(int, line.split())) for line in run_python(COLLECTIVES).stdout.splitlines()
    ]
    assert plain == (1, 2 * 4 * 4)
    assert raw[0] == 2
    assert raw[1] <= 4 * 4 * 4
    assert own == [(1, 2 * 4 * 4)] * 2


@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("options", [{}, {"replicas": 2}, {"raw_input": True}])
def test_a_max_pool_of_the_result_is_taken_before_the_scale(train: bool, options: dict) -> None:
    def pool(x: jax.Array) -> tuple[jax.Array, int]:
        return x.reshape(4, 3, 4, 5).max(2), 1

    with jax.enable_x64(True):
        rng = np.random.default_rng(0)
        norm = BatchNorm(dtype=jnp.float64, **options)
        x = jnp.asarray(rng.normal(2, 3, (4, 12, 5)))
        scale, var = jnp.asarray([1.0, -0.5, 2.0, -3.0, 0.1]), jnp.asarray(rng.uniform(1, 2, 5))
        params = {"scale": scale, "bias": jnp.asarray(rng.normal(size=5))}
        statistics = {"mean": jnp.asarray(rng.normal(size=5)), "var": var}

        def run(early: bool):
            def loss(params, x):
                variables = {"params": params, "batch_stats": statistics}
                how = {"pool": pool} if early else {}
                y, changed = norm.apply(variables, x, train, mutable=["batch_stats"], **how)
                y = y if early else pool(y)[0]
                return jnp.sum(jnp.sin(jnp.arange(y.size).reshape(y.shape) + y)), (y, changed)

            return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

        for a, b in zip(jax.tree.leaves(run(True)), jax.tree.leaves(run(False)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
