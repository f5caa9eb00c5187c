"""Arrays over the rows of a split that somebody computed once: outputs of a frozen teacher.

A cache is a folder with one `.npy` file an array and `cache.json`, which says what it was computed
from: the split's data and the teacher's weights, both as fingerprints (see `fingerprints`); and the
digest of each array's file. A cache of other data or other weights is refused, and a damaged
one. This module knows no network: rows go in by index and
come back in the order of the split, to be joined to batches through the loader's `extra`.
"""

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from input_pipeline.digests import (
    check_file,
    file_digest,
    read_verified_json,
    write_verified_json,
)
from input_pipeline.disk import disk_full, is_full
from input_pipeline.errors import UserError
from input_pipeline.files import whole_folder

_DESCRIPTION = "cache.json"
_AGAIN = "compute it again (`python -m sacd_jax.cache_teacher`)"


class CacheWriter:
    """Takes rows in any order and any grouping."""

    def __init__(self, folder: Path, rows: int):
        self._folder = folder
        self._arrays: dict[str, np.ndarray] = {}
        self._written = np.zeros(rows, bool)

    def write(self, index: np.ndarray, arrays: Mapping[str, np.ndarray]) -> None:
        """Stores `arrays[name][i]` as row `index[i]`; rows beyond the split are padding, left
        out.

        Raises:
            UserError: a value of a row is not finite.
        """
        index = np.asarray(index)
        valid = (index >= 0) & (index < len(self._written))
        for name, values in arrays.items():
            values = np.asarray(values)
            if not np.isfinite(values[valid]).all():
                raise UserError(
                    f"teacher cache: {name} has values that are not finite; train the teacher anew"
                )
            if name not in self._arrays:
                shape = (len(self._written), *values.shape[1:])
                self._arrays[name] = _array_on_disk(
                    self._folder / f"{name}.npy", shape, values.dtype
                )
            self._arrays[name][index[valid]] = values[valid]
        self._written[index[valid]] = True

    def finish(self) -> dict[str, str]:
        """Writes what is left to disk; returns the name of each array -> digest of its file.

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
        return {name: file_digest(self._folder / f"{name}.npy") for name in sorted(self._arrays)}


def _array_on_disk(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """A new array in a file: embeddings of a large split need not fit into memory."""
    array = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    # The space is taken now: a mapped file that meets a full disk later kills the process.
    size = path.stat().st_size
    try:
        with open(path, "rb+") as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if (code := is_full(error)) is None:
            raise
        raise disk_full(code, path, size) from None
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
        UserError: there is a cache already, or a value is not finite.
        ValueError: not every row was written.
    """
    folder = Path(folder)
    if folder.exists():
        raise UserError(f"teacher cache {folder}: exists already; delete it to compute it anew")
    with whole_folder(folder) as temporary:
        writer = CacheWriter(temporary, rows)
        yield writer
        arrays = writer.finish()
        description = {"rows": rows, "data": data, "weights": weights, "arrays": arrays}
        write_verified_json(temporary / _DESCRIPTION, description)


def read_cache(folder: str | Path, *, data: str, weights: str) -> dict[str, np.ndarray]:
    """Opens a cache for these data and these weights.

    Returns:
        name -> array over the rows of the split, mapped from disk.

    Raises:
        UserError: there is no whole cache, it is damaged (or has no digests, as those of earlier
            versions), or it belongs to other data or other weights.
    """
    folder = Path(folder)
    what, path = "teacher cache", folder / _DESCRIPTION
    if not path.is_file():
        raise UserError(f"{what} {folder}: not there; {_AGAIN}")
    description = read_verified_json(path, what=what, mend=_AGAIN)
    names = description.get("arrays")
    well_named = isinstance(names, dict) and all(re.fullmatch(r"\w{1,100}", name) for name in names)
    rows = description.get("rows")
    if not well_named or not isinstance(rows, int):
        raise UserError(f"{what} {path}: expected rows and the arrays with their digests; {_AGAIN}")
    for key, expected in (("data", data), ("weights", weights)):
        if (found := description.get(key)) != expected:
            raise UserError(
                f"{what} {folder}: made from other {key} "
                f"({str(found)[:12]}, expected {expected[:12]}); {_AGAIN}"
            )
    return {name: _array(folder / f"{name}.npy", digest, rows) for name, digest in names.items()}


def _array(path: Path, digest: str, rows: int) -> np.ndarray:
    check_file(path, digest, what="teacher cache", mend=_AGAIN)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        array = None
    if array is None or array.ndim == 0 or len(array) != rows:
        raise UserError(f"teacher cache {path}: expected an array of {rows} rows; {_AGAIN}")
    return array
