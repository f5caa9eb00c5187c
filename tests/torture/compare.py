"""Whether two experiments came to the same end: bit for bit, or but for rounding."""

import json
import re
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from safetensors.numpy import load_file
from tensorflow_datasets.proto.tf_example_generated_pb2 import Example

from sacd_jax.training.meters import CLOCK

_TIMES = re.compile(rb"<dt>time of .*?</dd>|\"time\": \{.*?\n  \}", re.DOTALL)
"""Where the time of the runs went, in `report.html` and `results.json`."""
_RELATIVE, _ABSOLUTE = 2e-3, 2e-3
_ROUNDED = ("metrics.jsonl", ".npy", ".npz", ".safetensors")
_ROUNDED_AS_TEXT = (
    *("results.json", "table.md", "report.html", "subjects.csv"),
    *("cache.json", "temperature.json"),
)


def differences(reference: Path, other: Path, exact: bool = True) -> list[str]:
    """What differs, one line each; [] if nothing does.

    Args:
        reference: folder of an experiment.
        other: folder of another start of the same.
        exact: every bit; else weights, outputs, predictions and logged numbers but for rounding,
            and all else, such as the data and which clips were predicted, bit for bit.
    """
    wanted, there = _files(reference), _files(other)
    found = [f"{name} is missing" for name in sorted(wanted - there)]
    found += [f"{name} is too much" for name in sorted(there - wanted)]
    for name in sorted(wanted & there):
        first, second = reference / name, other / name
        rounded = not exact and not name.startswith("data/")
        if first.name == "metrics.jsonl" or (rounded and name.endswith(_ROUNDED)):
            found += [f"{name}: {what}" for what in _numbers(first, second, exact)]
        elif ".array_record" in name:
            found += [f"{name} differs"] * (_records(first) != _records(second))
        elif first.is_file() and not (rounded and name.endswith(_ROUNDED_AS_TEXT)):
            one, two = (_TIMES.sub(b"", file.read_bytes()) for file in (first, second))
            found += [f"{name} differs"] * (one != two)
    return found


def _files(folder: Path) -> set[str]:
    """All of an experiment but its times, and nothing of TensorBoard's files, which bear dates.

    Of each run's checkpoints only how many there are and the newest step: an orderly stop saves at
    its own step, and the two newest are kept.
    """
    left_out = (".lock", "goodput.json")
    paths = {path.relative_to(folder) for path in folder.rglob("*") if path.name not in left_out}
    dated = {path for path in paths if path.parts[1:2] in (("checkpoints",), ("tensorboard",))}
    kept = []
    for run in folder.glob("*/checkpoints"):
        steps = [path.name for path in run.iterdir()]
        newest = max(filter(str.isdecimal, steps), key=int, default="none")
        kept.append(f"{run.relative_to(folder)}: {len(steps)}, the newest {newest}")
    return {*map(str, paths - dated), *kept}


def _numbers(first: Path, second: Path, exact: bool) -> list[str]:
    one, other = _arrays(first), _arrays(second)
    if one.keys() != other.keys():
        return [f"{len(one.keys() ^ other.keys())} entries are only in one of them"]
    digests = () if exact else ("weights",)  # of a network's bits
    return [n for n in one if n not in digests and not _same(one[n], other[n], exact)]


def _arrays(path: Path) -> dict[str, np.ndarray]:
    """What a file holds, by name."""
    if path.suffix == ".npz":
        return dict(np.load(path))
    if path.suffix == ".npy":
        return {"array": np.load(path)}
    if path.suffix == ".safetensors":
        return load_file(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {
        f"{line['split']} {line['step']} {name}": np.array(value)
        for line in lines
        for name, value in line.items()
        if name not in CLOCK
    }


def _records(path: Path) -> list[Example]:
    """Clips; their bytes hold the features in an order that no two processes share."""
    reader = ArrayRecordReader(str(path))
    return [Example.FromString(record) for record in reader.read_all()]


def _same(one: np.ndarray, other: np.ndarray, exact: bool) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    if exact or one.dtype.kind != "f":
        return one.tolist() == other.tolist()
    return np.allclose(one, other, _RELATIVE, _ABSOLUTE, equal_nan=True)
