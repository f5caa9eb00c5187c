"""A trained network as one file: weights in safetensors, what they are in its header.

The header carries digests of the weights and of itself. Files of earlier versions have none and are
read without.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from input_pipeline.digests import KEY, json_digest
from input_pipeline.errors import UserError
from input_pipeline.files import whole_file
from input_pipeline.fingerprints import array_fingerprint, fingerprint
from sacd_jax.runs.run_folder import RunFolder

FILE_NAME = "model.safetensors"
_HEADER, _WEIGHTS = "sacd_jax", "weights"
_BROKEN = (LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError)
_MEND = "train or convert it again"


@dataclass(frozen=True)
class Model:
    """A network and its weights.

    Attributes:
        encoder: name in `sacd_jax.models`.
        num_classes: of the classifier.
        options: the encoder's options.
        variables: `params` and `batch_stats` as float32 NumPy trees.
        accuracy: on the validation split, for which it was selected; None where nobody measured it.
        inputs: how clips are made for it and what it learned from, as plain JSON: `clips` (frame
            rate and size), `sampling`, `augment`, `training`; {} where nobody said.
    """

    encoder: str
    num_classes: int
    options: dict[str, Any]
    variables: dict[str, Any]
    accuracy: float | None = None
    inputs: dict[str, Any] = field(default_factory=dict)


def save(folder: Path, model: Model) -> Path:
    """Writes `model.safetensors` into `folder`, whole or not at all; returns its path."""
    flat = flatten_dict(model.variables, sep="/")
    arrays = {name: np.ascontiguousarray(value) for name, value in flat.items()}
    facts = {
        "encoder": model.encoder,
        "num_classes": model.num_classes,
        "options": model.options,
        "accuracy": model.accuracy,
        "inputs": model.inputs,
        _WEIGHTS: array_fingerprint(arrays),
    }
    facts = json.loads(json.dumps(facts))  # as it will be read back
    facts[KEY] = json_digest(facts)
    path = folder / FILE_NAME
    # Bytes first: safetensors' own writer hides what the operating system says of a full disk.
    content = serialize(arrays, metadata={_HEADER: json.dumps(facts)})
    with whole_file(path, len(content)) as temporary:
        temporary.write_bytes(content)
    return path


def save_new(folder: Path, model: Model) -> bool:
    """Writes a model into a folder that holds no other; returns whether it was not there already.

    Raises:
        UserError: the folder holds another model, or it is no folder.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file, expected a folder")
    if any(map(is_in, (folder, RunFolder(folder).model))):
        if not same(load(folder), model):
            raise UserError(f"{folder} holds another model: expected a new folder")
        return False
    save(folder, model)
    return True


def is_in(folder: Path) -> bool:
    """Whether a folder holds a model: one that a killed process was about to write has none."""
    return (folder / FILE_NAME).is_file()


def load(folder: str | Path) -> Model:
    """Reads a folder written by `save` (the `model` folder of a run, or the run's own folder).

    Raises:
        UserError: no such file, or it is damaged, holds values that are not finite, or was not
            written by this package.
    """
    folder = Path(folder)
    path = next(
        (p for p in (folder / FILE_NAME, RunFolder(folder).model / FILE_NAME) if p.is_file()), None
    )
    if path is None:
        raise UserError(f"no {FILE_NAME} in {folder}: expected a finished run or a converted model")
    try:
        with safe_open(path, framework="numpy") as file:
            facts = json.loads((file.metadata() or {})[_HEADER])
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
        wrong = _what_is_wrong(facts, flat)
        variables = {} if wrong else dict(unflatten_dict(flat, sep="/"))
    except (*_BROKEN, SafetensorError) as error:
        raise UserError(
            f"{path} is damaged or no model of sacd_jax ({type(error).__name__}); {_MEND}"
        ) from error
    if wrong:
        raise UserError(f"{path} is damaged or no model of sacd_jax: {wrong}; {_MEND}")
    return Model(
        facts["encoder"],
        facts["num_classes"],
        facts["options"],
        variables,
        facts.get("accuracy"),
        facts.get("inputs", {}),
    )


def _what_is_wrong(facts: dict[str, Any], arrays: Mapping[str, np.ndarray]) -> str:
    """One reason not to believe a file, or ""."""
    digest, weights = facts.pop(KEY, None), facts.get(_WEIGHTS)
    if (digest, weights) != (None, None):
        if digest != json_digest(facts):
            return "the digest of its header differs"
        if weights != array_fingerprint(arrays):
            return "the digest of its weights differs"
    accuracy = facts.get("accuracy")
    kinds = {
        "encoder": isinstance(facts["encoder"], str),
        "num_classes": type(facts["num_classes"]) is int and facts["num_classes"] > 0,
        "options": isinstance(facts["options"], dict),
        "inputs": isinstance(facts.get("inputs", {}), dict),
        "accuracy": accuracy is None
        or (type(accuracy) in (int, float) and math.isfinite(accuracy)),
    }
    odd = [name for name, right in kinds.items() if not right]
    odd += [name for name, array in arrays.items() if not np.isfinite(array).all()]
    return f"{odd[0]} is not what it should be" if odd else ""


def identity(model: Model) -> str:
    """Fingerprint of a network with every bit of its weights."""
    weights = array_fingerprint(flatten_dict(model.variables, sep="/"))
    return fingerprint([model.encoder, model.num_classes, model.options, weights])


def same(one: Model, other: Model) -> bool:
    """Whether two models are the same network with the same weights, bit for bit."""
    first, second = (flatten_dict(model.variables, sep="/") for model in (one, other))
    return (
        (one.encoder, one.num_classes, one.options)
        == (other.encoder, other.num_classes, other.options)
        and first.keys() == second.keys()
        and all(np.array_equal(value, second[name]) for name, value in first.items())
    )


def fill(
    variables: Mapping[str, Any], stored: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Replaces weights by stored ones of the same name and shape.

    Returns:
        The filled variables, and the names that kept their fresh weights (a new classifier, say).

    Raises:
        UserError: nothing fits: the stored network is another one.
    """
    fresh, old = flatten_dict(dict(variables), sep="/"), flatten_dict(dict(stored), sep="/")
    fits = {name for name, value in fresh.items() if name in old and old[name].shape == value.shape}
    if not fits:
        raise UserError(
            "the stored weights fit no layer of this network: expected the same encoder"
        )
    filled = {name: old[name] if name in fits else value for name, value in fresh.items()}
    return dict(unflatten_dict(filled, sep="/")), sorted(set(fresh) - fits)


def replace_part(
    variables: Mapping[str, Any], part: str, stored: Mapping[str, Any]
) -> dict[str, Any]:
    """Replaces the weights of one submodule by stored ones.

    Args:
        variables: of the network; `variables[collection][part]` are the submodule's.
        part: name of the submodule.
        stored: variables of a network that has a submodule of that name, or of the submodule alone.

    Raises:
        UserError: a weight of the submodule is not stored, or has another shape.
    """
    whole = part not in stored["params"]
    replaced = dict(variables)
    for collection, parts in variables.items():
        if part not in parts:
            continue
        held = stored.get(collection, {})
        old = flatten_dict(dict(held if whole else held.get(part, {})), sep="/")
        for name, value in flatten_dict(dict(parts[part]), sep="/").items():
            if name not in old or old[name].shape != value.shape:
                found = f"of shape {old[name].shape}" if name in old else "not there"
                raise UserError(
                    f"part {part!r}: the stored {name} is {found}, expected shape {value.shape}"
                )
        kept = {name: old[name] for name in flatten_dict(dict(parts[part]), sep="/")}
        replaced[collection] = {**parts, part: unflatten_dict(kept, sep="/")}
    return replaced


def refuse_missing(variables: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses stored weights that leave a part of the network without any.

    Args:
        variables: as stored.
        expected: the network's variables, or their shapes.

    Raises:
        UserError: names the first weight that is missing.
    """
    stored = flatten_dict(dict(variables), sep="/")
    missing = sorted(set(flatten_dict(dict(expected), sep="/")) - set(stored))
    if missing:
        raise UserError(
            f"the stored network lacks {missing[0]} (and {len(missing) - 1} more): "
            "expected a trained network with its classifier"
        )
