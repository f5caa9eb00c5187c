"""Small simulated nights that all tests of this folder share."""

from pathlib import Path

import numpy as np
import pytest

from input_pipeline.simulation import SimulationSettings
from input_pipeline.simulation.night_writer import truth_path
from input_pipeline.simulation.nights import simulate_nights


@pytest.fixture(scope="session")
def settings() -> SimulationSettings:
    """Three nights of twelve minutes."""
    return SimulationSettings(nights=3, hours=0.2, seed=5)


@pytest.fixture(scope="session")
def folder(settings, tmp_path_factory) -> Path:
    """The nights of `settings`, written."""
    folder = tmp_path_factory.mktemp("nights")
    simulate_nights(settings, folder, jobs=1)
    return folder


@pytest.fixture(scope="session")
def truths(settings, folder) -> dict[str, dict[str, np.ndarray]]:
    """What really happened, by night_id."""
    truths = {}
    for night in range(settings.nights):
        with np.load(truth_path(folder, f"sim{night:04d}")) as file:
            truths[f"sim{night:04d}"] = dict(file)
    return truths
