"""Peaks of devices by their names, and multiplications of a program counted by hand."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from sacd_jax.training import device_figures
from sacd_jax.training.device_figures import matmul_flops, peak_flops


@pytest.mark.parametrize(
    ("kind", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA A100-SXM4-80GB", 312e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", None),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("cpu", None),
    ],
)
def test_peaks(kind: str, peak: float | None) -> None:
    assert peak_flops(kind) == peak


def count(function, *shapes: tuple[int, ...]) -> int:
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return matmul_flops(jax.make_jaxpr(function)(*arrays))


def conv(x, kernel, stride=1, groups=1):
    return lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=groups,
    )


def test_products_are_counted_wherever_they_stand() -> None:
    product = 2 * 4 * 5 * 6
    assert count(jnp.matmul, (4, 5), (5, 6)) == product
    assert count(jnp.matmul, (3, 4, 5), (3, 5, 6)) == 3 * product
    assert count(jax.jit(lambda a, b: jnp.tanh(a @ b)), (4, 5), (5, 6)) == product

    def looped(a, b):
        return lax.scan(lambda total, _: (total + (a @ b).sum(), None), 0.0, length=7)[0]

    def chosen(a, b):
        return lax.cond(a.sum() > 0, lambda: (a @ b).sum(), lambda: 0.0)

    assert count(looped, (4, 5), (5, 6)) == 7 * product
    assert count(chosen, (4, 5), (5, 6)) == product


@pytest.mark.parametrize("stride", [1, 2])
def test_a_convolution_and_both_of_its_gradients_cost_the_same(stride: int) -> None:
    shapes = (2, 8, 8, 3), (3, 3, 3, 5)
    forward = 2 * 2 * (8 // stride) ** 2 * 5 * 27
    assert count(lambda x, k: conv(x, k, stride), *shapes) == forward
    gradient = jax.grad(lambda x, k: conv(x, k, stride).sum(), argnums=(0, 1))
    assert count(gradient, *shapes) == pytest.approx(3 * forward, rel=0.35)
    assert count(lambda x, k: conv(x, k, stride, groups=3), (2, 8, 8, 3), (3, 3, 1, 6)) == (
        2 * 2 * (8 // stride) ** 2 * 6 * 9
    )


def test_memory_of_a_cpu_is_the_process_s_own() -> None:
    assert 0.05 < device_figures.memory_peak()["host_peak_gb"] < 1000
