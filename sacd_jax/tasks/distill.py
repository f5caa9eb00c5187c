"""Learning stages from labels and a frozen teacher that sees another modality (Eq. 5)."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax
from jaxtyping import Array

from sacd_jax import train_state
from sacd_jax.augment import augment
from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import Batch, EncoderOutput, forward
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.objectives.objective import Objective
from sacd_jax.tasks.losses import Terms, metrics_of, weighted_sum
from sacd_jax.train_state import TrainState, Tree


@dataclass(frozen=True)
class Distill:
    """What a step of this task needs beside state and batch; nothing of it changes."""

    student: nn.Module
    teacher: nn.Module | None
    """None: its stored outputs come with the batch."""
    objective: Objective
    weights: dict[str, float]
    optimizer: optax.GradientTransformation
    augment: AugmentConfig
    key_encoder_decay: float = 0.999
    class_weights: tuple[float, ...] | None = None


def init(
    task: Distill,
    seed: int,
    student: dict[str, Tree],
    teacher: dict[str, Tree],
    heads: Tree,
    buffers: Tree,
) -> TrainState:
    """The state before the first step, from the networks' variables and the objective's own."""
    return train_state.create(
        seed,
        {"student": student["params"], "objective": heads},
        student.get("batch_stats", {}),
        task.optimizer,
        teacher=teacher,
        key_encoder=task.objective.needs_keys,
        buffers=buffers,
    )


def as_stored(output: EncoderOutput) -> dict[str, Array]:
    """A teacher's output by the names it has in a cache and in a batch."""
    stages = {f"teacher_stage_{i}": stage for i, stage in enumerate(output.stages)}
    return {"teacher_embedding": output.embedding, "teacher_logits": output.logits, **stages}


def from_stored(arrays: Mapping[str, Any]) -> EncoderOutput:
    """The output that `as_stored` took apart; `arrays` may hold other entries too."""
    names = (f"teacher_stage_{i}" for i in itertools.count())
    stages = tuple(arrays[name] for name in itertools.takewhile(arrays.__contains__, names))
    return EncoderOutput(arrays["teacher_embedding"], arrays["teacher_logits"], stages)


def teacher_output(task: Distill, state: TrainState, batch: Batch) -> EncoderOutput:
    """The frozen teacher's output: stored with the batch, or computed from its input."""
    if task.teacher is None:
        return from_stored(batch)
    output, _ = forward(task.teacher, state.teacher, batch, train=False)
    return jax.lax.stop_gradient(output)


def key_output(task: Distill, state: TrainState, batch: Batch) -> EncoderOutput | None:
    """The momentum encoder on the student's clips: averaged weights, the student's statistics."""
    if not task.objective.needs_keys:
        return None
    variables = {"params": state.key_encoder, "batch_stats": state.batch_stats}
    output, _ = forward(task.student, variables, batch, train=False)
    return jax.lax.stop_gradient(output)


def train_step(task: Distill, state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
    """One update of student, heads and banks (Eq. 5). Pure: (state, batch) -> (state, metrics)."""
    augment_rng, dropout_rng, objective_rng = jax.random.split(state.rng(), 3)
    batch = augment(augment_rng, batch, task.augment)
    teacher = teacher_output(task, state, batch)
    keys = key_output(task, state, batch)

    def loss(params: dict[str, Tree]) -> tuple[jax.Array, tuple]:
        variables = {"params": params["student"], "batch_stats": state.batch_stats}
        student, batch_stats = forward(
            task.student, variables, batch, train=True, dropout=dropout_rng
        )
        terms, buffers = task.objective.terms(
            params["objective"],
            state.buffers,
            student,
            teacher,
            keys,
            batch,
            objective_rng,
            state.step,
        )
        terms["cross_entropy"] = cross_entropy(
            student.logits, batch["stage"], batch["mask"], task.class_weights
        )
        return weighted_sum(terms, task.weights), (terms, student, batch_stats, buffers)

    (total, (terms, student, batch_stats, buffers)), gradients = jax.value_and_grad(
        loss, has_aux=True
    )(state.params)
    metrics = metrics_of(total, terms, student, batch, gradients)
    state = state.updated(task.optimizer, gradients, batch_stats, buffers, task.key_encoder_decay)
    return state, metrics
