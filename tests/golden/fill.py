"""Deterministic fill of parameters and inputs, for golden values without a checkpoint.

A value depends on the tensor's number and the element's index alone, so any framework can repeat
it. State-dict layouts and order are PyTorch's.
"""

from collections.abc import Iterable

import numpy as np

INPUT = 9999
"""Tensor number of inputs."""


def fill(shape: tuple[int, ...], number: int) -> np.ndarray:
    """Values in [-1, 1), float64, hashed from the tensor's number and each element's index."""
    with np.errstate(over="ignore"):
        index = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint32)
        h = index * np.uint32(2654435761) + np.uint32((number + 1) * 40503 % 2**32)
        h = (h ^ (h >> np.uint32(16))) * np.uint32(2246822519)
        h = (h ^ (h >> np.uint32(13))) * np.uint32(3266489917)
        h ^= h >> np.uint32(16)
    return (2.0 * (h.astype(np.float64) / 2**32) - 1.0).reshape(shape)


def fill_entry(key: str, shape: tuple[int, ...], number: int) -> np.ndarray:
    """Value (float32) of a state-dict entry: the rule depends on its name and rank."""
    w = fill(shape, number)
    if key.endswith("running_var"):
        w = 1 + 0.5 * w
    elif key.endswith("running_mean"):
        w = 0.1 * w
    elif len(shape) == 1:
        scale = key.rpartition(".")[2] in ("weight", "a_2")
        w = 1 + 0.2 * w if scale else 0.1 * w
    else:
        w = w * np.sqrt(6 / np.prod(shape[1:]))
    return w.astype(np.float32)


def fill_state_dict(entries: Iterable[tuple[str, tuple[int, ...]]]) -> dict[str, np.ndarray]:
    """State dict filled in the order of the entries; `num_batches_tracked` is not counted."""
    counted = [e for e in entries if not e[0].endswith("num_batches_tracked")]
    return {key: fill_entry(key, shape, k) for k, (key, shape) in enumerate(counted)}


def golden_input(shape: tuple[int, ...]) -> np.ndarray:
    """The input (float32) of golden forward passes, in PyTorch's layout."""
    return fill(shape, INPUT).astype(np.float32)
