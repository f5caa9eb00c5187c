"""Every form of a video network is one function: outputs, statistics and gradients agree."""

import re
from collections.abc import Iterable
from functools import partial
from itertools import product
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax.models import encoder as encoders
from sacd_jax.models.conv import convolve, tracing_for
from sacd_jax.models.video_blocks import max_pool
from sacd_jax.models.video_resnet import VideoResNet
from sacd_jax.models.width_fold import fold, folded_convolve, unfold

# Two stages hold all that differs between forms: the stem, stage 1, and the way out of it.
SMALL = {"blocks": (2, 1), "widths": (4, 6), "embedding_dim": None}
NETWORKS = {
    "r2plus1d_18": SMALL,
    "r3d_18": SMALL | {"shortcut": "A"},
    "r3d_50": SMALL | {"blocks": (1, 1)},
    "torchvision_r2plus1d_18": SMALL | {"stem_middle": 5},
    "torchvision_r3d_18": SMALL,
    "ccl_r21d": SMALL,
    "r2plus1d_small": SMALL
    | {"stem_middle": 4, "stem_patch": 4, "video_input": "differences", "lags": 2},
}


def clips(shape: tuple[int, ...]) -> dict[str, jax.Array]:
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    return {"video": jnp.asarray(pixels)}


def trained(encoder: VideoResNet, variables: Any, batch: dict[str, jax.Array]) -> Any:
    """Embedding, new statistics and gradients of a loss that weighs everything differently."""

    @partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def run(params: Any, statistics: Any, batch: dict[str, jax.Array]) -> Any:
        def loss(params: Any) -> Any:
            output, changed = encoder.apply(
                {"params": params, "batch_stats": statistics},
                batch,
                train=True,
                mutable=["batch_stats"],
            )
            scores = (output.logits, output.embedding, *output.stages)
            total = sum(
                jnp.sum(jnp.sin(3 * s + jnp.arange(s.size).reshape(s.shape))) for s in scores
            )
            return total, (output, changed)

        (total, aux), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        return total, aux, gradients

    return run(variables["params"], variables["batch_stats"], batch)


def initial(encoder: VideoResNet, batch: dict[str, jax.Array], dtype: Any) -> Any:
    """Random variables; made by NumPy, because random numbers take XLA long to compile."""
    shapes = jax.eval_shape(lambda b: encoder.init(jax.random.key(0), b, train=False), batch)
    rng = np.random.default_rng(1)

    def value(leaf: Any) -> jax.Array:
        w = rng.standard_normal(leaf.shape)
        if len(leaf.shape) > 1:
            return jnp.asarray(w * np.sqrt(2 / np.prod(leaf.shape[:-1])), dtype)
        return jnp.asarray(1 + 0.1 * w, dtype)  # a variance stays above zero

    return jax.tree.map(value, shapes)


def assert_close(a: Any, b: Any, tolerance: float) -> None:
    """Agreement relative to each leaf's largest value, or a thousandth of the largest of all."""
    floor = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(b)) / 1000

    def close(x: jax.Array, y: jax.Array) -> None:
        scale = max(float(jnp.abs(y).max()), floor)
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * scale)

    jax.tree.map(close, a, b)


def slow_but(fast: tuple[str, str], cases: Iterable[tuple[str, str]]) -> list[Any]:
    """Each case compiles two training steps: one is run by default, the others are slow."""
    return [pytest.param(*c, marks=() if c == fast else pytest.mark.slow) for c in cases]


@pytest.mark.parametrize(
    ("name", "form"),
    slow_but(("r2plus1d_18", "folded"), product(NETWORKS, ("matmul", "folded", "planar"))),
)
def test_forms_train_alike_in_float64(name: str, form: str) -> None:
    with jax.enable_x64(True):
        batch = clips((2, 4, 16, 24, 1))
        options = {"dtype": jnp.float64, **NETWORKS[name]}
        direct = encoders.create(name, form="direct", **options)
        other = encoders.create(name, form=form, **options)
        variables = initial(direct, batch, jnp.float64)
        expected = trained(direct, variables, batch)
        assert_close(trained(other, variables, batch), expected, 1e-9)


@pytest.mark.parametrize(
    ("name", "backend", "form"),
    [
        ("torchvision_r2plus1d_18", "tpu", "folded"),
        ("r2plus1d_18", "tpu", "direct"),
        ("torchvision_r2plus1d_18", "gpu", "planar"),
    ],
)
def test_auto_is_the_form_of_the_backend_that_is_traced_for(
    name: str, backend: str, form: str
) -> None:
    batch = clips((1, 2, 16, 16, 1))

    def traced(form: str) -> str:
        encoder = encoders.create(name, form=form, **SMALL)
        variables = jax.eval_shape(lambda b: encoder.init(jax.random.key(0), b, train=False), batch)
        run = partial(encoder.apply, train=False)
        return re.sub("0x[0-9a-f]+", "", str(jax.make_jaxpr(run)(variables, batch)))

    with tracing_for(backend):
        auto, named = traced("auto"), traced(form)
        other = traced("direct" if form == "folded" else "folded")
    assert auto == named != other


@pytest.mark.slow
@pytest.mark.parametrize("form", ["matmul", "folded"])
def test_forms_agree_in_float32(form: str) -> None:
    batch = clips((2, 4, 32, 32, 3))
    direct = encoders.create("r2plus1d_18", form="direct", width=0.125)
    variables = initial(direct, batch, jnp.float32)
    other = encoders.create("r2plus1d_18", form=form, width=0.125)
    expected, found = (
        jax.jit(e.apply, static_argnames="train")(variables, batch, train=False)
        for e in (direct, other)
    )
    assert_close(found, expected, 1e-5)


@pytest.mark.parametrize(
    ("name", "backend"),
    slow_but(
        ("torchvision_r2plus1d_18", "tpu"),
        product(("torchvision_r2plus1d_18", "r3d_18"), ("cpu", "tpu")),
    ),
)
def test_grey_trains_as_three_equal_channels(name: str, backend: str) -> None:
    with jax.enable_x64(True), tracing_for(backend):
        grey = clips((2, 4, 16, 24, 1))
        colour = {"video": jnp.repeat(grey["video"], 3, axis=-1)}
        encoder = encoders.create(name, dtype=jnp.float64, **NETWORKS[name])
        variables = initial(encoder, colour, jnp.float64)
        expected = trained(encoder, variables, colour)
        assert_close(trained(encoder, variables, grey), expected, 1e-9)


@pytest.mark.slow
def test_remat_changes_nothing() -> None:
    batch = clips((2, 4, 16, 16, 1))
    plain = encoders.create("r2plus1d_18", **SMALL)
    variables = initial(plain, batch, jnp.float32)
    again = encoders.create("r2plus1d_18", remat=True, **SMALL)
    jaxpr = jax.make_jaxpr(lambda v: again.apply(v, batch, train=False))(variables)
    assert "remat" in str(jaxpr) or "checkpoint" in str(jaxpr)
    assert_close(trained(again, variables, batch), trained(plain, variables, batch), 1e-4)


def test_bfloat16_computes_in_bfloat16_and_keeps_the_rest_in_float32() -> None:
    batch = clips((2, 4, 16, 16, 1))
    encoder = encoders.create("r2plus1d_18", dtype=jnp.bfloat16, **SMALL)
    variables = initial(encoder, batch, jnp.float32)
    _, (output, statistics), gradients = trained(encoder, variables, batch)
    for leaf in jax.tree.leaves((variables, output, statistics, gradients)):
        assert leaf.dtype == jnp.float32
    exact = encoders.create("r2plus1d_18", **SMALL)
    _, (reference, _), _ = trained(exact, variables, batch)
    assert_close(output.embedding, reference.embedding, 0.1)
    assert not np.array_equal(output.embedding, reference.embedding)


@pytest.mark.parametrize("columns", [2, 4])
def test_unfold_undoes_fold(columns: int) -> None:
    x = jnp.arange(2 * 3 * 4 * 8 * 5.0).reshape(2, 3, 4, 8, 5)
    np.testing.assert_array_equal(unfold(fold(x, columns), columns), x)


@pytest.mark.parametrize(
    ("taps", "stride", "padding", "columns_in", "columns_out"),
    [
        ((1, 3, 3), 1, 1, 2, 2),
        ((3, 1, 1), 1, 0, 2, 2),
        ((1, 3, 3), 2, 1, 2, 1),
        ((1, 1, 1), 2, 0, 2, 1),
        ((3, 7, 7), 2, 3, 4, 2),
        ((1, 5, 5), 1, 2, 4, 4),
        ((1, 4, 4), 4, 0, 8, 2),
    ],
)
def test_folded_convolution(
    taps: tuple[int, int, int], stride: int, padding: int, columns_in: int, columns_out: int
) -> None:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((2, 4, 8, 16, 3)), jnp.float32)
    kernel = jnp.asarray(rng.standard_normal((*taps, 3, 5)), jnp.float32)
    strides, pads = (1, stride, stride), ((taps[0] // 2,) * 2, (padding,) * 2, (padding,) * 2)
    y = convolve(x, kernel, strides, pads, "direct")
    folded = folded_convolve(fold(x, columns_in), kernel, strides, pads, columns_in, columns_out)
    np.testing.assert_allclose(unfold(folded, columns_out), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(4, 6, 8), (3, 5, 4), (1, 1, 2), (5, 7, 12)])
@pytest.mark.parametrize("tied", [False, True])
def test_max_pool_forms(size: tuple[int, int, int], tied: bool) -> None:
    x = jax.random.normal(jax.random.key(0), (2, *size, 3)) - 5  # padding with zeros would win
    x = jnp.round(x) if tied else x

    def windows(x: jax.Array) -> jax.Array:
        return max_pool(x)[0]

    def slices(x: jax.Array) -> jax.Array:
        return max_pool(x, window=False)[0]

    def folded(x: jax.Array) -> jax.Array:
        return unfold(*max_pool(fold(x, 2), 2))

    expected, gradient = jax.vjp(windows, x)
    weight = jnp.arange(1.0, 1 + expected.size).reshape(expected.shape)
    for form in (slices, folded):
        found, pull = jax.vjp(form, x)
        np.testing.assert_array_equal(found, expected)
        np.testing.assert_allclose(*pull(weight), *gradient(weight), rtol=1e-6)


def test_max_pool_shows_what_is_no_number() -> None:
    x = jnp.zeros((1, 4, 4, 4, 1)).at[0, 2, 2, 2, 0].set(jnp.nan)
    pooled = max_pool(x, window=False)[0]
    np.testing.assert_array_equal(jnp.isnan(pooled), jnp.isnan(max_pool(x)[0]))
    assert jnp.isnan(pooled).sum() == 1
