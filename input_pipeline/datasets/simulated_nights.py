"""The raw nights of the data set `simulated`: where they lie, and making them."""

from pathlib import Path

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.fingerprints import fingerprint
from input_pipeline.night import Night


def nights_folder(settings: DatasetSettings, root: Path) -> Path:
    """Where the raw nights of a simulated dataset lie, with the simulator's hidden truth."""
    assert settings.simulation is not None  # DatasetSettings holds that
    return root / f"nights-{fingerprint(settings.simulation.identity())[:12]}"


def simulated_nights(settings: DatasetSettings, root: Path, jobs: int | None = None) -> list[Night]:
    """Simulates the nights that are not there yet."""
    from input_pipeline.simulation.nights import simulate_nights

    return simulate_nights(settings.simulation, nights_folder(settings, root), jobs)
