"""Writes zip files as `torch.save` does, without PyTorch."""

import io
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

STORAGES = {
    "float64": "DoubleStorage",
    "float32": "FloatStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "int64": "LongStorage",
    "int32": "IntStorage",
    "uint8": "ByteStorage",
    "bool": "BoolStorage",
}
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)


@dataclass(frozen=True)
class Named:
    """Pickled as the global `module.name`, whether there is such a module or not."""

    module: str
    name: str

    def __call__(self) -> None:
        raise AssertionError("only its name is written")


@dataclass(frozen=True)
class Call:
    """Pickled as a call of a global."""

    function: Named
    arguments: tuple[Any, ...] = ()
    state: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (self.function, self.arguments, self.state)


@dataclass
class Storage:
    """Flat numbers that tensors share."""

    data: np.ndarray
    size: int | None = None  # what the pickle claims, if not the truth
    kind: Named | None = None


@dataclass
class Tensor:
    """A view of a storage; strides and offset count elements."""

    storage: Storage
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0
    parameter: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        arguments = (self.storage, self.offset, self.shape, self.strides, False, OrderedDict())
        tensor = Call(Named("torch._utils", "_rebuild_tensor_v2"), arguments)
        if self.parameter:
            wrapped = (tensor, True, OrderedDict())
            return (Named("torch._utils", "_rebuild_parameter"), wrapped)
        return tensor.__reduce__()[:2]


def tensor(value: np.ndarray, **options: Any) -> Tensor:
    """A contiguous tensor with a storage of its own."""
    value = np.ascontiguousarray(value)
    strides = tuple(step // value.itemsize for step in value.strides)
    return Tensor(Storage(value.reshape(-1)), value.shape, strides, **options)


def state_dict(arrays: dict[str, np.ndarray]) -> OrderedDict[str, Tensor]:
    """As a module's `state_dict()` gives it."""
    return OrderedDict((key, tensor(value)) for key, value in arrays.items())


class _Pickler(pickle._Pickler):  # the C pickler has no dispatch table to extend
    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def __init__(self, file: Any, protocol: int) -> None:
        super().__init__(file, protocol)
        self.storages: list[Storage] = []

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        if not any(obj is known for known in self.storages):
            self.storages.append(obj)
        key = next(i for i, known in enumerate(self.storages) if known is obj)
        kind = obj.kind or Named("torch", STORAGES[obj.data.dtype.name])
        return ("storage", kind, str(key), "cpu", obj.data.size if obj.size is None else obj.size)

    def save_named(self, obj: Named) -> None:
        self.write(b"c%s\n%s\n" % (obj.module.encode(), obj.name.encode()))
        self.memoize(obj)

    dispatch[Named] = save_named


@dataclass
class Zip:
    """Records of a file to write; change them to make a hostile one."""

    records: dict[str, bytes] = field(default_factory=dict)
    compression: int = zipfile.ZIP_STORED

    def write(self, path: Path) -> Path:
        with zipfile.ZipFile(path, "w", self.compression) as archive:
            for name, data in self.records.items():
                archive.writestr(name, data)
        return path


def torch_zip(
    content: Any, *, protocol: int = 2, byteorder: str | None = "little", folder: str = "archive"
) -> Zip:
    """The records of `torch.save(content)`."""
    buffer = io.BytesIO()
    pickler = _Pickler(buffer, protocol)
    pickler.dump(content)
    records = {f"{folder}/data.pkl": buffer.getvalue(), f"{folder}/version": b"3\n"}
    if byteorder is not None:
        records[f"{folder}/byteorder"] = byteorder.encode()
    for key, storage in enumerate(pickler.storages):
        data = storage.data
        if data.dtype == BFLOAT16:
            data = data.view(np.uint16)
        order = ">" if byteorder == "big" else "<"
        records[f"{folder}/data/{key}"] = data.astype(data.dtype.newbyteorder(order)).tobytes()
    return Zip(records)


def save(content: Any, path: Path, **options: Any) -> Path:
    """As `torch.save(content, path)`."""
    return torch_zip(content, **options).write(path)
