"""What one step of a training does: a pure function of (state, batch)."""

from sacd_jax.tasks.classify import Classify
from sacd_jax.tasks.distill import Distill

TASKS = {"classify": Classify, "distill": Distill}
"""Name of a task in a config -> its class, made by `make`; see `tasks.task.Task`."""
