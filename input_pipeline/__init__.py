"""From recorded nights to batches: manifest, readers, clips, data sets, loader. Knows no models.

The readers load MNE, SciPy and PyAV when a file is opened, so this import stays cheap.
"""

from input_pipeline import as_command  # noqa: F401 - first of all
from input_pipeline.clips import ClipSettings, clips
from input_pipeline.night import Night, read_manifest, write_manifest

__all__ = ["ClipSettings", "Night", "clips", "read_manifest", "write_manifest"]
