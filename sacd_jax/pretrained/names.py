"""Names of the public PyTorch networks' tensors and where each stands in our trees.

A map goes from state-dict key to the path in `{"params": …, "batch_stats": …}`, in the order in
which PyTorch registers the tensors; `num_batches_tracked` has no counterpart and is left out.
"""

from collections.abc import Iterator

import numpy as np

from input_pipeline.errors import UserError
from sacd_jax.models.video_resnet import VideoResNet

Path = tuple[str, ...]

VIDEO_FAMILIES = {
    "r2plus1d_18": "kenshohara",
    "r2plus1d_34": "kenshohara",
    "r2plus1d_50": "kenshohara",
    "r3d_18": "kenshohara",
    "r3d_34": "kenshohara",
    "r3d_50": "kenshohara",
    "torchvision_r2plus1d_18": "torchvision",
    "torchvision_r3d_18": "torchvision",
    "ccl_r21d": "ccl",
}
"""Architecture -> naming of its public weights."""


def video_names(architecture: str, encoder: VideoResNet) -> dict[str, Path]:
    """State-dict key -> path in our tree, for a network made by `models.create(architecture)`.

    Raises:
        UserError: the architecture has no public weights.
    """
    if architecture not in VIDEO_FAMILIES:
        known = ", ".join(sorted(VIDEO_FAMILIES))
        raise UserError(f"{architecture!r} has no public video weights: expected one of {known}")
    family = {"kenshohara": _kenshohara, "torchvision": _torchvision, "ccl": _ccl}
    return dict(family[VIDEO_FAMILIES[architecture]](encoder))


def to_flax(value: np.ndarray) -> np.ndarray:
    """PyTorch's layout to ours: (out, in, *taps) -> (*taps, in, out); vectors are unchanged."""
    return np.moveaxis(value, (0, 1), (-1, -2)) if value.ndim > 1 else value


def to_torch(value: np.ndarray) -> np.ndarray:
    """Undoes `to_flax`."""
    return np.moveaxis(value, (-1, -2), (0, 1)) if value.ndim > 1 else value


Names = Iterator[tuple[str, Path]]


def _conv(key: str, *path: str) -> Names:
    yield f"{key}.weight", ("params", *path, "kernel")


def _norm(key: str, *path: str) -> Names:
    yield f"{key}.weight", ("params", *path, "scale")
    yield f"{key}.bias", ("params", *path, "bias")
    yield f"{key}.running_mean", ("batch_stats", *path, "mean")
    yield f"{key}.running_var", ("batch_stats", *path, "var")


def _linear(key: str, *path: str) -> Names:
    yield f"{key}.weight", ("params", *path, "kernel")
    yield f"{key}.bias", ("params", *path, "bias")


def _blocks(encoder: VideoResNet) -> Iterator[tuple[int, int, str, bool]]:
    """Stage (from 1), index in it, our name, and whether the shortcut has parameters."""
    for stage, count in enumerate(encoder.blocks, start=1):
        for i in range(count):
            changes = i == 0 and (stage > 1 or encoder.bottleneck)
            yield stage, i, f"stage{stage}_block{i}", changes and encoder.shortcut != "A"


def _kenshohara(encoder: VideoResNet) -> Names:
    def convolution(key: str, number: int, *path: str, split: bool) -> Names:
        conv, norm = f"{key}conv{number}", f"{key}bn{number}"
        if split:
            yield from _conv(f"{conv}_s", *path, f"conv{number}", "spatial")
            yield from _norm(f"{norm}_s", *path, f"conv{number}", "norm")
            yield from _conv(f"{conv}_t", *path, f"conv{number}", "temporal")
            yield from _norm(f"{norm}_t", *path, f"norm{number}")
        else:
            yield from _conv(conv, *path, f"conv{number}")
            yield from _norm(norm, *path, f"norm{number}")

    if encoder.factorized:
        yield from _conv("conv1_s", "stem_spatial")
        yield from _norm("bn1_s", "stem_spatial_norm")
        yield from _conv("conv1_t", "stem_temporal")
        yield from _norm("bn1_t", "stem_norm")
    else:
        yield from _conv("conv1", "stem")
        yield from _norm("bn1", "stem_norm")
    for stage, i, name, shortcut in _blocks(encoder):
        key = f"layer{stage}.{i}."
        for number in range(1, 4 if encoder.bottleneck else 3):
            split = encoder.factorized and (not encoder.bottleneck or number == 2)
            yield from convolution(key, number, name, split=split)
        if shortcut:
            yield from _conv(f"{key}downsample.0", name, "shortcut")
            yield from _norm(f"{key}downsample.1", name, "shortcut_norm")
    yield from _linear("fc", "classifier")


def _torchvision(encoder: VideoResNet) -> Names:
    if encoder.factorized:
        yield from _conv("stem.0", "stem_spatial")
        yield from _norm("stem.1", "stem_spatial_norm")
        yield from _conv("stem.3", "stem_temporal")
        yield from _norm("stem.4", "stem_norm")
    else:
        yield from _conv("stem.0", "stem")
        yield from _norm("stem.1", "stem_norm")
    for stage, i, name, shortcut in _blocks(encoder):
        key = f"layer{stage}.{i}"
        for conv in ("conv1", "conv2"):
            if encoder.factorized:
                yield from _conv(f"{key}.{conv}.0.0", name, conv, "spatial")
                yield from _norm(f"{key}.{conv}.0.1", name, conv, "norm")
                yield from _conv(f"{key}.{conv}.0.3", name, conv, "temporal")
            else:
                yield from _conv(f"{key}.{conv}.0", name, conv)
            yield from _norm(f"{key}.{conv}.1", name, conv.replace("conv", "norm"))
        if shortcut:
            yield from _conv(f"{key}.downsample.0", name, "shortcut")
            yield from _norm(f"{key}.downsample.1", name, "shortcut_norm")
    yield from _linear("fc", "classifier")


def _ccl(encoder: VideoResNet) -> Names:
    def convolution(key: str, *path: str) -> Names:
        yield from _conv(f"{key}.spatial_conv", *path, "spatial")
        yield from _norm(f"{key}.bn", *path, "norm")
        yield from _conv(f"{key}.temporal_conv", *path, "temporal")

    yield from _conv("conv1.spatial_conv", "stem_spatial")
    yield from _norm("conv1.bn", "stem_spatial_norm")
    yield from _conv("conv1.temporal_conv", "stem_temporal")
    yield from _norm("bn1", "stem_norm")
    for stage, i, name, shortcut in _blocks(encoder):
        key = f"conv{stage + 1}.block1" if i == 0 else f"conv{stage + 1}.blocks.{i - 1}"
        if shortcut:
            yield from convolution(f"{key}.downsampleconv", name, "shortcut")
            yield from _norm(f"{key}.downsamplebn", name, "shortcut_norm")
        for number in (1, 2):
            yield from convolution(f"{key}.conv{number}", name, f"conv{number}")
            yield from _norm(f"{key}.bn{number}", name, f"norm{number}")
    yield from _linear("linear", "classifier")
