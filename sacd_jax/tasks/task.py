"""What both tasks share: the student, how it is updated, and what they have from their run."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from input_pipeline.errors import UserError
from input_pipeline.loader import Loader
from input_pipeline.source import ClipSource
from sacd_jax import models, parallel
from sacd_jax.config import AugmentConfig, EncoderConfig, RunConfig, as_json
from sacd_jax.models.context import CLIP_OUTPUTS
from sacd_jax.models.encoder import Batch, Encoder
from sacd_jax.models.lags import with_lags
from sacd_jax.models.precision import at_precision, resolved
from sacd_jax.runs import lending
from sacd_jax.runs.clip_network import ClipNetwork, clip_network
from sacd_jax.runs.model_file import Model
from sacd_jax.tasks import optimizer
from sacd_jax.tasks.augment import centred
from sacd_jax.tasks.class_weights import class_weights, logit_offsets
from sacd_jax.tasks.train_state import Tree


@dataclass(frozen=True)
class Setup:
    """What a task has from its run to start with; the step does not need it.

    Attributes:
        student: config of the student, its options resolved.
        num_classes: of the data.
        extra: arrays over the rows of the split that the batches hold beside the clips' own.
        source: the train split.
        run: the run's config.
        siblings: folder of the experiment's runs, which may lend their networks.
        mesh: where the state lives.
        clip_network: whose stored outputs the student reads; None: it reads clips.
    """

    student: EncoderConfig
    num_classes: int
    extra: Mapping[str, np.ndarray]
    source: ClipSource
    run: RunConfig
    siblings: Path
    mesh: Mesh
    clip_network: ClipNetwork | None = None

    @classmethod
    def make(
        cls,
        run: RunConfig,
        source: ClipSource,
        mesh: Mesh,
        siblings: Path,
        teacher_outputs: Mapping[str, np.ndarray] | None = None,
    ) -> Self:
        """Resolves what the student's config leaves to the data (its domains, frames a moment) and
        joins the clips to the stored outputs of another network, if the run asks for them.

        Raises:
            UserError: there are no such outputs, or they do not belong to these clips.
        """
        student, extra = run.student, dict(teacher_outputs or {})
        if student.options.get("domains") == "subjects":
            subjects, subject = np.unique(source.table.subject_id, return_inverse=True)
            options = {**student.options, "domains": len(subjects)}
            student = dataclasses.replace(student, options=options)
            extra["domain"] = subject.astype(np.int32)
        network = clip_network(run, siblings)
        if network is not None:
            extra |= network.outputs(source)
        options = with_lags(student.name, student.options, len(run.sampling.lags_s))
        student = dataclasses.replace(student, options=options)
        classes = len(source.info.classes)
        return cls(student, classes, extra, source, run, siblings, mesh, network)

    def make_student(self) -> Encoder:
        """The student's network.

        Raises:
            UserError: the task or the batches are not for such a network.
        """
        run, config = self.run, self.student
        student = models.create(config.name, self.num_classes, **config.options)
        student = at_precision(student, self.precision)
        if student.has_state and (run.task != "classify" or run.batch_mode != "sequences"):
            raise UserError(
                f"student {config.name} sees a night in its order: expected task 'classify' with "
                f"batch_mode 'sequences', found {run.task!r} with {run.batch_mode!r}"
            )
        if (self.clip_network is None) != set(CLIP_OUTPUTS).isdisjoint(student.input_keys):
            raise UserError(
                f"student {config.name} with embeddings_of {run.embeddings_of!r}: expected the "
                "network context with the name of a run, or another network with None"
            )
        if run.batch_mode == "sequences" and not student.has_state:
            raise UserError(
                f"batch_mode 'sequences' is for a network with a state, such as deepsleepnet; "
                f"{config.name} has none"
            )
        return student

    @property
    def precision(self) -> Literal["float32", "bfloat16"]:
        """What the run's networks compute in, on these devices."""
        return resolved(self.run.precision, parallel.platform(self.mesh))

    def class_weights(self) -> tuple[float, ...] | None:
        """Weights of the classes in the cross-entropy; None where all count alike."""
        return class_weights(self.run.class_weights, self._counts())

    def logit_offsets(self) -> tuple[float, ...] | None:
        """What the cross-entropy adds to the logits; None for nothing."""
        return logit_offsets(self.run.logit_adjustment, self._counts())

    def _counts(self) -> np.ndarray:
        labels = self.source.table.stage
        return np.bincount(labels[labels >= 0], minlength=self.num_classes)

    def optimizer(self, total_steps: int) -> optax.GradientTransformation:
        """The optimizer of the networks over a run of so many steps, without `accumulate`."""
        run = self.run
        config = optimizer.for_batch(run.optimizer, run.batch_size * run.accumulate)
        return optimizer.make(config, max(1, total_steps // run.accumulate))

    def example(self, keys: tuple[str, ...]) -> dict[str, Any]:
        """A batch of one clip of padding as the networks see it, to learn shapes from."""
        extra = {key: self.extra[key] for key in keys if key in self.extra}
        loader = Loader(self.source, self.run.sampling, keys, extra)
        return centred(loader.padding(), self.run.augment)

    def inputs(self, keys: Sequence[str]) -> dict[str, Any]:
        """How clips are made for a student that reads `keys` and what it learns from, as its model
        file says."""
        info, run, table = self.source.info, self.run, self.source.table
        objective = run.objective.name if run.objective else "none: labels alone"
        training = {
            "data set": info.name,
            "fingerprint of the clips": self.source.fingerprint,
            "simulated": info.simulated,
            "subjects": len(np.unique(table.subject_id)),
            "clips": len(table),
            "split": info.split_mode,
            "distillation": objective,
            "passes": run.passes,
        }
        if self.clip_network is not None:
            return {"clip_network": self.clip_network.identity, "training": training}
        return {
            "clips": info.clip_settings(keys),
            "sampling": as_json(run.sampling),
            "augment": as_json(run.augment),
            "training": training,
        }

    def first_variables(self, student: Encoder, example: Batch, seed: int) -> dict[str, Tree]:
        """The student's weights before the first step; see `runs.lending.first_variables`."""
        return lending.first_variables(self.student, student, example, self.siblings, seed)


@dataclass(frozen=True, kw_only=True, eq=False)
class Task:
    """A task: everything that its step needs beside state and batch; nothing of it changes.

    A task has three functions beside these fields: `make`, from a run; `init(seed)`, the state
    before the first step, laid out on the mesh; `train_step(state, batch)`, pure and not jitted.

    Attributes:
        student: the network that learns.
        optimizer: of all that trains.
        augment: what is done to the clips inside the step.
        class_weights: of the cross-entropy; None: all classes count alike.
        logit_offsets: of the cross-entropy; None: it takes the logits as they are.
        setup: what it has from its run; None for a step alone, as benchmarks measure it.
    """

    student: Encoder
    optimizer: optax.GradientTransformation
    augment: AugmentConfig
    class_weights: tuple[float, ...] | None = None
    logit_offsets: tuple[float, ...] | None = None
    setup: Setup | None = None

    @property
    def input_keys(self) -> tuple[str, ...]:
        """Keys of the clips that the step reads beside stage, index and mask."""
        return self.student.input_keys

    @property
    def extra(self) -> Mapping[str, np.ndarray]:
        """Arrays over the rows of the split that the batches hold beside the clips' own."""
        return self._setup.extra

    @property
    def clip_network(self) -> ClipNetwork | None:
        """See `Setup`."""
        return self._setup.clip_network

    @property
    def _setup(self) -> Setup:
        assert self.setup is not None, "this task was not made from a run"
        return self.setup

    def model(self, variables: Tree, accuracy: float | None = None) -> Model:
        """The student with given weights, ready to be stored; see `runs.model_file.Model`."""
        config = self._setup.student
        host = jax.tree.map(np.asarray, dict(variables))
        options, classes = dict(config.options), self._setup.num_classes
        inputs = self._setup.inputs(self.student.input_keys)
        return Model(config.name, classes, options, host, accuracy, inputs)
