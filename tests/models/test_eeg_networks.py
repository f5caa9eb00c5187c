"""What all EEG networks have in common."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax.models.encoder import create, forward


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("attnsleep", {"sample_rate": 100}),
        ("deepsleepnet", {"hidden": 8}),
        ("sen", {"filters": 8, "domains": 3}),
    ],
)
def test_bfloat16_computes_what_float32_does_and_returns_float32(name, options):
    rng = np.random.default_rng(0)
    batch = {"eeg": rng.normal(size=(4, 3000)).astype(np.float32)}
    network = create(name, **options)
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), batch, train=False))
    params = jax.tree.map(
        lambda a: rng.normal(scale=0.5 / max(a.size / a.shape[-1], 1) ** 0.5, size=a.shape),
        shapes["params"],
    )
    stats = jax.tree.map(lambda a: np.ones(a.shape), shapes["batch_stats"])
    variables = jax.tree.map(np.float32, {"params": params, "batch_stats": stats})

    def run(dtype):
        network = create(name, dtype=dtype, **options)
        return jax.jit(lambda v, b: forward(network, v, b, train=False)[0])(variables, batch)

    exact, coarse = run(None), run("bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(coarse)} == {jnp.dtype("float32")}
    scale = np.abs(exact.embedding).max()
    np.testing.assert_allclose(coarse.embedding, exact.embedding, atol=0.05 * scale)
    assert np.any(coarse.embedding != exact.embedding)
