"""From a run's config to its networks, its task and the first state."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.loader import train_batches
from input_pipeline.source import ClipSource
from sacd_jax import class_weights, model_file, models, objectives, optimizer, parallel
from sacd_jax.augment import centred
from sacd_jax.config import EncoderConfig, RunConfig, as_json
from sacd_jax.models.encoder import Batch, output_spec, spec_of
from sacd_jax.objectives.objective import DataSpec
from sacd_jax.tasks import classify, distill
from sacd_jax.tasks.losses import Terms
from sacd_jax.train_state import TrainState, Tree


@dataclass(frozen=True)
class Training:
    """A task ready to run.

    Attributes:
        student: the network that learns.
        input_keys: keys of the batch that its step reads beside stage, index and mask.
        init: seed -> the state before the first step, replicated on the mesh.
        train_step: (state, batch) -> (state, metrics); pure, not yet jitted.
        model: the student with given weights, ready to be stored.
    """

    student: nn.Module
    input_keys: tuple[str, ...]
    init: Callable[[int], TrainState]
    train_step: Callable[[TrainState, Batch], tuple[TrainState, Terms]]
    model: Callable[[Tree], model_file.Model]


def create(
    run: RunConfig,
    source: ClipSource,
    mesh: jax.sharding.Mesh,
    total_steps: int,
    siblings: Path,
    teacher_outputs: Mapping[str, np.ndarray] | None = None,
) -> Training:
    """Makes the networks and the task of a run.

    Args:
        run: its config.
        source: the train split.
        mesh: where the state will live.
        total_steps: length of the run.
        siblings: folder of the experiment's runs; a teacher may be named by its run.
        teacher_outputs: the frozen teacher's outputs over the rows of the split, which the batches
            will hold; None to run its network in every step.

    Raises:
        UserError: settings that do not fit each other, the data or the devices.
    """
    num_classes = len(source.info.classes)
    student = models.create(run.student.name, num_classes, **run.student.options)
    labels = source.table.stage
    counts = np.bincount(labels[labels >= 0], minlength=num_classes)
    model = _model_of(run, run.student, num_classes)
    weights = class_weights.class_weights(run.class_weights, counts)
    transform = optimizer.make(run.optimizer, total_steps)

    if run.task == "classify":
        parallel.check_batch_size(run.batch_size, mesh)
        task = classify.Classify(student, transform, run.augment, weights)
        example = _example(run, source, student.input_keys)
        first_student = partial(_variables, run.student, student, example, siblings)

        def init(seed: int) -> TrainState:
            return parallel.replicate(classify.init(task, seed, first_student(seed)), mesh)

        step = partial(classify.train_step, task)
        return Training(student, student.input_keys, init, step, model)

    assert run.teacher is not None and run.objective is not None  # config.check has seen to it
    objective = objectives.create(
        run.objective.name, run.objective.weights, **run.objective.options
    )
    group_size = getattr(objective, "group_size", 1)
    parallel.check_batch_size(run.batch_size, mesh, group_size)
    if teacher_outputs is None:
        lent = lent_teacher(run.teacher, siblings)
        teacher = models.create(lent.encoder, lent.num_classes, **lent.options)
        teacher_variables = lent.variables
        keys = tuple(dict.fromkeys((*student.input_keys, *teacher.input_keys)))
        example = _example(run, source, keys)
        inputs = {key: example[key] for key in teacher.input_keys}
        rngs = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
        whole = jax.eval_shape(partial(teacher.init, train=False), rngs, inputs)
        model_file.refuse_missing(lent.variables, whole)
        teacher_spec = output_spec(teacher, example)
    else:
        teacher, teacher_variables, keys = None, {}, student.input_keys
        example = _example(run, source, keys)
        teacher_spec = spec_of(distill.from_stored(teacher_outputs))
    task = distill.Distill(
        student,
        teacher,
        objective,
        {"cross_entropy": 1.0, **{k: w for k, w in objective.weights.items() if w}},
        optimizer.for_objective(transform, objective),
        run.augment,
        run.key_encoder_decay,
        weights,
    )
    data = DataSpec(
        len(source),
        labels,
        num_classes,
        run.batch_size,
        max(1, int(counts.sum()) // run.batch_size),
    )

    def init(seed: int) -> TrainState:
        variables = _variables(run.student, student, example, siblings, seed)
        heads, buffers = objective.init(
            jax.random.fold_in(jax.random.key(seed), 1),
            output_spec(student, example),
            teacher_spec,
            data,
        )
        state = distill.init(task, seed, variables, teacher_variables, heads, buffers)
        return parallel.replicate(state, mesh)

    step = partial(distill.train_step, task)
    return Training(student, keys, init, step, model)


def _example(run: RunConfig, source: ClipSource, keys: tuple[str, ...]) -> dict[str, Any]:
    """One batch as the networks see it, to learn shapes from."""
    batches = train_batches(source, batch_size=1, seed=0, sampling=run.sampling, keys=keys)
    try:
        return centred(next(batches), run.augment)
    finally:
        batches.close()


def lender(encoder: EncoderConfig, siblings: Path) -> Path:
    """The folder that a network's weights come from: an earlier run's, or any folder."""
    if not encoder.pretrained:
        raise UserError(
            f"teacher {encoder.name}: pretrained is not set, expected a run or a folder"
        )
    sibling = siblings / encoder.pretrained
    return sibling if sibling.is_dir() else Path(encoder.pretrained)


def lent_teacher(teacher: EncoderConfig, siblings: Path) -> model_file.Model:
    """The teacher of a run, as it was stored.

    Raises:
        UserError: nothing is stored there, or another network than the run's config says.
    """
    lent = model_file.load(lender(teacher, siblings))
    if lent.encoder != teacher.name:
        raise UserError(
            f"teacher.pretrained holds a {lent.encoder}, expected teacher.name {teacher.name}"
        )
    return lent


def _variables(
    config: EncoderConfig, encoder: nn.Module, example: Batch, siblings: Path, seed: int
) -> dict[str, Tree]:
    """First weights of a network: drawn from the seed, or a stored one's where they fit."""
    inputs = {key: example[key] for key in encoder.input_keys}
    rngs = {"params": jax.random.key(seed), "dropout": jax.random.key(seed)}
    variables = jax.jit(partial(encoder.init, train=False))(rngs, inputs)
    if config.pretrained:
        stored = model_file.load(lender(config, siblings))
        variables, fresh = model_file.fill(variables, stored.variables)
        print(
            f"{config.name}: fresh weights for {', '.join(fresh) or 'nothing'}; others taken over"
        )
    return variables


def _model_of(
    run: RunConfig, config: EncoderConfig, num_classes: int
) -> Callable[[Tree], model_file.Model]:
    inputs = {"sampling": as_json(run.sampling), "crop": list(run.augment.crop)}

    def model(variables: Tree) -> model_file.Model:
        host = jax.tree.map(np.asarray, dict(variables))
        return model_file.Model(config.name, num_classes, dict(config.options), host, inputs)

    return model
