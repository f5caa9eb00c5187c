"""Learning stages from labels alone: teachers and the video-only baseline."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import optax

from sacd_jax import train_state
from sacd_jax.augment import augment
from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import Batch, forward
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.tasks.losses import Terms, metrics_of, weighted_sum
from sacd_jax.train_state import TrainState, Tree


@dataclass(frozen=True)
class Classify:
    """What a step of this task needs beside state and batch; nothing of it changes."""

    student: nn.Module
    optimizer: optax.GradientTransformation
    augment: AugmentConfig
    class_weights: tuple[float, ...] | None = None


def init(task: Classify, seed: int, student: dict[str, Tree]) -> TrainState:
    """The state before the first step; `student` are the network's variables."""
    params = {"student": student["params"]}
    return train_state.create(seed, params, student.get("batch_stats", {}), task.optimizer)


def train_step(task: Classify, state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
    """One update by cross-entropy. Pure: (state, batch) -> (state, metrics)."""
    augment_rng, dropout_rng = jax.random.split(state.rng())
    batch = augment(augment_rng, batch, task.augment)

    def loss(params: dict[str, Tree]) -> tuple[jax.Array, tuple]:
        variables = {"params": params["student"], "batch_stats": state.batch_stats}
        output, batch_stats = forward(
            task.student, variables, batch, train=True, dropout=dropout_rng
        )
        terms = {
            "cross_entropy": cross_entropy(
                output.logits, batch["stage"], batch["mask"], task.class_weights
            )
        }
        return weighted_sum(terms, {"cross_entropy": 1.0}), (terms, output, batch_stats)

    (total, (terms, output, batch_stats)), gradients = jax.value_and_grad(loss, has_aux=True)(
        state.params
    )
    metrics = metrics_of(total, terms, output, batch, gradients)
    return state.updated(task.optimizer, gradients, batch_stats, state.buffers), metrics
