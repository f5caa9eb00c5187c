"""Short hashes that say whether two things are the same thing."""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np


def fingerprint(value: Any) -> str:
    """Hex digest of a value that JSON can hold; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


SMALL_FILE = 32 * 2**20
"""Bytes up to which a recorded file is known by all its content."""

_SAMPLES, _SAMPLE = 64, 4096  # of a larger file
_ENDS = 2**17  # holds the header of an EDF file of 500 signals, and an MP4's at either end


def file_fingerprint(path: Path) -> str:
    """Hex digest of a recorded file, whatever it is called and wherever it lies.

    Files up to `SMALL_FILE` are read whole. Of larger ones (videos, long recordings) it takes the
    size, the time of the last change in seconds, 128 kB at either end and 64 pieces of 4 kB
    between: so a copy counts as the same file where it keeps the time, as `cp -p` and rsync do.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        digest.update(f"{status.st_size};".encode())
        if status.st_size <= SMALL_FILE:
            while piece := file.read(2**20):
                digest.update(piece)
            return digest.hexdigest()
        digest.update(f"{int(status.st_mtime)};".encode())
        inner = status.st_size - 2 * _ENDS
        pieces = [(0, _ENDS), (status.st_size - _ENDS, _ENDS)]
        pieces += [(_ENDS + inner * k // _SAMPLES, _SAMPLE) for k in range(_SAMPLES)]
        for position, length in pieces:
            file.seek(position)
            digest.update(file.read(length))
    return digest.hexdigest()


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
