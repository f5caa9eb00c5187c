"""Simulated nights: real EDF+ and MP4 files of sleepers that never were. See docs/simulator.md."""

from input_pipeline.simulation.nights import simulate_nights
from input_pipeline.simulation.settings import SimulationSettings

__all__ = ["SimulationSettings", "simulate_nights"]
