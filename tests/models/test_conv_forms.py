"""All forms of a convolution are one function: outputs and gradients agree in float64."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax.models.conv import convolve

# name: (input shape, taps, features, strides, padding)
CASES = {
    "attnsleep_k50_s6": ((2, 200, 1), (50,), 8, (6,), ((24, 24),)),
    "attnsleep_k400_s50": ((2, 900, 1), (400,), 5, (50,), ((200, 200),)),
    "attnsleep_k8_even": ((3, 20, 40), (8,), 6, (1,), ((4, 4),)),
    "attnsleep_k7_causal": ((2, 15, 8), (7,), 8, (1,), ((6, 0),)),
    "stride_leaves_a_rest": ((2, 53, 3), (9,), 4, (4,), ((2, 1),)),
    "dilation_free_2d": ((2, 9, 8, 3), (3, 3), 5, (2, 2), ((1, 1), (1, 1))),
    "many_channels_2d": ((2, 6, 7, 40), (3, 3), 5, (1, 1), ((1, 1), (1, 1))),
    "image_as_small_as_the_kernel": ((3, 3, 2, 4), (3, 3), 5, (1, 1), ((1, 1), (1, 1))),
    "image_smaller_than_the_kernel": ((2, 4, 2, 2, 4), (3, 3, 3), 5, (2, 2, 2), ((1, 1),) * 3),
    "one_pixel": ((2, 4, 1, 1, 40), (1, 3, 3), 5, (1, 2, 2), ((0, 0), (1, 1), (1, 1))),
    "patches": ((2, 3, 9, 13, 2), (1, 4, 4), 5, (1, 4, 4), ((0, 0),) * 3),
    "spatial_3d": ((2, 4, 7, 6, 3), (1, 3, 3), 5, (1, 2, 2), ((0, 0), (1, 1), (1, 1))),
    "temporal_3d": ((2, 6, 3, 4, 5), (3, 1, 1), 4, (2, 1, 1), ((1, 1), (0, 0), (0, 0))),
    "temporal_wide": ((2, 6, 3, 4, 40), (3, 1, 1), 4, (1, 1, 1), ((1, 1), (0, 0), (0, 0))),
    "full_3d": ((2, 5, 7, 6, 3), (3, 3, 3), 4, (1, 1, 1), ((1, 1),) * 3),
    "full_3d_wide_strided": ((1, 5, 6, 7, 36), (3, 3, 3), 4, (2, 2, 2), ((1, 1),) * 3),
    "stem_of_one_channel": ((1, 5, 9, 8, 1), (5, 3, 5), 4, (1, 2, 2), ((2, 2), (1, 1), (2, 2))),
    "large_frames": ((2, 3, 24, 23, 36), (3, 3, 3), 4, (1, 1, 1), ((1, 1), (1, 1), (0, 2))),
    "large_frames_2d": ((2, 24, 24, 40), (3, 2), 4, (1, 1), ((2, 0), (1, 0))),
    "large_frames_of_few_channels": (
        (1, 4, 48, 50, 2),
        (3, 5, 5),
        4,
        (1, 2, 2),
        ((1, 1), (2, 2), (2, 2)),
    ),
    "large_frames_temporal": (
        (2, 4, 23, 24, 36),
        (3, 1, 1),
        4,
        (1, 1, 1),
        ((2, 0), (0, 0), (0, 0)),
    ),
    "large_frames_strided_in_time": ((1, 6, 23, 24, 33), (3, 3, 3), 4, (2, 1, 1), ((1, 1),) * 3),
    "one_frame": ((2, 1, 5, 5, 36), (3, 3, 3), 4, (1, 1, 1), ((1, 1),) * 3),
    "two_frames_strided": ((2, 2, 5, 5, 36), (5, 3, 3), 4, (2, 1, 1), ((2, 2), (1, 1), (1, 1))),
    "nothing_but_padding": ((1, 1, 5, 5, 36), (3, 3, 3), 4, (2, 1, 1), ((3, 0), (1, 1), (1, 1))),
    "more_kernel_than_image": ((2, 2, 4, 5, 256), (3, 3, 3), 5, (1, 1, 1), ((1, 1),) * 3),
    "more_kernel_than_image_strided": ((1, 3, 7, 6, 256), (3, 3, 3), 5, (2, 2, 2), ((1, 1),) * 3),
    "more_kernel_than_image_temporal": (
        (2, 3, 4, 5, 256),
        (3, 1, 1),
        4,
        (1, 1, 1),
        ((1, 1), (0, 0), (0, 0)),
    ),
    "pointwise": ((2, 3, 4, 5, 6), (1, 1, 1), 7, (1, 1, 1), ((0, 0),) * 3),
    "pointwise_strided": ((2, 5, 4, 7, 6), (1, 1, 1), 7, (2, 2, 2), ((0, 0),) * 3),
}


# The other cases are `direct` in this form.
PLANAR = ["attnsleep_k50_s6", "spatial_3d", "temporal_3d", "pointwise_strided", "full_3d"]


@pytest.mark.parametrize(
    ("case", "form"),
    [*((case, "matmul") for case in CASES), *((case, "planar") for case in PLANAR)],
)
def test_forms_equal_direct_form_in_float64(case: str, form: str) -> None:
    shape, taps, features, strides, padding = CASES[case]
    rng = np.random.default_rng(0)
    with jax.enable_x64(True):
        x = jnp.asarray(rng.standard_normal(shape))
        kernel = jnp.asarray(rng.standard_normal((*taps, shape[-1], features)))

        @partial(jax.jit, static_argnums=0)
        def run(form: str, x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, ...]:
            y, pull = jax.vjp(lambda x, k: convolve(x, k, strides, padding, form), x, kernel)
            return (y, *pull(jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)))

        for direct, other in zip(run("direct", x, kernel), run(form, x, kernel), strict=True):
            assert other.dtype == jnp.float64
            np.testing.assert_allclose(other, direct, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 4096, 64), (4, 32, 32, 64)])
def test_bfloat16_gradient_keeps_the_kernel_dtype_and_sums_in_float32(
    shape: tuple[int, ...],
) -> None:
    # 4096 ones: a bfloat16 sum stands still at 256.
    x = jnp.ones(shape, jnp.bfloat16)
    axes = len(shape) - 2
    kernel = jnp.zeros((1,) * (axes - 1) + (2, 64, 2), jnp.bfloat16)
    padding = ((0, 0),) * (axes - 1) + ((0, 1),)

    def total(kernel: jax.Array) -> jax.Array:
        return convolve(x, kernel, (1,) * axes, padding, "matmul").sum()

    gradient = jax.grad(total)(kernel)[..., 0, :, :].reshape(64, 2)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient, 4096)


GRADIENT_ON_DEVICES = """
import sys
import jax, jax.numpy as jnp, numpy as np
from sacd_jax import parallel
from sacd_jax.benchmarks import hlo
from sacd_jax.models.conv import convolve

mesh = parallel.make_mesh()
rng = np.random.default_rng(0)
x = rng.standard_normal((16, 3, *map(int, sys.argv[1:]), 36)).astype(np.float32)
kernel = rng.standard_normal((3, 3, 3, 36, 8)).astype(np.float32)

def gradient(kernel, x):
    y = lambda k: jnp.sin(convolve(x, k, (1, 1, 1), ((1, 1),) * 3, "matmul"))
    return jax.grad(lambda k: y(k).sum())(kernel)

placed = (
    jax.device_put(kernel, parallel.replicated(mesh)), jax.device_put(x, parallel.sharded(mesh))
)
compiled = jax.jit(gradient).lower(*placed).compile()
np.testing.assert_allclose(
    compiled(*placed), jax.jit(gradient)(kernel, x), rtol=1e-4, atol=1e-3
)
program = hlo.read(compiled.as_text())
print(program.collectives, program.collective_bytes == kernel.nbytes, program.in_loops)
"""


@pytest.mark.parametrize("size", [("6", "5"), ("24", "22")])
def test_devices_sum_a_kernel_s_gradient_once_and_not_in_its_loop(size, run_python) -> None:
    printed = run_python(GRADIENT_ON_DEVICES, *size).stdout
    assert printed.strip() == "Counter({'all-reduce': 1}) True 0"
