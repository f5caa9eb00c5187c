"""The state dict in a foreign file: names and shapes first, values on demand."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from input_pipeline.errors import UserError
from sacd_jax.pretrained.pickle_data import RefusedError, printable
from sacd_jax.pretrained.torch_zip import TorchTensor, open_torch

# Keys under which training checkpoints keep the network's weights.
_CONTAINERS = ("state_dict", "model_state_dict", "model", "net")
# Prefixes of every name from wrappers: parallel training, compilation, a training framework.
_PREFIXES = ("module.", "_orig_mod.", "model.")
_SAFETENSORS_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
}
_RESAVE = (
    'with PyTorch 1.6 or later: torch.save(torch.load("old.pth", map_location="cpu"), "new.pth"); '
    "or save the state dict as safetensors"
)


@dataclass(frozen=True)
class Entry:
    """One tensor of the file.

    Attributes:
        shape: in PyTorch's layout.
        dtype: as stored, NumPy's name or `bfloat16`.
        read: returns the values as float32.
    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], np.ndarray]


@dataclass(frozen=True)
class StateDict:
    """What a file holds.

    Attributes:
        entries: tensors by name, without the prefix of a wrapper.
        beside: names of everything else in the file (epoch, optimizer, …), which is ignored.
    """

    entries: dict[str, Entry]
    beside: tuple[str, ...]


@contextmanager
def open_state_dict(path: str | Path) -> Iterator[StateDict]:
    """Opens a zip file of `torch.save` or a safetensors file; entries can be read while it is open.

    Nothing is unpickled, and nothing larger than the file is allocated.

    Raises:
        UserError: there is no such file, it is of another or an outdated format, damaged, hostile,
            or holds no weights.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not a file, expected a PyTorch or safetensors checkpoint")
    try:
        if _kind(path) == "zip":
            with open_torch(path) as content:
                yield _from_torch(content)
        else:
            with safe_open(path, framework="numpy") as file:
                yield StateDict(_without_prefix(_from_safetensors(file)), ())
    except (RefusedError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _kind(path: Path) -> str:
    with open(path, "rb") as file:
        start = file.read(512)
    if start[:4] == b"PK\3\4":
        return "zip"
    if start[8:9] == b"{":
        return "safetensors"
    if start[257:262] == b"ustar":
        raise RefusedError(f"it is a tar file from PyTorch before 0.2; save it again {_RESAVE}")
    if start[:1] == b"\x80":
        raise RefusedError(f"it is an old-style PyTorch pickle; save it again {_RESAVE}")
    raise RefusedError("it is neither a zip file of torch.save nor a safetensors file")


def _from_safetensors(file: Any) -> dict[str, Entry]:
    def read(name: str) -> np.ndarray:
        with np.errstate(over="ignore"):  # the caller checks for non-finite values
            return file.get_tensor(name).astype(np.float32)

    entries = {}
    for name in file.keys():  # noqa: SIM118 - not a dict
        part = file.get_slice(name)
        dtype = _SAFETENSORS_TYPES.get(part.get_dtype(), part.get_dtype().lower())
        entries[name] = Entry(tuple(part.get_shape()), dtype, partial(read, name))
    return entries


def _from_torch(content: Any) -> StateDict:
    beside: list[str] = []
    for _ in _CONTAINERS:  # no checkpoint nests deeper, but a hostile dict may contain itself
        if not isinstance(content, Mapping):
            break
        container = next((k for k in _CONTAINERS if isinstance(content.get(k), Mapping)), None)
        if container is None:
            break
        beside += [printable(key) for key in content if key != container]
        content = content[container]
    if not isinstance(content, Mapping):
        raise RefusedError(f"it holds a {type(content).__name__}, expected a dict of tensors")
    tensors = {key: value for key, value in content.items() if isinstance(value, TorchTensor)}
    if not tensors:
        found = ", ".join(printable(key) for key in list(content)[:8]) or "nothing"
        expected = ", ".join(_CONTAINERS)
        raise RefusedError(f"it holds no tensors but {found}; expected tensors, also in {expected}")
    if not all(isinstance(key, str) for key in tensors):
        raise RefusedError("a tensor's name is not a string")
    beside += [printable(key) for key in content if key not in tensors]
    entries = {
        key: Entry(tensor.shape, tensor.dtype, tensor.read) for key, tensor in tensors.items()
    }
    return StateDict(_without_prefix(entries), tuple(beside))


def _without_prefix(entries: dict[str, Entry]) -> dict[str, Entry]:
    while entries:
        prefix = next((p for p in _PREFIXES if all(key.startswith(p) for key in entries)), None)
        if prefix is None:
            break
        entries = {key.removeprefix(prefix): entry for key, entry in entries.items()}
    return entries
