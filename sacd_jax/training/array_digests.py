"""Digests of the arrays of a state, the same on however many devices and processes it lies.

An array's digest is the sum, modulo 2^64, of its rows' hashes, each seeded with the row's number:
processes that hold some rows each add up what the others have.
"""

from typing import Any

import jax
import numpy as np
import xxhash
from jax.experimental import multihost_utils


def digests(tree: Any) -> dict[str, str]:
    """Path of each array of a tree -> 16 hex digits of its values, bit for bit.

    All processes must call it; all get the same but for arrays of which each holds a copy. NumPy's
    arrays count as such.
    """
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    named = {jax.tree_util.keystr(path): leaf for path, leaf in leaves}
    found = {name: _of_mine(leaf) for name, leaf in named.items()}
    shared = [
        name
        for name, leaf in named.items()
        if isinstance(leaf, jax.Array)
        and not (leaf.is_fully_replicated or leaf.is_fully_addressable)
    ]
    if shared:
        # As 32-bit words: JAX has no wider ones here.
        words = np.array([found[name] for name in shared], np.uint64).view(np.uint32)
        every = np.ascontiguousarray(multihost_utils.process_allgather(words)).view(np.uint64)
        found.update(zip(shared, every.sum(0, dtype=np.uint64).tolist(), strict=True))
    return {name: f"{value:016x}" for name, value in found.items()}


def _of_mine(array: jax.Array | np.ndarray) -> int:
    """The sum over the rows that this process answers for."""
    if isinstance(array, np.ndarray):
        return _of_rows(array, 0)
    if array.is_fully_replicated:
        return _of_rows(np.asarray(array.addressable_data(0)), 0)
    mine = [shard for shard in array.addressable_shards if shard.replica_id == 0]
    if any(shard.data.shape[1:] != array.shape[1:] for shard in mine):
        raise ValueError("expected arrays that are dealt out by rows")
    return sum(_of_rows(np.asarray(s.data), s.index[0].start or 0) for s in mine) % 2**64


def _of_rows(rows: np.ndarray, first: int) -> int:
    if not rows.size:
        return 0
    rows = np.ascontiguousarray(rows).reshape(len(rows) if rows.ndim else 1, -1).view(np.uint8)
    return sum(xxhash.xxh3_64_intdigest(row, first + i) for i, row in enumerate(rows)) % 2**64
