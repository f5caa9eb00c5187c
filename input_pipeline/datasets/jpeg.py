"""Frames of a colour video as one run of JPEG bytes, of which only those taken are decoded."""

import io
from collections.abc import Iterable

import numpy as np
from jaxtyping import Int, UInt8

Frame = UInt8[np.ndarray, "height width 3"]


def encode(frames: Iterable[Frame], quality: int) -> tuple[bytes, Int[np.ndarray, " frames"]]:
    """All frames one after the other, and where each ends (int64, in bytes)."""
    from PIL import Image  # slow to import; most data sets hold no JPEG

    jpeg, ends = io.BytesIO(), []
    for frame in frames:
        Image.fromarray(frame).save(jpeg, "JPEG", quality=quality)
        ends.append(jpeg.tell())
    return jpeg.getvalue(), np.asarray(ends, np.int64)


class JpegFrames:
    """The frames of a stored video; safe to take from in several threads."""

    def __init__(self, jpeg: memoryview, ends: Int[np.ndarray, " frames"]):
        self._jpeg, self._ends = jpeg, ends

    def __len__(self) -> int:
        return len(self._ends)

    def take(
        self,
        indices: Int[np.ndarray, " taken"],
        out: UInt8[np.ndarray, "taken height width 3"],
    ) -> None:
        """Decodes the frames of these indices into `out`; one that comes twice is decoded once."""
        from PIL import Image

        done: dict[int, int] = {}
        for place, index in enumerate(indices.tolist()):
            if index in done:
                out[place] = out[done[index]]
                continue
            start = self._ends[index - 1] if index else 0
            with Image.open(io.BytesIO(self._jpeg[start : self._ends[index]])) as image:
                out[place] = image
            done[index] = place
