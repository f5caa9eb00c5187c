"""Learning stages from labels alone: teachers and the video-only baseline."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import jax
import numpy as np
from jax.sharding import Mesh

from input_pipeline.source import ClipSource
from sacd_jax import parallel
from sacd_jax.config import RunConfig
from sacd_jax.models.encoder import Batch, forward
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.tasks import optimizer, train_state
from sacd_jax.tasks.augment import augment
from sacd_jax.tasks.modulation import UNTIL, Modulation
from sacd_jax.tasks.task import Setup, Task
from sacd_jax.tasks.terms import Scalars, metrics_of, own_terms, weighted_sum
from sacd_jax.tasks.train_state import TrainState, Tree


@dataclass(frozen=True, kw_only=True, eq=False)
class Classify(Task):
    """Cross-entropy on the stages, and the loss terms of the network's own recipe.

    Attributes:
        modulation: of the gradients of a fusion; None leaves them as they are.
    """

    modulation: Modulation | None = None

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
            siblings: folder of the experiment's runs.
            teacher_outputs: a run of this task has no teacher: None.

        Raises:
            UserError: settings that do not fit each other, the data or the devices.
        """
        setup = Setup.make(run, source, mesh, siblings, teacher_outputs)
        student, weights = setup.make_student(), setup.class_weights()
        transform = setup.optimizer(total_steps)
        unit = "number of sequences" if student.has_state else "batch_size"
        parallel.check_batch_size(_rows(run), mesh, name=unit)
        return cls(
            student=student,
            optimizer=optimizer.accumulated(transform, run.accumulate),
            augment=run.augment,
            class_weights=weights,
            logit_offsets=setup.logit_offsets(),
            modulation=Modulation(run.ogm_ge, round(UNTIL * total_steps)) if run.ogm_ge else None,
            setup=setup,
        )

    def init(self, seed: int) -> TrainState:
        """The state before the first step, laid out on the mesh."""
        setup = self._setup
        example = setup.example(self.input_keys)
        variables = setup.first_variables(self.student, example, seed)
        carry = None
        if self.student.has_state:
            carry = self.student.initial_carry(_rows(setup.run))
        state = self.first_state(seed, variables, carry)
        return parallel.place(state, setup.mesh, by_rows=("carry",))

    def first_state(
        self, seed: int, student: dict[str, Tree], carry: Tree | None = None
    ) -> TrainState:
        """The state before the first step, from the network's variables.

        Args:
            seed: of the run.
            student: `params` and `batch_stats`.
            carry: of a network over sequences, one row a sequence of the batch.
        """
        params = {"student": student["params"]}
        batch_stats = student.get("batch_stats", {})
        return train_state.create(seed, params, batch_stats, self.optimizer, carry=carry)

    def train_step(self, state: TrainState, batch: Batch) -> tuple[TrainState, Scalars]:
        """One update by cross-entropy. Pure: (state, batch) -> (state, metrics)."""
        augment_rng, dropout_rng = jax.random.split(state.rng())
        batch = augment(augment_rng, batch, self.augment)
        seen = {**batch, "carry": state.carry} if state.carry else batch
        clips = clip_by_clip(batch)

        def loss(params: dict[str, Tree]) -> tuple[jax.Array, tuple]:
            variables = {"params": params["student"], "batch_stats": state.batch_stats}
            output, batch_stats = forward(
                self.student, variables, seen, train=True, dropout=dropout_rng
            )
            terms = own_terms(output, clips)
            terms["cross_entropy"] = cross_entropy(
                output.logits,
                clips["stage"],
                clips["mask"],
                self.class_weights,
                self.logit_offsets,
            )
            total = weighted_sum(terms, dict.fromkeys(terms, 1.0))
            return total, (terms, output, batch_stats)

        (total, (terms, output, batch_stats)), gradients = jax.value_and_grad(loss, has_aux=True)(
            state.params
        )
        if self.modulation is not None:
            rng = jax.random.fold_in(dropout_rng, 1)
            student, params = gradients["student"], state.params["student"]
            student = self.modulation(student, params, output, clips, rng, state.step)
            gradients = {**gradients, "student": student}
        metrics = metrics_of(total, terms, output, clips, gradients)
        carry = output.extras["carry"] if state.carry else state.carry
        state = state.updated(self.optimizer, gradients, batch_stats, state.buffers, carry=carry)
        return state, metrics


def _rows(run: RunConfig) -> int:
    """What is dealt out to the devices: the sequences of a batch, or its clips."""
    return run.batch_size // (run.consecutive_clips if run.batch_mode == "sequences" else 1)


def clip_by_clip(batch: Batch) -> Batch:
    """What is known of each clip, in one row; batches of sequences [B, L] become [B * L]."""
    names = ("stage", "mask", "domain")
    return {name: batch[name].reshape(-1) for name in names if name in batch}
