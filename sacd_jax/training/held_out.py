"""What the terms of a distillation are, and know, on validation clips, for the log of a run."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.source import ClipSource
from sacd_jax.models.encoder import EncoderOutput
from sacd_jax.objectives.knowledge import divergences, mutual_wins
from sacd_jax.objectives.objective import Keys, Objective, Seen
from sacd_jax.tasks.distill import from_stored
from sacd_jax.tasks.train_state import TrainState

MOST = 512
"""Clips that are compared with one another, at most."""


class HeldOut:
    """The same labelled validation clips at every evaluation, in one random order.

    A rank is the share of others that a clip's own partner is nearer than, both ways: 1 is always
    first, 0.5 is chance (`objectives.knowledge`).
    """

    def __init__(
        self,
        objective: Objective,
        validation: ClipSource,
        teacher: Mapping[str, np.ndarray],
        batch_size: int,
    ):
        """
        Args:
            objective: the run's.
            validation: its validation split.
            teacher: stored outputs of the teacher over that split.
            batch_size: of the training, in which the terms' values are taken.

        Raises:
            UserError: the split has fewer labelled clips than a batch.
        """
        table = validation.table
        labelled = np.flatnonzero(table.stage >= 0)
        whole = min(len(labelled), max(MOST, batch_size)) // batch_size * batch_size
        if not whole:
            raise UserError(
                f"measure_terms: the validation split has {len(labelled)} labelled clips, expected "
                f"a batch of {batch_size}"
            )
        self._rows = np.random.default_rng(0).permutation(labelled)[:whole]
        self._batch_size = batch_size
        self._stage = jnp.asarray(table.stage[self._rows], jnp.int32)
        stored = from_stored(teacher)
        self._teacher = EncoderOutput(
            *(jnp.asarray(each[self._rows]) for each in (stored.embedding, stored.logits))
        )
        self._terms = jax.jit(lambda *given: _losses(objective, *given))
        self._ranks = jax.jit(lambda *given: _ranks(objective, *given))

    def __call__(self, state: TrainState, outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Name -> value of each loss of a measurable method, mean of batches, and the ranks.

        Args:
            state: of the training.
            outputs: of the student on the whole split, by row (`Evaluator`).
        """
        student = EncoderOutput(
            *(jnp.asarray(outputs[name][self._rows]) for name in ("embedding", "logits"))
        )
        heads = (state.params["objective"], state.buffers)
        batches = [
            self._terms(*heads, self._seen(student, slice(at, at + self._batch_size)))
            for at in range(0, len(self._rows), self._batch_size)
        ]
        found = jax.tree.map(lambda *values: np.mean(values), *batches)
        found |= self._ranks(*heads, self._seen(student, slice(None)))
        return {name: float(value) for name, value in found.items()}

    def _seen(self, student: EncoderOutput, part: slice) -> Seen:
        student, teacher = (
            jax.tree.map(lambda rows: rows[part], each) for each in (student, self._teacher)
        )
        stage = self._stage[part]
        mask = jnp.ones(len(stage), bool)
        batch = {"stage": stage, "mask": mask, "index": jnp.arange(len(stage))}
        keys = Keys(student, teacher)
        return Seen(student, teacher, keys, batch, mask, jax.random.key(0), jnp.int32(2**30))


def _losses(objective: Objective, params: Mapping, buffers: Mapping, seen: Seen) -> dict:
    if not objective.measurable:
        return {}
    losses = objective.terms(params, buffers, seen)[0].losses
    return {name: loss for name, loss in losses.items() if objective.weights[name]}


def _ranks(objective: Objective, params: Mapping, buffers: Mapping, seen: Seen) -> dict:
    stage = seen.batch["stage"]
    distance = divergences(seen.student.logits, seen.teacher.logits)
    return {
        "jsd_wins_other_stages": mutual_wins(distance, stage[:, None] != stage),
        "jsd_wins": mutual_wins(distance),
        **objective.ranks(params, buffers, seen),
    }
