"""Stages clips with an exported network.

    python stage_clips.py stager.zip clips.npy [seen.npy] > stages.csv

Needs jax, numpy and flatbuffers (with which JAX reads exported programs); nothing else. `clips.npy`
holds uint8 [clips, frames, height, width, 1], 30 s of grey pictures each, see `stager.json`;
`seen.npy`, bool [clips], is False where nothing can be told from them (dark, covered, missing).
Where the stager has context over the night, the clips are those of one night in their order.
Not a medical device.
"""

import hashlib
import json
import sys
import zipfile
import zlib
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import export

DIGESTS = "SHA256SUMS"
BATCH = 4
_MOST_BYTES = 2**32  # a zip file may promise more than any network weighs
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
    EOFError,
    RuntimeError,  # of zip files: encrypted, or packed in a way that Python does not know
)


class ExportedStager:
    """A stager read from a zip file.

    Attributes:
        facts: what `stager.json` says: stages, clips, frames that are taken, how it was trained.
    """

    def __init__(self, path: str | Path, platform: str = ""):
        """Reads and verifies the file.

        Args:
            path: of the zip file.
            platform: `cpu`, `cuda` or `tpu`; by default what JAX runs on here.

        Raises:
            ValueError: in one line: the file is damaged or none of these.
            OSError: it cannot be opened.
        """
        # JAX calls any GPU "gpu", but exports for CUDA.
        platform = platform or {"gpu": "cuda"}.get(jax.default_backend(), jax.default_backend())
        try:
            files = _verified(path)
            self.facts: dict[str, Any] = json.loads(files["stager.json"])
            weights = _weights(files["weights.safetensors"])
            program = export.deserialize(bytearray(files[f"stager_{platform}.jax"]))
            over_night = None
            if self.facts["over_night"]:
                self._step = int(self.facts["over_night"]["step"])
                self._context = jax.device_put(_weights(files["over_night.safetensors"]))
                over_night = export.deserialize(bytearray(files["over_night.jax"]))
        except _BROKEN as error:
            kind = str(error) if type(error) is ValueError else type(error).__name__
            raise ValueError(f"the file is damaged or no exported stager ({kind})") from None
        self._weights = jax.device_put(weights)
        self._program = jax.jit(program.call)
        self._over_night = over_night and jax.jit(over_night.call)

    def probabilities(self, clips: np.ndarray, seen: np.ndarray | None = None) -> np.ndarray:
        """Probabilities of the stages.

        Args:
            clips: uint8 [clips, frames, height, width, 1], all frames of each; with context over
                the night those of one night, in their order and none left out.
            seen: bool [clips], False where a clip shows nothing and gets no stage; context does not
                reach across it. By default all are seen.

        Returns:
            float32 [clips, stages], in the order of `facts["stages"]`; NaN where nothing is seen.

        Raises:
            ValueError: clips of another shape or dtype, or `seen` is none of theirs.
        """
        seen = np.ones(len(clips), bool) if seen is None else seen
        expected = tuple(self.facts["clip"][name] for name in ("frames", "height", "width"))
        if clips.ndim != 5 or clips.shape[1:] != (*expected, 1) or clips.dtype != np.uint8:
            raise ValueError(
                f"clips are {clips.dtype} {clips.shape}; expected uint8 of shape "
                f"(clips, {', '.join(map(str, expected))}, 1)"
            )
        if seen.shape != (len(clips),) or seen.dtype != bool:
            raise ValueError(
                f"seen is {seen.dtype} {seen.shape}; expected bool of shape ({len(clips)},)"
            )
        taken = np.asarray(self.facts["taken"])
        found = np.full((len(clips), len(self.facts["stages"])), np.nan, np.float32)
        said: dict[str, np.ndarray] = {}
        places = np.flatnonzero(seen)
        for first in range(0, len(places), BATCH):
            own = places[first : first + BATCH]
            video = np.stack([clips[place][taken] for place in own])
            for name, values in self._program(self._weights, video).items():
                said.setdefault(name, np.zeros((len(clips), values.shape[1]), np.float32))
                said[name][own] = values
        if not said:
            return found
        found[places] = said.pop("probabilities")[places]
        if self._over_night is not None:
            for piece in np.split(places, np.flatnonzero(np.diff(places) > 1) + 1):
                found[piece] = self._of_piece({name: said[name][piece] for name in said})
        return found

    def _of_piece(self, said: dict[str, np.ndarray]) -> np.ndarray:
        """Probabilities of an unbroken piece of the night, from what was said of each clip."""
        assert self._over_night is not None
        (length,) = {len(values) for values in said.values()}
        padding = ((0, -length % self._step), (0, 0))
        batch = {name: np.pad(values, padding)[None] for name, values in said.items()}
        batch["mask"] = (np.arange(length + padding[0][1]) < length)[None]
        return np.asarray(self._over_night(self._context, batch))[:length]


def _verified(path: str | Path) -> dict[str, bytes]:
    """Name and content of every file that the zip file lists, each as its digest says."""
    with zipfile.ZipFile(path) as file:
        if sum(entry.file_size for entry in file.infolist()) > _MOST_BYTES:
            raise ValueError(f"more than {_MOST_BYTES >> 30} GB")
        lines = file.read(DIGESTS).decode("ascii").splitlines()
        listed = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
        files = {name: file.read(name) for name in listed}
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() != listed[name]:
            raise ValueError("a digest differs")
    return files


def _weights(content: bytes) -> dict[str, np.ndarray]:
    """Arrays of a safetensors file: the length of a JSON header, the header, the values."""
    begin = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:begin])
    header.pop("__metadata__", None)
    arrays = {}
    for name, entry in header.items():
        first, last = (begin + offset for offset in entry["data_offsets"])
        if entry["dtype"] != "F32":
            raise ValueError("a weight is not float32")
        arrays[name] = np.frombuffer(content[first:last], "<f4").reshape(entry["shape"])
    return arrays


if __name__ == "__main__":
    if len(sys.argv) not in (3, 4):
        sys.exit("usage: python stage_clips.py stager.zip clips.npy [seen.npy] > stages.csv")
    try:
        stager = ExportedStager(sys.argv[1])
        arrays = [np.lib.format.open_memmap(path, mode="r") for path in sys.argv[2:]]
        found = stager.probabilities(*arrays)
    except (OSError, ValueError, ImportError) as error:  # the last: without flatbuffers
        sys.exit(f"error: {error}")
    stages = stager.facts["stages"]
    print(",".join(["clip", "stage", *stages]))
    for clip, row in enumerate(found):
        known = [stages[int(row.argmax())], *(f"{p:.6f}" for p in row)]
        print(",".join([str(clip), *(known if np.isfinite(row).all() else [""] * len(known))]))
