"""Convolution modules have Flax's parameters, and take the form that their backend rewards."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax.models.conv import Conv1d, Conv2d, Conv3d, resolve, tracing_for


@pytest.mark.parametrize(
    ("module", "shape", "reference"),
    [
        (
            Conv1d(4, 5, 2, (2, 1)),
            (2, 11, 3),
            nn.Conv(4, (5,), 2, padding=[(2, 1)]),
        ),
        (
            Conv2d(4, (3, 2), (2, 1), ((1, 1), (0, 1)), use_bias=False),
            (2, 6, 7, 3),
            nn.Conv(4, (3, 2), (2, 1), padding=[(1, 1), (0, 1)], use_bias=False),
        ),
        (
            Conv3d(4, (3, 3, 3), (1, 2, 2), ((1, 1),) * 3),
            (2, 4, 6, 5, 3),
            nn.Conv(4, (3, 3, 3), (1, 2, 2), padding=[(1, 1)] * 3),
        ),
    ],
)
def test_modules_share_parameters_with_flax(
    module: nn.Module, shape: tuple[int, ...], reference: nn.Module
) -> None:
    x = jax.random.normal(jax.random.key(1), shape)
    variables = jax.jit(module.init)(jax.random.key(0), x)
    expected = jax.tree.map(jnp.shape, jax.eval_shape(reference.init, jax.random.key(0), x))
    assert jax.tree.map(jnp.shape, variables) == expected
    bias = jnp.arange(4.0) if "bias" in variables["params"] else None
    if bias is not None:
        variables["params"]["bias"] = bias
    np.testing.assert_allclose(
        module.apply(variables, x), reference.apply(variables, x), rtol=1e-5, atol=1e-5
    )


def test_auto_is_the_matmul_form_on_cpu_and_unknown_forms_are_refused() -> None:
    of_backend = {"cpu": "matmul", "gpu": "planar"}
    assert resolve("auto") == of_backend.get(jax.default_backend(), "direct")
    with pytest.raises(ValueError, match="expected auto, direct, matmul, planar"):
        resolve("im2col")


def test_auto_follows_the_backend_that_is_traced_for() -> None:
    with tracing_for("tpu"):
        assert resolve("auto") == "direct" and resolve("matmul") == "matmul"
    assert resolve("auto") == "matmul"
