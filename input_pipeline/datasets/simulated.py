"""The TFDS builder of simulated nights, which are read like any others."""

from input_pipeline.datasets.s3ve import S3ve


class Simulated(S3ve, skip_registration=True):
    """Clips of simulated nights, read back from EDF+ and MP4 like those of a hospital.

    A test bed: figures on it are no clinical results.
    """
