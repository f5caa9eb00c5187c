"""BatchNorm folded into the convolutions before it, for a network that has been trained."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.conv import Conv1d, Conv2d, Conv3d
from sacd_jax.models.encoder import Batch, Encoder
from sacd_jax.models.video_blocks import VideoConv
from sacd_jax.models.video_input import StemConv

_CONVOLUTIONS = (Conv1d, Conv2d, Conv3d, StemConv, VideoConv)

Path = tuple[str, ...]


def fold_norms(encoder: Encoder, variables: dict[str, Any], batch: Batch) -> dict[str, Any]:
    """Variables of the same network whose norms do nothing but add.

    A norm in inference is a factor and a shift of each channel. Where its input is the result of a
    convolution and of nothing else, the factor goes into the kernel (and the bias, where there is
    one); the norm keeps the shift. Outputs are equal to float rounding; further training is not.

    Args:
        encoder: of this package: what a convolution gives to a norm it gives to nobody else.
        variables: `params` and `batch_stats`, NumPy or JAX arrays.
        batch: arrays or `jax.ShapeDtypeStruct`s of the shapes that the network will see.

    Returns:
        NumPy trees of the same structure, float32.
    """
    flat = {
        name: {path: np.asarray(value) for path, value in flatten_dict(tree).items()}
        for name, tree in variables.items()
    }
    params, statistics = flat["params"], flat.get("batch_stats", {})
    for norm, convolution, epsilon in _pairs(encoder, variables, batch):
        variance = statistics[*norm, "var"].astype(np.float64) + epsilon
        factor = params[*norm, "scale"] / np.sqrt(variance)
        shift = params[*norm, "bias"] - statistics[*norm, "mean"] * factor
        for name in ("kernel", "bias"):
            if (*convolution, name) in params:
                params[*convolution, name] = _as_float32(params[*convolution, name] * factor)
        params[*norm, "scale"] = np.ones_like(params[*norm, "scale"])
        params[*norm, "bias"] = _as_float32(shift)
        statistics[*norm, "mean"] = np.zeros_like(statistics[*norm, "mean"])
        statistics[*norm, "var"] = np.full_like(statistics[*norm, "var"], 1 - epsilon)
    return {name: unflatten_dict(tree) for name, tree in flat.items()}


def _as_float32(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32)


def _pairs(
    encoder: Encoder, variables: dict[str, Any], batch: Batch
) -> list[tuple[Path, Path, float]]:
    """Norm, the convolution whose result it reads, and the norm's epsilon."""
    made: list[tuple[Path, Any]] = []
    pairs = []

    def watch(call: Callable[..., Any], args: tuple[Any, ...], options: Any, context: Any) -> Any:
        module: nn.Module = context.module
        if isinstance(module, BatchNorm) and not module.raw_input:
            found = (path for path, result in made if result is args[0])
            convolution = next(found, None)
            if convolution is not None:
                pairs.append((module.path, convolution, module.epsilon))
        result = call(*args, **options)
        if isinstance(module, _CONVOLUTIONS):
            made.append((module.path, result))
        return result

    with nn.intercept_methods(watch):
        jax.eval_shape(partial(encoder.apply, train=False), variables, batch)
    return pairs
