"""Learning stages from labels and a teacher that sees another modality (Eq. 5).

The teacher is frozen, or trains as well (the paper's experiments F and G): then it runs inside the
loss, with a cross-entropy of its own, and has a momentum encoder as the student has.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.linen as nn
import jax
import optax
from jaxtyping import Array

from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import Batch, EncoderOutput, forward
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.objectives.objective import Keys, Objective
from sacd_jax.tasks import train_state
from sacd_jax.tasks.augment import augment
from sacd_jax.tasks.terms import Terms, metrics_of, own_terms, weighted_sum
from sacd_jax.tasks.train_state import TrainState, Tree


@dataclass(frozen=True)
class Distill:
    """What a step of this task needs beside state and batch; nothing of it changes."""

    student: nn.Module
    teacher: nn.Module | None
    """None: its stored outputs come with the batch."""
    objective: Objective
    optimizer: optax.GradientTransformation
    augment: AugmentConfig
    key_encoder_decay: float = 0.999
    class_weights: tuple[float, ...] | None = None
    teacher_trainable: bool = False


def init(
    task: Distill,
    seed: int,
    student: dict[str, Tree],
    teacher: dict[str, Tree],
    heads: Tree,
    buffers: Tree,
) -> TrainState:
    """The state before the first step, from the networks' variables and the objective's own."""
    params = {"student": student["params"], "objective": heads}
    averaged: tuple[str, ...] = ("student",)
    if task.teacher_trainable:
        teacher = dict(teacher)
        params["teacher"] = teacher.pop("params")
        averaged = ("student", "teacher")
    return train_state.create(
        seed,
        params,
        student.get("batch_stats", {}),
        task.optimizer,
        teacher=teacher,
        averaged=averaged if task.objective.needs_keys else (),
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


def frozen_teacher(task: Distill, state: TrainState, batch: Batch) -> EncoderOutput | None:
    """A frozen teacher's output: stored with the batch, or computed from its input."""
    if task.teacher_trainable:
        return None
    if task.teacher is None:
        return from_stored(batch)
    output, _ = forward(task.teacher, state.teacher, batch, train=False)
    return jax.lax.stop_gradient(output)


def key_outputs(
    task: Distill, state: TrainState, batch: Batch, teacher: EncoderOutput | None
) -> Keys | None:
    """The momentum encoders' outputs: averaged weights, the running statistics of the others."""
    if not task.objective.needs_keys:
        return None
    variables = {"params": state.key_encoder["student"], "batch_stats": state.batch_stats}
    student, _ = forward(task.student, variables, batch, train=False)
    if teacher is None:
        assert task.teacher is not None  # one that trains is there
        variables = {**state.teacher, "params": state.key_encoder["teacher"]}
        teacher, _ = forward(task.teacher, variables, batch, train=False)
    return jax.lax.stop_gradient(Keys(student, teacher))


def train_step(task: Distill, state: TrainState, batch: Batch) -> tuple[TrainState, Terms]:
    """One update of student, heads and banks (Eq. 5). Pure: (state, batch) -> (state, metrics)."""
    augment_rng, dropout_rng, objective_rng = jax.random.split(state.rng(), 3)
    batch = augment(augment_rng, batch, task.augment)
    frozen = frozen_teacher(task, state, batch)
    keys = key_outputs(task, state, batch, frozen)

    def loss(params: dict[str, Tree]) -> tuple[jax.Array, tuple]:
        variables = {"params": params["student"], "batch_stats": state.batch_stats}
        student, batch_stats = forward(
            task.student, variables, batch, train=True, dropout=dropout_rng
        )
        teacher, teacher_state, teachers_own = frozen, state.teacher, {}
        if teacher is None:
            variables = {**state.teacher, "params": params["teacher"]}
            teacher, teacher_state, teachers_own = _trained_teacher(
                task, variables, batch, dropout_rng
            )
        distilled, buffers = task.objective.terms(
            params["objective"],
            state.buffers,
            student,
            teacher,
            keys,
            batch,
            objective_rng,
            state.step,
        )
        own = own_terms(student, batch) | teachers_own
        own["cross_entropy"] = cross_entropy(
            student.logits, batch["stage"], batch["mask"], task.class_weights
        )
        terms = distilled | own
        weights = task.objective.weights | dict.fromkeys(own, 1.0)
        total = weighted_sum(terms, {k: weight for k, weight in weights.items() if weight})
        return total, (terms, student, batch_stats, teacher_state, buffers)

    (total, aux), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
    terms, student, batch_stats, teacher_state, buffers = aux
    metrics = metrics_of(total, terms, student, batch, gradients)
    state = state.updated(
        task.optimizer,
        gradients,
        batch_stats,
        buffers,
        task.key_encoder_decay,
        teacher=teacher_state,
    )
    return state, metrics


def _trained_teacher(
    task: Distill, variables: Mapping[str, Tree], batch: Batch, rng: jax.Array
) -> tuple[EncoderOutput, dict[str, Tree], Terms]:
    """Output of a teacher that trains, its new statistics, its own loss terms (`teacher_…`)."""
    assert task.teacher is not None
    dropout = jax.random.fold_in(rng, 1)
    output, batch_stats = forward(task.teacher, variables, batch, train=True, dropout=dropout)
    own = own_terms(output, batch)
    own["cross_entropy"] = cross_entropy(
        output.logits, batch["stage"], batch["mask"], task.class_weights
    )
    kept = {"batch_stats": batch_stats} if batch_stats else {}
    return output, kept, {f"teacher_{name}": term for name, term in own.items()}
