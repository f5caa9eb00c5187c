"""Stages clips with an exported network: `python stage_clips.py stager.zip clips.npy > stages.csv`.

Needs jax, numpy and flatbuffers (with which JAX reads exported programs); nothing else. `clips.npy`
holds uint8 [clips, frames, height, width, 1], 30 s of grey pictures each, see `stager.json`.
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
        except _BROKEN as error:
            kind = str(error) if type(error) is ValueError else type(error).__name__
            raise ValueError(f"the file is damaged or no exported stager ({kind})") from None
        self._weights = jax.device_put(weights)
        self._program = jax.jit(program.call)

    def probabilities(self, clips: np.ndarray) -> np.ndarray:
        """Probabilities of the stages.

        Args:
            clips: uint8 [clips, frames, height, width, 1], all frames of each.

        Returns:
            float32 [clips, stages], in the order of `facts["stages"]`.

        Raises:
            ValueError: clips of another shape or dtype.
        """
        expected = tuple(self.facts["clip"][name] for name in ("frames", "height", "width"))
        if clips.ndim != 5 or clips.shape[1:] != (*expected, 1) or clips.dtype != np.uint8:
            raise ValueError(
                f"clips are {clips.dtype} {clips.shape}; expected uint8 of shape "
                f"(clips, {', '.join(map(str, expected))}, 1)"
            )
        taken = np.asarray(self.facts["taken"])
        found = [np.zeros((0, len(self.facts["stages"])), np.float32)]
        for first in range(0, len(clips), BATCH):
            video = np.ascontiguousarray(clips[first : first + BATCH, taken])
            found.append(np.asarray(self._program(self._weights, video)))
        return np.concatenate(found)


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
    if len(sys.argv) != 3:
        sys.exit("usage: python stage_clips.py stager.zip clips.npy > stages.csv")
    try:
        stager = ExportedStager(sys.argv[1])
        found = stager.probabilities(np.lib.format.open_memmap(sys.argv[2], mode="r"))
    except (OSError, ValueError, ImportError) as error:  # the last: without flatbuffers
        sys.exit(f"error: {error}")
    stages = stager.facts["stages"]
    print(",".join(["clip", "stage", *stages]))
    for clip, row in enumerate(found):
        print(",".join([str(clip), stages[int(row.argmax())], *(f"{p:.6f}" for p in row)]))
