"""Imports all that a training needs, for processes that are forked; opens no device."""

import importlib
import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"

for _name in (
    "sacd_jax.train",
    "input_pipeline.datasets.simulated",
    "input_pipeline.simulation.ceiling",
    "input_pipeline.simulation.nights",
    "sacd_jax.models.mlp",
    "sacd_jax.objectives.sacd",
    "sacd_jax.report.comparison_page",
    "sacd_jax.runs.board",
    "matplotlib.figure",
    "scipy.stats",
    "sklearn.ensemble",
    "tensorflow_datasets.public_api",
):
    importlib.import_module(_name)
