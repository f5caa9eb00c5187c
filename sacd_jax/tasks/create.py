"""From a run's config to its networks, its task and the first state."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.groups import steps_per_pass
from input_pipeline.loader import Loader
from input_pipeline.source import ClipSource
from sacd_jax import models, objectives, parallel
from sacd_jax.config import EncoderConfig, RunConfig, as_json
from sacd_jax.models.encoder import Batch, has_state, output_spec, spec_of
from sacd_jax.models.lags import with_lags
from sacd_jax.objectives.objective import DataSpec
from sacd_jax.runs import model_file
from sacd_jax.tasks import class_weights, classify, distill, optimizer
from sacd_jax.tasks.augment import centred
from sacd_jax.tasks.terms import Terms
from sacd_jax.tasks.train_state import TrainState, Tree


@dataclass(frozen=True)
class Training:
    """A task ready to run.

    Attributes:
        student: the network that learns.
        input_keys: keys of the clips that its step reads beside stage, index and mask.
        extra: arrays over the rows of the split that its batches hold as well.
        init: seed -> the state before the first step, laid out on the mesh.
        train_step: (state, batch) -> (state, metrics); pure, not yet jitted.
        model: the student with given weights, ready to be stored.
    """

    student: nn.Module
    input_keys: tuple[str, ...]
    extra: Mapping[str, np.ndarray]
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
    subjects, subject = np.unique(source.table.subject_id, return_inverse=True)
    config, extra = run.student, dict(teacher_outputs or {})
    if config.options.get("domains") == "subjects":
        options = {**config.options, "domains": len(subjects)}
        config = dataclasses.replace(config, options=options)
        extra["domain"] = subject.astype(np.int32)
    options = with_lags(config.name, config.options, len(run.sampling.lags_s))
    config = dataclasses.replace(config, options=options)
    student = models.create(config.name, num_classes, **config.options)
    _check_mode(run, student)
    labels = source.table.stage
    counts = np.bincount(labels[labels >= 0], minlength=num_classes)
    model = _model_of(run, config, num_classes)
    weights = class_weights.class_weights(run.class_weights, counts)
    transform = optimizer.make(run.optimizer, total_steps)

    if run.task == "classify":
        in_sequences = run.batch_mode == "sequences"
        rows = run.batch_size // run.group_size if in_sequences else run.batch_size
        unit = "number of sequences" if in_sequences else "batch_size"
        parallel.check_batch_size(rows, mesh, name=unit)
        task = classify.Classify(student, transform, run.augment, weights)
        example = _example(run, source, student.input_keys)
        first_student = partial(_variables, config, student, example, siblings)

        def init(seed: int) -> TrainState:
            carry = student.initial_carry(rows) if in_sequences else None
            state = classify.init(task, seed, first_student(seed), carry)
            return parallel.place(state, mesh, by_rows=("carry",))

        step = partial(classify.train_step, task)
        return Training(student, student.input_keys, extra, init, step, model)

    assert run.teacher is not None and run.objective is not None  # RunConfig has seen to it
    objective = objectives.create(
        run.objective.name, run.objective.weights, **run.objective.options
    )
    group_size = getattr(objective, "group_size", 1)
    parallel.check_batch_size(run.batch_size, mesh, group_size)
    if teacher_outputs is None:
        lent = lent_teacher(run.teacher, siblings)
        teacher = models.create(lent.encoder, lent.num_classes, **lent.options)
        if has_state(teacher):
            raise UserError(
                f"teacher {lent.encoder} sees a night in its order, batches are mixed: "
                "expected teacher_cache True"
            )
        lags = len(run.sampling.lags_s)
        if getattr(teacher, "lags", lags) != lags:
            raise UserError(
                f"teacher {lent.encoder} was trained on {teacher.lags} frames a moment, "
                f"sampling.lags_s has {lags}: expected the same"
            )
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
        optimizer.for_objective(transform, objective),
        run.augment,
        run.key_encoder_decay,
        weights,
        run.teacher_trainable,
    )
    data = DataSpec(
        len(source),
        labels,
        num_classes,
        run.batch_size,
        max(1, int(steps_per_pass(source.table, run.batch_size, run.batch_mode, run.group_size))),
    )

    def init(seed: int) -> TrainState:
        variables = _variables(config, student, example, siblings, seed)
        heads, buffers = objective.init(
            jax.random.fold_in(jax.random.key(seed), 1),
            output_spec(student, example),
            teacher_spec,
            data,
        )
        state = distill.init(task, seed, variables, teacher_variables, heads, buffers)
        banks = tuple(f"buffers/{name}" for name in objective.row_sharded)
        return parallel.place(state, mesh, by_rows=banks)

    step = partial(distill.train_step, task)
    return Training(student, keys, extra, init, step, model)


def _check_mode(run: RunConfig, student: nn.Module) -> None:
    if has_state(student) and (run.task != "classify" or run.batch_mode != "sequences"):
        raise UserError(
            f"student {run.student.name} sees a night in its order: expected task 'classify' with "
            f"batch_mode 'sequences', found {run.task!r} with {run.batch_mode!r}"
        )
    if run.batch_mode == "sequences" and not has_state(student):
        raise UserError(
            f"batch_mode 'sequences' is for a network with a state, such as deepsleepnet; "
            f"{run.student.name} has none"
        )


def _example(run: RunConfig, source: ClipSource, keys: tuple[str, ...]) -> dict[str, Any]:
    """One batch as the networks see it, to learn shapes from."""
    batches = Loader(source, run.sampling, keys).train(batch_size=1, seed=0)
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
    return _stored_in(encoder.pretrained, siblings)


def _stored_in(origin: str, siblings: Path) -> Path:
    sibling = siblings / origin
    return sibling if sibling.is_dir() else Path(origin)


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
    """First weights of a network: drawn from the seed, or a stored one's where they fit.

    Raises:
        UserError: what is stored is not there, or does not fit.
    """
    inputs = {key: example[key] for key in encoder.input_keys}
    rngs = {"params": jax.random.key(seed), "dropout": jax.random.key(seed)}
    variables = jax.jit(partial(encoder.init, train=False))(rngs, inputs)
    if config.pretrained:
        stored = model_file.load(lender(config, siblings))
        variables, fresh = model_file.fill(variables, stored.variables)
        print(
            f"{config.name}: fresh weights for {', '.join(fresh) or 'nothing'}; others taken over"
        )
    for part, origin in config.parts.items():
        if part not in variables["params"]:
            raise UserError(
                f"parts of {config.name}: there is no {part!r}, expected some of "
                f"{', '.join(variables['params'])}"
            )
        stored = model_file.load(_stored_in(origin, siblings)).variables
        variables = model_file.replace_part(variables, part, stored)
    return variables


def _model_of(
    run: RunConfig, config: EncoderConfig, num_classes: int
) -> Callable[[Tree], model_file.Model]:
    inputs = {"sampling": as_json(run.sampling), "crop": list(run.augment.crop)}

    def model(variables: Tree) -> model_file.Model:
        host = jax.tree.map(np.asarray, dict(variables))
        return model_file.Model(config.name, num_classes, dict(config.options), host, inputs)

    return model
