"""Short hashes that say whether two things are the same thing."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def fingerprint(value: Any) -> str:
    """Hex digest of a value that JSON can hold; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def array_fingerprint(arrays: Mapping[str, np.ndarray] | Iterable[tuple[str, np.ndarray]]) -> str:
    """Hex digest of named arrays: names, shapes, dtypes and every bit of their values.

    The order of the arrays does not matter. Weights are given as flat names, e.g.
    `("params/fc/kernel", array)`.
    """
    digest = hashlib.sha256()
    for name, array in sorted(dict(arrays).items()):
        array = np.ascontiguousarray(array)
        digest.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()
