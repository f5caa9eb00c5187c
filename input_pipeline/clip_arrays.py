"""The arrays of a clip: names, dtypes and shapes, said once.

Builders, decoded nights, `dataset.json`, the readers, the loader and the benchmarks ask this table.
An array that networks read is one entry here, and the sizes it names in the settings of the clips
and in `DatasetInfo`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np


class Form(NamedTuple):
    """How an array lies in one clip."""

    dtype: type[np.generic]
    shape: tuple[int | None, ...]
    """None: differs from clip to clip."""


@dataclass(frozen=True)
class ClipArray:
    """An array that networks may read from a clip."""

    dtype: type[np.generic]
    sizes: tuple[str, ...]
    """The attributes of `ClipSettings` and `DatasetInfo` that hold its shape."""
    present: str
    """The attribute among them that is 0, or not there, where clips lack this array."""
    settings: tuple[str, ...] = ()
    """The settings of `ClipSettings` that decide what its values mean."""


INPUTS: Mapping[str, ClipArray] = {
    # 0 frames: their number differs from clip to clip.
    "video": ClipArray(
        np.uint8,
        ("frames", "height", "width", "channels"),
        "height",
        ("frame_rate", "height", "width"),
    ),
    # In microvolt.
    "eeg": ClipArray(
        np.float32, ("samples",), "samples", ("eeg_rate", "eeg_band_hz", "eeg_notch_hz")
    ),
    "audio_embedding": ClipArray(np.float32, ("audio_dim",), "audio_dim"),
}
"""What networks may read, by its key in a record and in a batch."""

LABELS: Mapping[str, Form] = {"stage": Form(np.int32, ()), "clip_index": Form(np.int32, ())}
"""Numbers that each clip has beside them: its class and its position in the night."""


def input_forms(sizes: Any) -> dict[str, Form]:
    """The arrays that clips hold for networks, by the attributes of `sizes`."""
    return {
        name: Form(array.dtype, tuple(getattr(sizes, size) for size in array.sizes))
        for name, array in INPUTS.items()
        if getattr(sizes, array.present, 0)
    }
