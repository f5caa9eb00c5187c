"""Video files: frames by their own time, whatever the container does to its clock."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from input_pipeline.readers.video.files import find_videos
from input_pipeline.readers.video.reader import VideoReader
from input_pipeline.readers.video.recording import VideoRecording

__all__ = ["VideoReader", "VideoRecording", "find_videos", "open_video"]


def open_video(
    paths: Sequence[Path],
    *,
    name: str,
    starts: Sequence[datetime] = (),
    stretch: float = 1.0,
    threads: int = 1,
) -> VideoReader | VideoRecording:
    """Opens the video of a night, be it one file or many; see `VideoRecording` for the arguments.

    Of a single file, `starts` and `stretch` are the caller's matter.
    """
    if len(paths) == 1:
        return VideoReader(paths[0], name=name, threads=threads)
    return VideoRecording(paths, name=name, starts=starts, stretch=stretch, threads=threads)
