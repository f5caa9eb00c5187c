"""The dataset `simulated`: the builder of `s3ve`, fed by the simulator."""

from pathlib import Path

from input_pipeline.datasets.s3ve import S3ve
from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.fingerprints import fingerprint
from input_pipeline.night import Night


class Simulated(S3ve, skip_registration=True):
    """Clips of simulated nights, read back from EDF+ and MP4 like those of a hospital.

    A test bed: figures on it are no clinical results.
    """


def nights_folder(settings: DatasetSettings, root: Path) -> Path:
    """Where the raw nights of a simulated dataset lie, with the simulator's hidden truth."""
    assert settings.simulation is not None  # DatasetSettings holds that
    return root / f"nights-{fingerprint(settings.simulation.identity())[:12]}"


def simulated_nights(settings: DatasetSettings, root: Path, jobs: int | None = None) -> list[Night]:
    """Simulates the nights that are not there yet."""
    from input_pipeline.simulation import simulate_nights

    return simulate_nights(settings.simulation, nights_folder(settings, root), jobs)
