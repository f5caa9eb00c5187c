"""Data sets of clips: TFDS shards on disk, built from recorded or simulated nights."""

from input_pipeline.datasets.building import prepare
from input_pipeline.datasets.dataset_files import ClipTable, DatasetInfo
from input_pipeline.datasets.settings import DatasetSettings

__all__ = ["ClipTable", "DatasetInfo", "DatasetSettings", "prepare"]
