"""Video files: frames by their own time, whatever the container does to its clock."""

from input_pipeline.readers.video.reader import VideoReader

__all__ = ["VideoReader"]
