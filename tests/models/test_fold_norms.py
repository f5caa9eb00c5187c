"""Norms folded into kernels change no prediction."""

import jax
import numpy as np
import pytest

from sacd_jax import models
from sacd_jax.models.encoder import init_variables
from sacd_jax.models.fold_norms import fold_norms

NETWORKS = {
    "r2plus1d_18": {"width": 0.125},
    "r2plus1d_50": {"width": 0.125},
    "r3d_18": {"width": 0.125, "shortcut": "A"},
    "torchvision_r2plus1d_18": {"width": 0.125},
    "torchvision_r3d_18": {"width": 0.125},
    "ccl_r21d": {"width": 0.125},
    "r2plus1d_small": {"video_input": "differences", "lags": 2},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_folded_network_says_the_same(name: str) -> None:
    encoder = models.create(name, 5, **NETWORKS[name])
    rng = np.random.default_rng(0)
    batch = {"video": rng.integers(0, 256, (2, 8, 32, 32, 1), np.uint8)}
    variables = jax.tree.map(np.asarray, init_variables(encoder, jax.random.key(0), batch))

    def trained(path: tuple, value: np.ndarray) -> np.ndarray:
        """Norms as a training leaves them: no two channels alike."""
        kind = path[-1].key
        if kind in ("var", "scale"):
            return rng.uniform(0.5, 2, value.shape).astype(np.float32)
        return rng.normal(0, 0.3, value.shape).astype(np.float32) if kind == "mean" else value

    variables = jax.tree.map_with_path(trained, variables)
    folded = fold_norms(encoder, variables, batch)
    run = jax.jit(lambda variables: encoder.apply(variables, batch, train=False))
    before, after = run(variables), run(folded)
    scale = np.abs(before.embedding).max()
    np.testing.assert_allclose(after.embedding, before.embedding, atol=2e-5 * scale)
    np.testing.assert_allclose(after.logits, before.logits, atol=2e-5 * scale)
    # Every norm of these networks follows a convolution: none is left with a factor.
    for path, value in jax.tree.leaves_with_path(folded["batch_stats"]):
        assert path[-1].key != "mean" or not value.any()
    assert jax.tree.structure(folded) == jax.tree.structure(variables)
