"""Public weights of the networks: which tensor goes where, and what a file lacks or has in excess.

PyTorch's tensors are moved to our layout: kernels (out, in, *taps) to (*taps, in, out), linear
weights transposed, batch normalisation's weight, bias, running_mean and running_var to scale, bias,
mean and var. Our networks flatten in PyTorch's order, so no row of a linear layer moves.
"""

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from input_pipeline.errors import UserError, suggestion
from sacd_jax import models
from sacd_jax.models.attnsleep import FORMS, AttnSleep
from sacd_jax.models.encoder import Encoder, init_variables
from sacd_jax.pretrained import names, names_eeg
from sacd_jax.pretrained.pickle_data import printable
from sacd_jax.pretrained.state_dict import Entry, StateDict, open_state_dict
from sacd_jax.runs.model_file import Model

_log = logging.getLogger(__name__)

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SHOWN = 24  # most names listed in an error
TreePath = names.Path


@dataclass(frozen=True)
class _Architecture:
    """One network with public weights.

    Attributes:
        names: state-dict key -> path in the tree of a given encoder.
        head: key of the classifier.
        options: encoder options that make the file's own network.
        unused: whether the original network holds this key but never uses it.
    """

    names: Callable[[Any], dict[str, TreePath]]
    head: str
    options: Callable[[Mapping[str, Entry]], dict[str, Any]]
    unused: Callable[[str], bool]


def _video(name: str) -> _Architecture:
    def options(entries: Mapping[str, Entry]) -> dict[str, Any]:
        own: dict[str, Any] = {}
        if names.VIDEO_FAMILIES[name] == "kenshohara":
            if not any(".downsample." in key for key in entries):
                own["shortcut"] = "A"
            if name.endswith("_50"):
                own["embedding_dim"] = None
        return own

    head = "linear" if names.VIDEO_FAMILIES[name] == "ccl" else "fc"
    return _Architecture(lambda e: names.video_names(name, e), head, options, lambda key: False)


def _attnsleep_options(entries: Mapping[str, Entry]) -> dict[str, Any]:
    def kernel(key: str) -> int:
        entry = entries.get(f"mrcnn.{key}.weight")
        return entry.shape[-1] if entry is not None and entry.shape else 0

    def form(rate: int) -> tuple[int, int, int]:
        short, long, long_kernel, _ = FORMS[rate]
        return short[0], long[0], long_kernel

    found = kernel("features1.0"), kernel("features2.0"), kernel("features2.5")
    rate = next((rate for rate in FORMS if form(rate) == found), 125)
    layer = entries.get("fc1.weight")
    has_layer = rate == 128 and layer is not None and math.prod(layer.shape) > 0
    return {"bottleneck": layer.shape[0] if has_layer else None, "sample_rate": rate}


def _attnsleep_names(encoder: AttnSleep) -> dict[str, TreePath]:
    # Other files have no such layer: it and the classifier behind it are then initialised anew.
    own_layer = encoder.sample_rate == 128 and encoder.bottleneck is not None
    return names_eeg.attnsleep_names(bottleneck=own_layer)


ARCHITECTURES: dict[str, _Architecture] = {
    **{name: _video(name) for name in names.VIDEO_FAMILIES},
    "attnsleep": _Architecture(
        _attnsleep_names,
        "fc",
        _attnsleep_options,
        frozenset(names_eeg.attnsleep_unused()).__contains__,
    ),
    "cnn14": _Architecture(
        lambda encoder: names_eeg.cnn14_names(),
        "fc_audioset",
        lambda entries: {},
        lambda key: key.startswith(("spectrogram_extractor.", "logmel_extractor.")),
    ),
}
"""Networks whose public weights can be read."""


@dataclass(frozen=True)
class Converted:
    """A network with a file's weights, and what the file held besides.

    Attributes:
        model: the network; without classifier weights if `head_classes` differs from its classes.
        tensors: how many of the file's were used.
        head_classes: classes of the file's classifier; None if it had none.
        unused: keys that the original network holds but never uses.
        beside: names of what the file held besides weights.
    """

    model: Model
    tensors: int
    head_classes: int | None
    unused: tuple[str, ...]
    beside: tuple[str, ...]


def convert(architecture: str, path: str | Path, num_classes: int | None = None) -> Converted:
    """Reads public weights into the network they belong to, made with the options of the file.

    Args:
        architecture: a name of `models.create` that stands in `ARCHITECTURES`.
        path: zip file of `torch.save`, or safetensors.
        num_classes: of the network; None for the file's. A classifier of another size is left out.

    Raises:
        UserError: no such architecture; the file cannot be read; tensors are missing, unused,
            of another shape or type, or not finite, each named.
    """
    known = _architecture(architecture)
    with open_state_dict(path) as state:
        head = state.entries.get(f"{known.head}.weight")
        head_classes = head.shape[0] if head is not None and math.prod(head.shape) else None
        if num_classes is None and head_classes is None:
            raise UserError(f"{path} has no classifier {known.head}: expected a number of classes")
        options = known.options(state.entries)
        classes = num_classes or head_classes or 0
        encoder = models.create(architecture, classes, **options)
        taken, _ = _take(path, architecture, encoder, state)
        unused = tuple(key for key in state.entries if known.unused(key))
    model = Model(architecture, classes, options, unflatten_dict(taken))
    return Converted(model, len(taken), head_classes, unused, state.beside)


def load(
    architecture: str, path: str | Path, num_classes: int = 5, **options: Any
) -> dict[str, Any]:
    """Variables of `models.create(architecture, num_classes, **options)` with public weights.

    Layers that the file's network lacks (a bottleneck before the classifier) and a classifier with
    another number of classes are initialised anew, from seed 0; a logged warning names them.

    Args:
        architecture: a name of `models.create` that stands in `ARCHITECTURES`.
        path: zip file of `torch.save`, or safetensors.
        num_classes: classes of the network.
        options: other options of the network.

    Returns:
        `{"params": …, "batch_stats": …}`, float32.

    Raises:
        UserError: as `convert`.
    """
    _architecture(architecture)
    encoder = models.create(architecture, num_classes, **options)
    with open_state_dict(path) as state:
        taken, fresh = _take(path, architecture, encoder, state)
    if fresh:
        _log.warning(
            "%s: fresh weights for %s", architecture, ", ".join("/".join(f) for f in fresh)
        )
        taken |= _draw(encoder, fresh)
    return unflatten_dict(taken)


def _architecture(name: str) -> _Architecture:
    if name not in ARCHITECTURES:
        hint = suggestion(name, ARCHITECTURES)
        raise UserError(f"no public weights are known for {name!r}: {hint}")
    return ARCHITECTURES[name]


def _take(
    path: str | Path, architecture: str, encoder: Encoder, state: StateDict
) -> tuple[dict[TreePath, np.ndarray], list[TreePath]]:
    """The encoder's variables that the file has, and the paths of those to initialise anew."""
    known, entries = ARCHITECTURES[architecture], state.entries
    places = known.names(encoder)
    shapes = {path: leaf.shape for path, leaf in flatten_dict(variable_shapes(encoder)).items()}
    expected = {key: _torch(shapes[place]) for key, place in places.items()}
    head = {key for key in places if key.startswith(f"{known.head}.")}
    # The file's classifier is useless behind a layer that the file lacks, or for other classes.
    lacks = set(shapes) - set(places.values())
    others = all(k in entries and entries[k].shape[:1] != expected[k][:1] for k in head)
    if lacks or others or not head & entries.keys():
        places = {key: place for key, place in places.items() if key not in head}
    missing = [key for key in places if key not in entries]
    extra = [
        key
        for key in entries
        if not (key in places or key in head or known.unused(key))
        and not key.endswith("num_batches_tracked")
    ]
    wrong = [
        f"{key} {entries[key].dtype} {entries[key].shape}, expected {expected[key]}"
        for key in places
        if key in entries
        and (entries[key].shape != expected[key] or entries[key].dtype not in _FLOATS)
    ]
    found = {"missing": missing, "unused": extra, "of another shape or type": wrong}
    if any(found.values()):
        other = _other(architecture, entries)
        shown = 3 if other else _SHOWN
        lists = "; ".join(f"{what}: {_listed(keys, shown)}" for what, keys in found.items() if keys)
        raise UserError(f"{path} does not fit {architecture}{other}: {lists}")
    taken = {place: _value(path, key, entries[key]) for key, place in places.items()}
    return taken, [place for place in shapes if place not in taken]


def _value(path: str | Path, key: str, entry: Entry) -> np.ndarray:
    value = np.ascontiguousarray(names.to_flax(entry.read()))
    if not np.isfinite(value).all():
        raise UserError(f"{path}: {key} holds values that are not finite in float32")
    return value


def variable_shapes(encoder: Encoder) -> Mapping[str, Any]:
    """Shapes of the encoder's variables; computes nothing."""
    inputs = {
        key: jax.ShapeDtypeStruct(value.shape, value.dtype)
        for key, value in _inputs(encoder).items()
    }
    return jax.eval_shape(lambda inputs: _init(encoder, inputs), inputs)


def _draw(encoder: Encoder, paths: list[TreePath]) -> dict[TreePath, np.ndarray]:
    """Initial values of some variables; the compiler drops everything else that `init` computes."""

    def draw(inputs: dict[str, Any]) -> list[jax.Array]:
        flat = flatten_dict(_init(encoder, inputs))
        return [flat[path] for path in paths]

    return dict(zip(paths, map(np.asarray, jax.jit(draw)(_inputs(encoder))), strict=True))


def _init(encoder: Encoder, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return init_variables(encoder, jax.random.key(0), inputs)


def _inputs(encoder: Any) -> dict[str, np.ndarray]:
    """A batch of one clip, for an encoder of `ARCHITECTURES`: its variables have no other sizes."""
    (key,) = encoder.input_keys
    clips = {
        "video": lambda: np.zeros((1, 16 * encoder.lags, 112, 112, 1), np.uint8),
        "eeg": lambda: np.zeros((1, 30 * encoder.sample_rate), np.float32),
        "audio": lambda: np.zeros((1, 32_000), np.float32),
        "log_mel": lambda: np.zeros((1, 101, 64), np.float32),
    }
    return {key: clips[key]()}


def _torch(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that one of our tensors has in PyTorch's layout."""
    return names.to_torch(np.broadcast_to(np.float32(0), shape)).shape


def _other(architecture: str, entries: Mapping[str, Entry]) -> str:
    """Names the other network that the tensors' names belong to, if there is one."""
    tensors = {key for key in entries if not key.endswith("num_batches_tracked")}
    for name, known in ARCHITECTURES.items():
        own = {key for key in tensors if not known.unused(key)}
        encoder = models.create(name, **known.options(entries))
        if name != architecture and own == set(known.names(encoder)):
            return f" (its names are those of {name})"
    return ""


def _listed(keys: list[str], shown: int) -> str:
    text = ", ".join(printable(key) for key in keys[:shown])
    return text if len(keys) <= shown else f"{text} and {len(keys) - shown} more"
