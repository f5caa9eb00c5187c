"""The video networks against their public originals: sizes, intermediate shapes, outputs."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from sacd_jax.models import encoder as encoders
from sacd_jax.models.video_resnet import VideoResNet
from sacd_jax.pretrained.names import to_flax, to_torch, video_names
from tests.golden.fill import fill_state_dict, golden_input

# As the networks of the published values: input that is normalised already.
RAW = {"mean": (0.0,), "std": (1.0,)}


def shapes(encoder: VideoResNet, video: tuple[int, ...] = (1, 16, 112, 112, 3)) -> Any:
    batch = {"video": jax.ShapeDtypeStruct(video, jnp.uint8)}
    return jax.eval_shape(lambda batch: encoder.init(jax.random.key(0), batch, train=False), batch)


def count(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "classes", "parameters", "buffers"),
    [
        ("torchvision_r2plus1d_18", 5, 31_302_690, 25_350),
        ("torchvision_r2plus1d_18", 400, 31_505_325, 25_350),
        ("torchvision_r3d_18", 5, 33_168_837, 9_600),
        ("r2plus1d_18", 5, 33_218_529, 26_290),
        ("r2plus1d_18", 700, 33_575_064, 26_290),
        ("r3d_18", 5, 33_206_469, 9_600),
        ("r3d_18", 1039, 33_736_911, 9_600),
        ("ccl_r21d", 51, 14_391_466, 14_350),
    ],
)
def test_parameter_counts(name: str, classes: int, parameters: int, buffers: int) -> None:
    variables = shapes(encoders.create(name, num_classes=classes))
    assert count(variables["params"]) == parameters
    assert count(variables["batch_stats"]) == buffers


@pytest.mark.parametrize(
    ("name", "entries"),
    [
        ("torchvision_r2plus1d_18", 224),
        ("torchvision_r3d_18", 122),
        ("r2plus1d_18", 224),
        ("r2plus1d_34", None),
        ("r2plus1d_50", None),
        ("r3d_18", 122),
        ("r3d_34", None),
        ("r3d_50", None),
        ("ccl_r21d", 146),
    ],
)
def test_every_tensor_of_the_original_has_a_place_and_every_place_a_tensor(
    name: str, entries: int | None
) -> None:
    encoder = encoders.create(name, embedding_dim=None)
    names = video_names(name, encoder)
    assert sorted(names.values()) == sorted(flatten_dict(shapes(encoder)))
    if entries is not None:  # one counter a norm is PyTorch's alone
        norms = sum(key.endswith("running_mean") for key in names)
        assert len(names) + norms == entries


def test_shortcut_a_has_no_parameters() -> None:
    flat = flatten_dict(shapes(encoders.create("r3d_18", shortcut="A")))
    assert not any("shortcut" in part for path in flat for part in path)


# name, options, sum and norm of the features, f[0, :3], logits[0, :5], sum of the logits
GOLDEN = [
    pytest.param(
        "torchvision_r2plus1d_18",
        {},
        (5182.799504, 235.025650),
        (17.886337, 0.066097, 11.663513),
        (-19.677809, -11.796061, 4.32273, -11.517529, 5.087299),
        -66.884782,
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "torchvision_r3d_18",
        {},
        (3157.860091, 145.929281),
        (0.27932, 3.759336, 0.98881),
        (7.950072, 4.860955, 4.369629, 8.141587, 0.108336),
        50.548879,
        marks=pytest.mark.slow,
    ),
    (
        "r2plus1d_18",
        {},
        (6499.437056, 297.600488),
        (15.525509, 10.828794, 2.185338),
        (-31.723188, -16.740337, 11.400206, -8.690578, 4.01168),
        -84.469173,
    ),
    (
        "r3d_18",
        {},
        (3177.209837, 162.527349),
        (0.086706, 3.29789, 5.702762),
        (4.996444, 11.815105, 3.891021, 2.827146, -5.332604),
        35.355484,
    ),
    pytest.param(
        "r3d_18",
        {"shortcut": "A"},
        (1817.718977, 85.949900),
        (12.603264, 2.240024, 7.105269),
        (-1.19554, 1.515669, 0.850721, -3.457164, -0.51002),
        -7.085086,
        marks=pytest.mark.slow,
    ),
    pytest.param(
        "ccl_r21d",
        {"num_classes": 51},
        (1329.780364, 65.892017),
        (0.0, 0.597705, 1.838672),
        (7.670035, -5.722882, 1.284403, 0.039366, 3.563428),
        -67.520111,
        marks=pytest.mark.slow,
    ),
]


@pytest.mark.parametrize(
    ("name", "options", "features", "first", "logits", "sum_of_logits"), GOLDEN
)
def test_outputs_of_the_public_originals(
    name: str,
    options: dict[str, Any],
    features: tuple[float, float],
    first: tuple[float, ...],
    logits: tuple[float, ...],
    sum_of_logits: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = encoders.create(name, **RAW, **options)
    flat = flatten_dict(shapes(encoder))
    names = video_names(name, encoder)
    torch_shapes = (
        (key, to_torch(np.empty(flat[path].shape)).shape) for key, path in names.items()
    )
    state = fill_state_dict(torch_shapes)
    variables = unflatten_dict({path: to_flax(state[key]) for key, path in names.items()})
    x = golden_input((2, 3, 8, 56, 56))
    np.testing.assert_allclose(x.sum(dtype=np.float64), 144.670898, rtol=1e-6)
    # The published input is no image: it goes past the cast from uint8.
    monkeypatch.setattr("sacd_jax.models.video_resnet.arrange", lambda video, *_: video)
    batch = {"video": jnp.asarray(x.transpose(0, 2, 3, 4, 1))}
    output = jax.jit(partial(encoder.apply, train=False))(variables, batch)
    close = partial(np.testing.assert_allclose, rtol=1e-4)
    f = np.asarray(output.embedding, np.float64)
    close([f.sum(), np.linalg.norm(f)], features)
    close(f[0, :3], first, atol=1e-5 * np.abs(f).max())
    close(output.logits[0, :5], logits, atol=1e-5 * np.abs(logits).max())
    close(output.logits.sum(), sum_of_logits)
