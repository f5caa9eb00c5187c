"""Simulated nights: real EDF+ and MP4 files of invented sleepers. See docs/simulator.md."""

from input_pipeline.simulation.settings import SimulationSettings

__all__ = ["SimulationSettings"]
