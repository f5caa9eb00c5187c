"""Writes a stager as one zip file: programs, weights, labels, preprocessing and a model card."""

import hashlib
import json
import zipfile
from importlib import metadata
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jax import export
from safetensors.numpy import save as serialize

from input_pipeline.clips import ClipSettings
from input_pipeline.errors import UserError
from input_pipeline.files import remove_unfinished, whole_file
from input_pipeline.fingerprints import array_fingerprint
from input_pipeline.stages import CLIP_SECONDS, STAGES
from sacd_jax.exporting import stage_clips
from sacd_jax.models.context import CLIP_OUTPUTS
from sacd_jax.models.conv import tracing_for
from sacd_jax.staging.night_context import NightContext
from sacd_jax.staging.stager import Stager

PLATFORMS = {"cpu": "cpu", "cuda": "gpu", "tpu": "tpu"}
"""Platform of `jax.export` -> backend whose convolution forms its program has."""

TOLERANCE = 1e-5
"""Between probabilities of the file as it is read back and those of the stager."""

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same stager gives the same bytes


def write(stager: Stager, path: Path) -> None:
    """Writes the zip file, whole or not at all, after it was read back and compared.

    Raises:
        UserError: what the file says, as it is read back, differs from what the stager says.
    """
    weights = _flat(stager.variables)
    files = {f"stager_{name}.jax": _program(stager, weights, name) for name in PLATFORMS}
    files["weights.safetensors"] = serialize(weights)
    facts = _facts(stager, weights)
    if stager.over_night is not None:
        context = _flat(stager.over_night.variables)
        files["over_night.jax"] = _program_over_night(stager.over_night, context)
        files["over_night.safetensors"] = serialize(context)
        facts["over_night"] = _facts_over_night(stager.over_night, context)
    files |= {
        "stager.json": (json.dumps(facts, indent=2) + "\n").encode(),
        "MODEL_CARD.md": _card(facts).encode(),
        "stage_clips.py": Path(stage_clips.__file__).read_bytes(),
    }
    sums = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()]
    files[stage_clips.DIGESTS] = "".join(sums).encode()
    remove_unfinished(path.parent, path.name)
    with whole_file(path) as temporary:
        with zipfile.ZipFile(temporary, "w") as file:
            for name, content in files.items():
                entry = zipfile.ZipInfo(name, _EPOCH)
                file.writestr(entry, content, zipfile.ZIP_DEFLATED)
        _compare(stager, temporary)


def _program(stager: Stager, weights: dict[str, np.ndarray], platform: str) -> bytes:
    """The network for one platform: weights by name, uint8 clips of any number -> what it says of
    each, by name."""

    def said(named: dict[str, Any], video: jax.Array) -> dict[str, jax.Array]:
        return stager.compute(unflatten_dict(named, sep="/"), video)

    (clips,) = export.symbolic_shape("clips")
    video = jax.ShapeDtypeStruct((clips, *stager.clip_shape), np.uint8)
    with tracing_for(PLATFORMS[platform]):
        exported = export.export(jax.jit(said), platforms=[platform])(_shapes(weights), video)
    return bytes(exported.serialize())


def _program_over_night(context: NightContext, weights: dict[str, np.ndarray]) -> bytes:
    """The network over the night, for all platforms: weights by name, what the other says of the
    clips of one piece and a mask of padding, their number a multiple of `step` -> probabilities."""

    def probabilities(named: dict[str, Any], piece: dict[str, jax.Array]) -> jax.Array:
        return context.compute(unflatten_dict(named, sep="/"), piece)

    (length,) = export.symbolic_shape(f"{context.step}*steps")
    piece = {
        name: jax.ShapeDtypeStruct((1, length, context.outputs[name].shape[-1]), np.float32)
        for name in CLIP_OUTPUTS
    }
    piece["mask"] = jax.ShapeDtypeStruct((1, length), np.bool_)
    exported = export.export(jax.jit(probabilities), platforms=list(PLATFORMS))
    return bytes(exported(_shapes(weights), piece).serialize())


def _shapes(weights: dict[str, np.ndarray]) -> dict[str, jax.ShapeDtypeStruct]:
    return {name: jax.ShapeDtypeStruct(each.shape, each.dtype) for name, each in weights.items()}


def _compare(stager: Stager, path: Path) -> None:
    """Runs the file as a stranger would, beside the stager."""
    exported = stage_clips.ExportedStager(path)
    seen = np.array([True, True, False, True])
    shape = (len(seen), stager.clips.frames, *stager.clip_shape[1:])
    clips = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    expected = stager.probabilities(clips[:, stager.taken], seen)
    found = exported.probabilities(clips, seen)
    apart = float(np.abs(found - expected)[seen].max())
    if not apart <= TOLERANCE:
        raise UserError(
            f"the file, read back, is off by {apart:.1g} in a probability, expected at most "
            f"{TOLERANCE:g}; nothing was written"
        )


def _flat(variables: dict[str, Any]) -> dict[str, np.ndarray]:
    flat = flatten_dict(variables, sep="/")
    return {name: np.ascontiguousarray(value, np.float32) for name, value in flat.items()}


def _facts(stager: Stager, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    clips: ClipSettings = stager.clips
    return {
        "stages": list(STAGES),
        "clip": {
            "seconds": CLIP_SECONDS,
            "frame_rate": clips.frame_rate,
            "frames": clips.frames,
            "height": clips.height,
            "width": clips.width,
            "colours": "grey, 0 to 255",
        },
        "taken": [int(index) for index in stager.taken],
        "moments": stager.sampling.moments,
        "lags_s": list(stager.sampling.lags_s),
        "crop": list(stager.augment.crop or ()),
        "network": {"name": stager.model.encoder, "options": stager.model.options},
        "training": stager.facts,
        "over_night": None,
        "weights": array_fingerprint(weights),
        "versions": {name: metadata.version(name) for name in ("sacd-jax", "jax", "numpy")},
    }


def _facts_over_night(context: NightContext, weights: dict[str, np.ndarray]) -> dict[str, Any]:
    return {
        "network": {"name": context.model.encoder, "options": context.model.options},
        "sees": context.words,
        "step": context.step,
        "weights": array_fingerprint(weights),
    }


def _card(facts: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    clip, training = facts["clip"], facts["training"]
    simulated = (
        "It has learned from simulated nights and says nothing about a person's night. "
        if training.get("simulated")
        else ""
    )
    order = (
        "The clips are those of one night, in their order: a second network looks over the night.\n"
        "A clip that shows nothing keeps its place, is False in `seen.npy` and parts the night.\n"
        if facts["over_night"]
        else ""
    )
    rows = "\n".join(f"| {name} | {value} |" for name, value in training.items())
    return f"""# A sleep stager from infrared video

**Not a medical device.** {simulated}It has learned from the clips below and from nothing else.

Input: clips of {clip["seconds"]:g} s, uint8 [clips, {clip["frames"]}, {clip["height"]}, \
{clip["width"]}, 1]: grey pictures at k / {clip["frame_rate"]:g} s of the clip, the camera's whole
picture scaled to {clip["height"]}x{clip["width"]}. `stage_clips.py` takes {len(facts["taken"])} of
them; the program cuts out the centre and scales pixels.
{order}Output: probabilities of {", ".join(facts["stages"])}.
Dark, covered or missing pictures get a stage like any other: the caller must leave them out, or say
so in `seen.npy`.

| trained | |
|---|---|
{rows}
| weights | {facts["weights"]} |
| versions | {", ".join(f"{name} {version}" for name, version in facts["versions"].items())} |

`python stage_clips.py stager.zip clips.npy [seen.npy] > stages.csv` needs jax, numpy and
flatbuffers.
JAX reads an exported program for at least six months after the version that wrote it.
"""
