"""What a PyTorch state dict's entries are called here, and how their layouts differ.

A name map lists the entries of a public network in registration order. Converting is renaming and
transposing: kernels are (out, in, taps...) in PyTorch and (taps..., in, out) in Flax, everything
else is alike. `num_batches_tracked` has no meaning here and is in no map.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict


@dataclass(frozen=True)
class Entry:
    """One entry of a state dict.

    Attributes:
        key: its name in the state dict.
        path: its place in the variables, collection first; empty if the network has no use for it.
        shape: PyTorch's shape, of entries without a path.
    """

    key: str
    path: tuple[str, ...] = ()
    shape: tuple[int, ...] = ()


def kernel(key: str, *path: str, bias: bool = False) -> list[Entry]:
    """Entries of a convolution or linear layer."""
    entries = [Entry(f"{key}.weight", ("params", *path, "kernel"))]
    if bias:
        entries.append(Entry(f"{key}.bias", ("params", *path, "bias")))
    return entries


def batch_norm(key: str, *path: str) -> list[Entry]:
    """Entries of a batch normalisation."""
    return [
        Entry(f"{key}.weight", ("params", *path, "scale")),
        Entry(f"{key}.bias", ("params", *path, "bias")),
        Entry(f"{key}.running_mean", ("batch_stats", *path, "mean")),
        Entry(f"{key}.running_var", ("batch_stats", *path, "var")),
    ]


def _is_kernel(path: Sequence[str]) -> bool:
    return bool(path) and path[-1] == "kernel"


def torch_shapes(
    names: Iterable[Entry], variables: Mapping[str, Any]
) -> list[tuple[str, tuple[int, ...]]]:
    """Key and PyTorch shape of every entry, in order; variables may be arrays or shapes."""
    flat = flatten_dict(variables)
    shapes = []
    for entry in names:
        shape = tuple(flat[entry.path].shape) if entry.path else entry.shape
        if _is_kernel(entry.path):
            shape = (*shape[:-3:-1], *shape[:-2])
        shapes.append((entry.key, shape))
    return shapes


def to_variables(
    names: Iterable[Entry], state_dict: Mapping[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Variables from a state dict; entries that are missing from it are missing from the result."""
    flat = {}
    for entry in names:
        if entry.path and entry.key in state_dict:
            value = np.asarray(state_dict[entry.key])
            if _is_kernel(entry.path):
                value = np.moveaxis(value, (0, 1), (-1, -2))
            flat[entry.path] = value
    return unflatten_dict(flat)


def to_state_dict(names: Iterable[Entry], variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The state dict of variables; entries without a place here are left out."""
    flat = flatten_dict(variables)
    state_dict = {}
    for entry in names:
        if entry.path:
            value = np.asarray(jax.device_get(flat[entry.path]))
            if _is_kernel(entry.path):
                value = np.moveaxis(value, (-1, -2), (0, 1))
            state_dict[entry.key] = value
    return state_dict
