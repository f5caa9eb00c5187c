"""Files of `torch.save` since PyTorch 1.6: a zip of one pickle and one record for each storage.

Names, shapes and strides come from the pickle; values are read tensor by tensor on demand, and only
after everything the pickle claims about them has been checked against the records' actual sizes.
"""

import io
import math
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sacd_jax.pretrained.pickle_data import (
    MAX_BYTES,
    Global,
    Known,
    RefusedError,
    printable,
    read_pickle,
)

_MAX_DIRECTORY = 4 << 20
_MAX_RANK = 16
_CHUNK = 1 << 20

# Storage type -> NumPy's kind and item size; the byte order is the file's. NumPy has no bfloat16.
_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
}

# What checkpoints from the networks' own repositories hold besides weights: a schedule's
# milestones, a run's settings, its folder, its best score. None is needed, so none is built.
_BESIDE = (
    "collections.Counter",
    "argparse.Namespace",
    "parse_config.ConfigParser",
    "pathlib.PosixPath",
    "pathlib._local.PosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.WindowsPath",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "_codecs.encode",
    "torch.Size",
    "torch.device",
)


@dataclass(frozen=True)
class _Storage:
    record: zipfile.ZipInfo
    kind: str
    size: int


@dataclass(frozen=True)
class TorchTensor:
    """A tensor in a file; strides and offset count elements of its storage."""

    archive: "_Archive"
    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> str:
        """NumPy's name of the stored type, or `bfloat16`."""
        kind = self.storage.kind
        return kind if kind == "bfloat16" else np.dtype(kind).name

    def read(self) -> np.ndarray:
        """The values as a contiguous float32 array.

        Raises:
            RefusedError: the record is damaged.
        """
        if 0 in self.shape:
            return np.zeros(self.shape, np.float32)
        stored = self.archive.dtype(self.storage.kind)
        length = _reach(self.shape, self.strides)
        raw = self.archive.read(
            self.storage.record, self.offset * stored.itemsize, length * stored.itemsize
        )
        flat = np.frombuffer(raw, stored)
        steps = tuple(stride * stored.itemsize for stride in self.strides)
        value = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        if self.storage.kind == "bfloat16":  # the upper half of a float32
            return (np.array(value, np.uint32, order="C") << 16).view(np.float32)
        with np.errstate(over="ignore"):  # the caller checks for non-finite values
            return np.array(value, np.float32, order="C")


@contextmanager
def open_torch(path: Path) -> Iterator[Any]:
    """Opens a zip file of `torch.save` and yields its content, tensors as `TorchTensor`.

    Tensors can be read while the context is open.

    Raises:
        RefusedError: the file is damaged, compressed, or holds more than data.
    """
    with open(path, "rb") as file:
        archive = _Archive(path, file)
        yield read_pickle(archive.pickle(), archive.known(), archive.storage)


class _Directory(io.BufferedReader):
    """A file that refuses long reads: an archive's directory is short."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_DIRECTORY:
            raise RefusedError(f"its zip directory has {size} bytes, expected fewer")
        return super().read(size)


class _Archive:
    """Records of an open zip file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.file = file
        self.size = os.fstat(file.fileno()).st_size
        try:
            with _Directory(io.FileIO(path)) as directory, zipfile.ZipFile(directory) as archive:
                self.records = {info.filename: info for info in archive.infolist()}
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            # NotImplementedError: a zip of a future version; OSError: a position before the start.
            raise RefusedError(f"it is not a complete zip file: {error}") from error
        roots = [name for name in self.records if name.count("/") == 1 and name[-9:] == "/data.pkl"]
        if len(roots) != 1:
            raise RefusedError("it is a zip file, but not from torch.save: it has no data.pkl")
        self.folder = roots[0][: -len("data.pkl")]
        if f"{self.folder}constants.pkl" in self.records:
            raise RefusedError(
                "it is a TorchScript archive: save the module's state_dict() instead"
            )
        self.checked: set[str] = set()
        order = self._small("byteorder", default=b"little")
        if order not in (b"little", b"big"):
            raise RefusedError("its record byteorder is neither little nor big")
        self.order = "<" if order == b"little" else ">"

    def dtype(self, kind: str) -> np.dtype:
        """NumPy's type of stored items; bfloat16 as its bits (uint16)."""
        return np.dtype("u2" if kind == "bfloat16" else kind).newbyteorder(self.order)

    def pickle(self) -> bytes:
        """The record that describes the others."""
        return self._small("data.pkl", MAX_BYTES)

    def _small(self, name: str, limit: int = 64, default: bytes = b"") -> bytes:
        info = self.records.get(self.folder + name)
        if info is None:
            return default
        if info.file_size > limit:
            raise RefusedError(f"its record {name} has {info.file_size} bytes, expected fewer")
        return self.read(info, 0, info.file_size)

    def known(self) -> Known:
        """The names that the pickle may call."""

        def tensor(
            storage: Any, offset: Any, shape: Any, strides: Any, *_: Any
        ) -> TorchTensor:  # requires_grad, hooks, metadata
            return self._tensor(storage, offset, shape, strides)

        return {
            "collections.OrderedDict": _ordered_dict,
            "torch._utils._rebuild_tensor": tensor,
            "torch._utils._rebuild_tensor_v2": tensor,
            "torch._utils._rebuild_parameter": _parameter,
            "torch._utils._rebuild_parameter_with_state": _parameter,
            **{f"torch.{name}": None for name in _STORAGES},
            **dict.fromkeys(_BESIDE),
        }

    def storage(self, persistent_id: Any) -> _Storage:
        """The storage of a persistent id ("storage", type, record, device, number of elements)."""
        match persistent_id:
            case ("storage", Global(name), str(key), str(), int(size)):
                pass
            case _:
                raise RefusedError("its pickle describes a storage in an unknown way")
        kind = _STORAGES.get(name.removeprefix("torch."))
        info = self.records.get(f"{self.folder}data/{key}")
        if kind is None or info is None:
            raise RefusedError(f"its record {printable(key)} is missing or of an unknown type")
        claimed = size * self.dtype(kind).itemsize
        if not 0 <= claimed <= min(info.file_size, self.size):
            raise RefusedError(
                f"its record {printable(key)} has {info.file_size} bytes, "
                f"and the pickle claims {printable(claimed)} of them"
            )
        return _Storage(info, kind, size)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any) -> TorchTensor:
        if not (
            isinstance(storage, _Storage)
            and _is_size(offset)
            and isinstance(shape, tuple)
            and isinstance(strides, tuple)
            and len(shape) == len(strides) <= _MAX_RANK
            and all(map(_is_size, shape + strides))
        ):
            raise RefusedError("its pickle describes a tensor in an unknown way")
        if 0 not in shape and offset + _reach(shape, strides) > storage.size:
            raise RefusedError(f"a tensor claims elements beyond the {storage.size} of its storage")
        if math.prod(shape) > storage.size:
            raise RefusedError(f"a tensor repeats the {storage.size} elements of its storage")
        return TorchTensor(self, storage, offset, shape, strides)

    def read(self, info: zipfile.ZipInfo, offset: int, length: int) -> bytes:
        """Bytes of a record; its checksum is verified at the first read."""
        name = printable(info.filename)
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise RefusedError(f"its record {name} is compressed, which torch.save never does")
        header = b""
        if 0 <= info.header_offset < self.size:  # a wrong directory makes it negative
            self.file.seek(info.header_offset)
            header = self.file.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise RefusedError(f"its record {name} has no header")
        lengths = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
        start = info.header_offset + 30 + sum(lengths)
        if start + info.file_size > self.size or info.compress_size != info.file_size:
            raise RefusedError(f"its record {name} is longer than the file")
        if info.filename not in self.checked:
            self._check(start, info, name)
        self.file.seek(start + offset)
        return self.file.read(length)

    def _check(self, start: int, info: zipfile.ZipInfo, name: str) -> None:
        self.file.seek(start)
        checksum, left = 0, info.file_size
        while left:
            piece = self.file.read(min(left, _CHUNK))
            if not piece:
                raise RefusedError(f"its record {name} is cut short")
            checksum, left = zlib.crc32(piece, checksum), left - len(piece)
        if checksum != info.CRC:
            raise RefusedError(f"its record {name} is damaged: its checksum is wrong")
        self.checked.add(info.filename)


def _reach(shape: tuple[int, ...], strides: tuple[int, ...]) -> int:
    """Elements from a tensor's first to its last, inclusive; no size may be 0."""
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _ordered_dict() -> dict[Any, Any]:
    return {}


def _parameter(data: Any, *_: Any) -> TorchTensor:  # requires_grad, hooks, state
    if not isinstance(data, TorchTensor):
        raise RefusedError("its pickle describes a parameter in an unknown way")
    return data
