"""Arrays over the rows of a split that somebody computed once: outputs of a frozen teacher.

A cache is a folder with one `.npy` file an array and `cache.json`, which says what it was computed
from: the split's data and the teacher's weights, both as fingerprints (see `fingerprints`). A cache
of other data or other weights is refused. This module knows no network: rows go in by index and
come back in the order of the split, to be joined to batches through the loader's `extra`.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import whole_folder, write_json

_DESCRIPTION = "cache.json"


class CacheWriter:
    """Takes rows in any order and any grouping."""

    def __init__(self, folder: Path, rows: int):
        self._folder = folder
        self._arrays: dict[str, np.ndarray] = {}
        self._written = np.zeros(rows, bool)

    def write(self, index: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Stores `arrays[name][i]` as row `index[i]`; rows beyond the split are padding, left
        out."""
        index = np.asarray(index)
        valid = (index >= 0) & (index < len(self._written))
        for name, values in arrays.items():
            values = np.asarray(values)
            if name not in self._arrays:
                shape = (len(self._written), *values.shape[1:])
                self._arrays[name] = _array_on_disk(
                    self._folder / f"{name}.npy", shape, values.dtype
                )
            self._arrays[name][index[valid]] = values[valid]
        self._written[index[valid]] = True

    def finish(self) -> list[str]:
        """Writes what is left to disk and returns the names of the arrays.

        Raises:
            ValueError: rows are missing.
        """
        missing = int(np.sum(~self._written))
        if missing:
            raise ValueError(
                f"{missing} of {len(self._written)} rows of the cache were not written"
            )
        for array in self._arrays.values():
            array.flush()
        return sorted(self._arrays)


def _array_on_disk(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new array in a file: embeddings of a large split need not fit into memory."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    # The space is taken now: a mapped file that meets a full disk later kills the process.
    with open(path, "rb+") as file:
        os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


@contextlib.contextmanager
def write_cache(folder: str | Path, *, rows: int, data: str, weights: str) -> Iterator[CacheWriter]:
    """Yields a writer; the cache stands at `folder` when the block has ended well, with all rows.

    Args:
        folder: must not exist yet.
        rows: length of the split.
        data: fingerprint of the split (`ClipSource.fingerprint`).
        weights: fingerprint of the teacher (`fingerprints.array_fingerprint`).

    Raises:
        UserError: there is a cache already.
        ValueError: not every row was written.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"teacher cache {folder}: exists already; delete it to compute it anew")
    with whole_folder(folder) as temporary:
        writer = CacheWriter(temporary, rows)
        yield writer
        names = writer.finish()
        description = {"rows": rows, "data": data, "weights": weights, "arrays": names}
        write_json(temporary / _DESCRIPTION, description)


def read_cache(folder: str | Path, *, data: str, weights: str) -> dict[str, np.ndarray]:
    """Opens a cache for these data and these weights.

    Returns:
        name -> array over the rows of the split, mapped from disk.

    Raises:
        UserError: there is no whole cache, or it belongs to other data or other weights.
    """
    folder = Path(folder)
    again = "compute it again (`python -m sacd_jax.cache_teacher`)"
    try:
        description = json.loads((folder / _DESCRIPTION).read_text())
    except FileNotFoundError:
        raise UserError(f"teacher cache {folder}: not there; {again}") from None
    except json.JSONDecodeError:
        raise UserError(f"teacher cache {folder}: {_DESCRIPTION} is damaged; {again}") from None
    for key, expected in (("data", data), ("weights", weights)):
        if description[key] != expected:
            raise UserError(
                f"teacher cache {folder}: made from other {key} "
                f"({description[key][:12]}, expected {expected[:12]}); {again}"
            )
    arrays = {}
    for name in description["arrays"]:
        try:
            arrays[name] = np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError):
            message = f"teacher cache {folder}: {name}.npy is missing or cut; {again}"
            raise UserError(message) from None
    return arrays
