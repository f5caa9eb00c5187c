"""Learning stages from labels alone: teachers and the video-only baseline."""

from dataclasses import dataclass

import flax.linen as nn
import jax
import optax

from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import Batch, forward
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.tasks import train_state
from sacd_jax.tasks.augment import augment
from sacd_jax.tasks.terms import Terms, metrics_of, own_terms, weighted_sum
from sacd_jax.tasks.train_state import TrainState, Tree


@dataclass(frozen=True)
class Classify:
    """What a step of this task needs beside state and batch; nothing of it changes."""

    student: nn.Module
    optimizer: optax.GradientTransformation
    augment: AugmentConfig
    class_weights: tuple[float, ...] | None = None


def init(
    task: Classify, seed: int, student: dict[str, Tree], carry: Tree | None = None
) -> TrainState:
    """The state before the first step.

    Args:
        task: the task.
        seed: of the run.
        student: the network's variables.
        carry: of a network over sequences, one row a sequence of the batch.
    """
    params = {"student": student["params"]}
    batch_stats = student.get("batch_stats", {})
    return train_state.create(seed, params, batch_stats, task.optimizer, carry=carry)


def train_step(task: Classify, state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
    """One update by cross-entropy. Pure: (state, batch) -> (state, metrics)."""
    augment_rng, dropout_rng = jax.random.split(state.rng())
    batch = augment(augment_rng, batch, task.augment)
    seen = {**batch, "carry": state.carry} if state.carry else batch
    clips = clip_by_clip(batch)

    def loss(params: dict[str, Tree]) -> tuple[jax.Array, tuple]:
        variables = {"params": params["student"], "batch_stats": state.batch_stats}
        output, batch_stats = forward(
            task.student, variables, seen, train=True, dropout=dropout_rng
        )
        terms = own_terms(output, clips)
        terms["cross_entropy"] = cross_entropy(
            output.logits, clips["stage"], clips["mask"], task.class_weights
        )
        total = weighted_sum(terms, dict.fromkeys(terms, 1.0))
        return total, (terms, output, batch_stats)

    (total, (terms, output, batch_stats)), gradients = jax.value_and_grad(loss, has_aux=True)(
        state.params
    )
    metrics = metrics_of(total, terms, output, clips, gradients)
    carry = output.extras["carry"] if state.carry else state.carry
    state = state.updated(task.optimizer, gradients, batch_stats, state.buffers, carry=carry)
    return state, metrics


def clip_by_clip(batch: Batch) -> Batch:
    """What is known of each clip, sequence by sequence where the batch has sequences."""
    names = ("stage", "mask", "domain")
    return {name: batch[name].reshape(-1) for name in names if name in batch}
