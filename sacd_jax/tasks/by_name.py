"""The tasks of a config. Imported by what trains alone: it brings the libraries of training."""

from sacd_jax.tasks.classify import Classify
from sacd_jax.tasks.distill import Distill

TASKS = {"classify": Classify, "distill": Distill}
"""Name of a task in a config -> its class, made by `make`; see `tasks.task.Task`."""
