"""Learning stages from labels and a teacher that sees another modality (Eq. 5).

The paper trains both networks together. Here the teacher is trained first, by the task `classify`,
and frozen; or it trains as well (the paper's experiments F and G): then it runs inside the loss,
with a cross-entropy of its own, and has a momentum encoder as the student has.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array

from input_pipeline.errors import UserError
from input_pipeline.groups import steps_per_pass
from input_pipeline.source import ClipSource
from sacd_jax import models, objectives, parallel
from sacd_jax.config import RunConfig
from sacd_jax.models.encoder import (
    Batch,
    Encoder,
    EncoderOutput,
    EncoderSpec,
    forward,
    init_variables,
    output_spec,
    spec_of,
)
from sacd_jax.models.precision import at_precision
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.objectives.objective import DataSpec, Keys, Objective, Seen, participating
from sacd_jax.runs import model_file
from sacd_jax.runs.lending import lent_teacher
from sacd_jax.tasks import optimizer, train_state
from sacd_jax.tasks.augment import augment
from sacd_jax.tasks.task import Setup, Task
from sacd_jax.tasks.terms import Scalars, metrics_of, own_terms, weighted_sum
from sacd_jax.tasks.train_state import TrainState, Tree, stream


@dataclass(frozen=True, kw_only=True, eq=False)
class Distill(Task):
    """Cross-entropy on the stages, and the loss terms of a distillation method.

    Attributes:
        teacher: its network; None: its stored outputs come with the batch.
        objective: the method.
        key_encoder_decay: of the momentum encoders, where the method needs them.
        key_encoder_every: see `RunConfig`.
        teacher_trainable: the teacher trains as well.
        unlabelled: clips without a label take part in the method's terms, and the cross-entropy is
            scaled by the labelled share of the batch.
        pseudo_label_confidence: see `RunConfig`.
        lent: the teacher's variables at the start.
    """

    teacher: Encoder | None
    objective: Objective
    key_encoder_decay: float = 0.999
    key_encoder_every: int = 1
    teacher_trainable: bool = False
    unlabelled: bool = False
    pseudo_label_confidence: float | None = None
    lent: Mapping[str, Tree] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        run: RunConfig,
        source: ClipSource,
        mesh: Mesh,
        total_steps: int,
        siblings: Path,
        teacher_outputs: Mapping[str, np.ndarray] | None = None,
    ) -> Self:
        """Makes the task of a run.

        Args:
            run: its config.
            source: the train split.
            mesh: where the state will live.
            total_steps: length of the run.
            siblings: folder of the experiment's runs; the teacher may be named by its run.
            teacher_outputs: the frozen teacher's outputs over the rows of the split, which the
                batches will hold; None to run its network in every step.

        Raises:
            UserError: settings that do not fit each other, the data or the devices.
        """
        assert run.teacher is not None and run.objective is not None  # RunConfig has seen to it
        setup = Setup.make(run, source, mesh, siblings, teacher_outputs)
        student, weights = setup.make_student(), setup.class_weights()
        transform = setup.optimizer(total_steps)
        method = run.objective
        objective = objectives.create(method.name, method.weights, **method.options)
        both = optimizer.for_heads(transform, objective.optimizer(transform))
        parallel.check_batch_size(run.batch_size, mesh, objective.clips_together)
        teacher, lent = None, {}
        if teacher_outputs is None:
            stored = lent_teacher(run.teacher, siblings, source.info)
            teacher = models.create(stored.encoder, stored.num_classes, **stored.options)
            teacher = at_precision(teacher, setup.precision)
            lent = stored.variables
            if teacher.has_state:
                raise UserError(
                    f"teacher {stored.encoder} sees a night in its order, batches are mixed: "
                    "expected teacher_cache True"
                )
            lags = len(run.sampling.lags_s)
            if teacher.lags not in (None, lags):
                raise UserError(
                    f"teacher {stored.encoder} was trained on {teacher.lags} frames a moment, "
                    f"sampling.lags_s has {lags}: expected the same"
                )
        return cls(
            student=student,
            teacher=teacher,
            objective=objective,
            optimizer=optimizer.accumulated(both, run.accumulate),
            augment=run.augment,
            key_encoder_decay=run.key_encoder_decay,
            key_encoder_every=run.key_encoder_every,
            class_weights=weights,
            logit_offsets=setup.logit_offsets(),
            teacher_trainable=run.teacher_trainable,
            unlabelled=run.uses_unlabelled,
            pseudo_label_confidence=run.pseudo_label_confidence,
            lent=lent,
            setup=setup,
        )

    @property
    def input_keys(self) -> tuple[str, ...]:
        """Keys of the clips that the step reads beside stage, index and mask."""
        teachers = self.teacher.input_keys if self.teacher is not None else ()
        return tuple(dict.fromkeys((*self.student.input_keys, *teachers)))

    def init(self, seed: int) -> TrainState:
        """The state before the first step, laid out on the mesh.

        Raises:
            UserError: the teacher's weights are not whole, or the method cannot work with these
                networks and data.
        """
        setup = self._setup
        example = setup.example(self.input_keys)
        teacher_spec = self._teacher_spec(example)
        variables = setup.first_variables(self.student, example, seed)
        heads, buffers = self.objective.init(
            stream(seed, "objective"),
            output_spec(self.student, example),
            teacher_spec,
            _data_spec(setup),
        )
        state = self.first_state(seed, variables, self.lent, heads, buffers)
        banks = tuple(f"buffers/{name}" for name in self.objective.row_sharded)
        return parallel.place(state, setup.mesh, by_rows=banks)

    def _teacher_spec(self, example: Batch) -> EncoderSpec:
        """Sizes of the teacher's output; refuses one whose weights are not whole."""
        if self.teacher is None:
            return spec_of(from_stored(self.extra))
        whole = jax.eval_shape(partial(init_variables, self.teacher), jax.random.key(0), example)
        model_file.refuse_missing(self.lent, whole)
        return output_spec(self.teacher, example)

    def first_state(
        self,
        seed: int,
        student: Mapping[str, Tree],
        teacher: Mapping[str, Tree],
        heads: Tree,
        buffers: Tree,
    ) -> TrainState:
        """The state before the first step, from the networks' variables and the objective's own."""
        params = {"student": student["params"], "objective": heads}
        averaged: tuple[str, ...] = ("student",)
        rest = dict(teacher)
        if self.teacher_trainable:
            params["teacher"] = rest.pop("params")
            averaged = ("student", "teacher")
        return train_state.create(
            seed,
            params,
            student.get("batch_stats", {}),
            self.optimizer,
            teacher=rest,
            averaged=averaged if self.objective.needs_keys else (),
            buffers=buffers,
        )

    def train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        """One update of student, heads and banks (Eq. 5).

        Pure: (state, batch) -> (state, metrics).
        """
        augment_rng, dropout_rng, objective_rng = jax.random.split(state.rng(), 3)
        batch = augment(augment_rng, batch, self.augment)
        frozen = self.frozen_teacher(state, batch)
        keys = self.key_outputs(state, batch, frozen)

        def loss(params: dict[str, Tree]) -> tuple[jax.Array, tuple]:
            variables = {"params": params["student"], "batch_stats": state.batch_stats}
            student, batch_stats = forward(
                self.student, variables, batch, train=True, dropout=dropout_rng
            )
            teacher, teacher_state, teachers_own = frozen, state.teacher, {}
            if teacher is None:
                variables = {**state.teacher, "params": params["teacher"]}
                teacher, teacher_state, teachers_own = self._trained_teacher(
                    variables, batch, dropout_rng
                )
            mask = batch["mask"] if self.unlabelled else participating(batch)
            classed = self._with_pseudo_labels(batch, teacher)
            seen = Seen(student, teacher, keys, classed, mask, objective_rng, state.step)
            terms, buffers = self.objective.terms(params["objective"], state.buffers, seen)
            own = own_terms(student, batch) | teachers_own
            own["cross_entropy"] = self._cross_entropy(student, batch)
            weights = {name: weight for name, weight in self.objective.weights.items() if weight}
            weights |= dict.fromkeys(own, 1.0)
            losses = terms.losses | own
            losses = {name: losses[name] for name in weights}
            total = weighted_sum(losses, weights)
            return total, (losses | terms.logged, student, batch_stats, teacher_state, buffers)

        (total, aux), gradients = jax.value_and_grad(loss, has_aux=True)(state.params)
        scalars, student, batch_stats, teacher_state, buffers = aux
        metrics = metrics_of(total, scalars, student, batch, gradients)
        state = state.updated(
            self.optimizer,
            gradients,
            batch_stats,
            buffers,
            self.key_encoder_decay,
            teacher=teacher_state,
        )
        return state, metrics

    def _cross_entropy(self, output: EncoderOutput, batch: Batch) -> jax.Array:
        """Over the labelled clips; one of few labels is not to outweigh a batch without."""
        loss = cross_entropy(
            output.logits, batch["stage"], batch["mask"], self.class_weights, self.logit_offsets
        )
        if not self.unlabelled:
            return loss
        return loss * (participating(batch).sum() / jnp.maximum(batch["mask"].sum(), 1))

    def _with_pseudo_labels(self, batch: Batch, teacher: EncoderOutput) -> Batch:
        """The batch in which unlabelled clips have the class that the teacher is sure of."""
        if self.pseudo_label_confidence is None:
            return batch
        probability = jax.nn.softmax(teacher.logits.astype(jnp.float32))
        sure = batch["mask"] & (probability.max(axis=-1) >= self.pseudo_label_confidence)
        likeliest = probability.argmax(axis=-1).astype(batch["stage"].dtype)
        stage = jnp.where((batch["stage"] < 0) & sure, likeliest, batch["stage"])
        return {**batch, "stage": stage}

    def frozen_teacher(self, state: TrainState, batch: Batch) -> EncoderOutput | None:
        """A frozen teacher's output: stored with the batch, or computed from its input.

        None for a teacher that trains.
        """
        if self.teacher_trainable:
            return None
        if self.teacher is None:
            return from_stored(batch)
        output, _ = forward(self.teacher, state.teacher, batch, train=False)
        return jax.lax.stop_gradient(output)

    def key_outputs(
        self, state: TrainState, batch: Batch, teacher: EncoderOutput | None
    ) -> Keys | None:
        """The momentum encoders' outputs: averaged parameters, running statistics of the networks.

        None for a method that needs no keys.
        """
        if not self.objective.needs_keys:
            return None

        def of_student() -> EncoderOutput:
            variables = {"params": state.key_encoder["student"], "batch_stats": state.batch_stats}
            return forward(self.student, variables, batch, train=False)[0]

        if self.key_encoder_every == 1:
            student, fresh = of_student(), None
        else:
            fresh = state.step % self.key_encoder_every == 0
            shapes = jax.eval_shape(of_student)
            student = jax.lax.cond(fresh, of_student, lambda: optax.tree.zeros_like(shapes))
        if teacher is None:
            assert self.teacher is not None  # one that trains is there
            variables = {**state.teacher, "params": state.key_encoder["teacher"]}
            teacher, _ = forward(self.teacher, variables, batch, train=False)
        return jax.lax.stop_gradient(Keys(student, teacher, fresh))

    def _trained_teacher(
        self, variables: Mapping[str, Tree], batch: Batch, rng: jax.Array
    ) -> tuple[EncoderOutput, dict[str, Tree], Scalars]:
        """Output of a teacher that trains, its new statistics, its own loss terms (`teacher_…`)."""
        assert self.teacher is not None
        dropout = jax.random.fold_in(rng, 1)
        output, batch_stats = forward(self.teacher, variables, batch, train=True, dropout=dropout)
        own = own_terms(output, batch)
        own["cross_entropy"] = self._cross_entropy(output, batch)
        kept = {"batch_stats": batch_stats} if batch_stats else {}
        return output, kept, {f"teacher_{name}": term for name, term in own.items()}


def as_stored(output: EncoderOutput) -> dict[str, Array]:
    """A teacher's output by the names it has in a cache and in a batch."""
    stages = {f"teacher_stage_{i}": stage for i, stage in enumerate(output.stages)}
    return {"teacher_embedding": output.embedding, "teacher_logits": output.logits, **stages}


def from_stored(arrays: Mapping[str, Any]) -> EncoderOutput:
    """The output that `as_stored` took apart; `arrays` may hold other entries too."""
    names = (f"teacher_stage_{i}" for i in itertools.count())
    stages = tuple(arrays[name] for name in itertools.takewhile(arrays.__contains__, names))
    return EncoderOutput(arrays["teacher_embedding"], arrays["teacher_logits"], stages)


def _data_spec(setup: Setup) -> DataSpec:
    """What the method may know of the train split."""
    run, source = setup.run, setup.source
    steps = steps_per_pass(
        source.table, run.batch_size, run.batch_mode, run.consecutive_clips, run.uses_unlabelled
    )
    return DataSpec(
        len(source), source.table.stage, setup.num_classes, run.batch_size, max(1, int(steps))
    )
