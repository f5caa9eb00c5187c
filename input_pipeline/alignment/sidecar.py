"""The alignment in the form that mne-videobrowser takes.

It has no file format of its own: its `TimestampAligner` takes one array of times for the samples of
the raw recording and one for the frames of the video, both on one clock, and finds the nearest
(mne_videobrowser/timestamp_aligner.py). Those of the raw recording are `raw.times`; the sidecar
holds those of the frames:

    frames = numpy.load("alignment/NIGHT_frame_times.npy")
    TimestampAligner(raw.times, frames, timestamp_unit="seconds")
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float64

from input_pipeline.files import whole_file
from input_pipeline.readers.sync import Clock


def frame_times(
    video_times_s: Float64[np.ndarray, " frames"],
    clock: Clock,
    gaps: Sequence[tuple[float, float]] = (),
) -> Float64[np.ndarray, " frames"]:
    """When each frame is shown, in the seconds of MNE's `raw.times`.

    Args:
        video_times_s: seconds since the video began.
        gaps: pauses of the PSG in its seconds. MNE joins the parts: its time stands still there.
    """
    seconds = np.asarray(clock.psg_seconds(video_times_s))
    paused = sum((np.clip(seconds, begin, end) - begin for begin, end in gaps), np.zeros(1))
    return seconds - paused


def write_frame_times(path: Path, times_s: Float64[np.ndarray, " frames"]) -> None:
    """Writes the times as a NumPy file (.npy, float64), whole or not at all."""
    with whole_file(path) as temporary:
        np.save(temporary, times_s)
