"""The training step of each method of distillation against cross-entropy alone, on one student.

All are timed interleaved, on random clips: the student by cross-entropy, the same with the frozen
teacher run beside it, and every method; one that has an option `key_encoder` with each choice of
it. With --cached the teacher's outputs come with the batch, as from a teacher cache.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from sacd_jax import models, objectives
from sacd_jax.benchmarks import timing
from sacd_jax.benchmarks.timed_step import (
    AUGMENT,
    CLASSES,
    OPTIMIZER,
    TrainingStep,
    add_clip_arguments,
    check_positive,
    first_variables,
    random_batch,
)
from sacd_jax.benchmarks.timing import Timed
from sacd_jax.models.encoder import Encoder, forward, output_spec
from sacd_jax.models.precision import at_precision
from sacd_jax.objectives.objective import DataSpec, Objective, Terms, default_weights
from sacd_jax.objectives.sacd import KeyEncoder
from sacd_jax.report.tables import Cell, Table, show
from sacd_jax.tasks import optimizer
from sacd_jax.tasks.classify import Classify
from sacd_jax.tasks.distill import Distill, as_stored

EXAMPLE = "python -m sacd_jax.benchmark distill --student r2plus1d_18 --method sacd,crd"

SETTINGS = (
    *("student", "teacher", "cached", "dtype", "batch"),
    *("frames", "size", "colours", "rows", "rounds"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    known = ",".join(objectives.available())
    parser.add_argument(
        "--student", default="r2plus1d_18", metavar="NAME", help="network (default: r2plus1d_18)"
    )
    parser.add_argument(
        "--teacher", default="attnsleep", metavar="NAME", help="network (default: attnsleep)"
    )
    parser.add_argument(
        "--method", default=known, metavar="NAMES", help=f"with commas (default: {known})"
    )
    add_clip_arguments(parser, batch=16, colours=1)
    parser.add_argument(
        "--rows",
        type=int,
        default=102_519,
        help="clips of the train split, rows of CRD's and CMC's banks (default: 102519, S3VE's)",
    )
    parser.add_argument(
        "--cached", action="store_true", help="stored outputs of the teacher, not its network"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of computation (default: float32)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="turns after warm-up (default: 3)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every figure there")


def run(arguments: argparse.Namespace) -> None:
    """Times the steps and prints the table.

    Raises:
        UserError: an unknown network or method, or sizes that one of them cannot work with.
    """
    check_positive(arguments, "batch", "frames", "size", "rounds")
    if arguments.rows < arguments.batch:
        raise UserError(
            f"--rows is {arguments.rows}, expected at least the {arguments.batch} of --batch"
        )
    machine = timing.machine()
    timed = timing.take_turns(list(steps(arguments)), arguments.rounds)

    settings = {name: getattr(arguments, name) for name in SETTINGS}
    notes = (
        "wall and CPU seconds are medians; /a: over the first row, /b: over the second row",
        timing.facts(machine),
    )
    show(table(timing.heading("step of distillation", settings), timed, notes))
    if arguments.json:
        results = timing.as_json(timed, arguments.batch)
        for result, one in zip(results, timed, strict=True):
            result["ratio_to_teacher"] = one.median / timed[1].median
            result["cpu_ratio"] = one.cpu / timed[0].cpu
            result["cpu_ratio_to_teacher"] = one.cpu / timed[1].cpu
        write_json(arguments.json, {"machine": machine, "settings": settings, "results": results})


def table(title: str, timed: Sequence[Timed], notes: Sequence[str]) -> Table:
    """The results as a table; the first two rows are what the others are compared with."""
    header = ("", "wall s", "min", "max", "wall/a", "wall/b", "CPU s", "CPU/a", "CPU/b")
    alone, base = timed[:2]
    rows = []
    for one in timed:
        walls = [measured.wall for measured in one.rounds]
        texts = (
            *(f"{seconds:.3g}" for seconds in (one.median, min(walls), max(walls))),
            *(f"{one.median / other.median:.3f}" for other in (alone, base)),
            f"{one.cpu:.3g}",
            *(f"{one.cpu / other.cpu:.3f}" for other in (alone, base)),
        )
        rows.append((Cell(one.name), *map(Cell, texts)))
    return Table(title, header, tuple(rows), tuple(notes))


def steps(arguments: argparse.Namespace) -> Iterator[TrainingStep]:
    """What is compared: cross-entropy, the same with the teacher beside it, each method.

    Raises:
        UserError: see `run`.
    """
    beside = "stored teacher" if arguments.cached else "teacher"
    compared = {
        f"cross-entropy + {beside}": TeacherAlone(),
        **dict(variant for name in arguments.method.split(",") for variant in variants(name)),
    }
    student, teacher = (
        at_precision(models.create(name, CLASSES), arguments.dtype)
        for name in (arguments.student, arguments.teacher)
    )
    for name, encoder in ((arguments.student, student), (arguments.teacher, teacher)):
        if encoder.has_state:
            raise UserError(f"{name} sees a night in its order: expected a network of single clips")
    keys = tuple(dict.fromkeys((*student.input_keys, *teacher.input_keys)))
    batch = random_batch(keys, arguments)
    student_spec, teacher_spec = output_spec(student, batch), output_spec(teacher, batch)
    data = data_spec(arguments.rows, arguments.batch)
    data.labels[batch["index"]] = batch["stage"]
    # Heads and banks of all first: what does not fit together is refused before anything is slow.
    started = {
        name: objective.init(jax.random.key(1), student_spec, teacher_spec, data)
        for name, objective in compared.items()
    }
    variables, lent = first_variables(student, batch), first_variables(teacher, batch)
    if arguments.cached:
        output, _ = jax.jit(partial(forward, teacher, train=False))(lent, batch)
        batch = {key: batch[key] for key in (*student.input_keys, "stage", "index", "mask")}
        batch |= as_stored(output)
        teacher, lent = None, {}

    def own[Tree](tree: Tree) -> Tree:
        return jax.tree.map(jnp.copy, tree)  # each step's state is donated

    alone = Classify(
        student=student, optimizer=optimizer.make(OPTIMIZER, total_steps=1), augment=AUGMENT
    )
    state = alone.first_state(0, own(variables))
    yield TrainingStep("cross-entropy", arguments.student, alone.train_step, state, batch)
    for name, objective in compared.items():
        task = make_task(student, teacher, objective)
        state = task.first_state(0, own(variables), own(lent), *started.pop(name))
        yield TrainingStep(name, arguments.student, task.train_step, state, batch)


def make_task(student: Encoder, teacher: Encoder | None, objective: Objective) -> Distill:
    """The task of a method; without a teacher's network its stored outputs come with the batch."""
    transform = optimizer.make(OPTIMIZER, total_steps=1)
    return Distill(
        student=student,
        teacher=teacher,
        objective=objective,
        optimizer=optimizer.for_heads(transform, objective.optimizer(transform)),
        augment=AUGMENT,
    )


def data_spec(rows: int, batch_size: int) -> DataSpec:
    """A train split of that many clips with random stages."""
    stages = np.random.default_rng(1).integers(0, CLASSES, rows, np.int32)
    return DataSpec(rows, stages, CLASSES, batch_size, steps_per_pass=1)


def variants(method: str) -> Iterator[tuple[str, Objective]]:
    """A method by its name in the table: as it is, or with each choice of its key encoder.

    Raises:
        UserError: no such method.
    """
    objective = objectives.create(method)
    if not hasattr(objective, "key_encoder"):
        yield method, objective
        return
    for choice in reversed(get_args(KeyEncoder)):  # the cheaper one first
        yield f"{method}, key_encoder={choice}", objectives.create(method, key_encoder=choice)


@dataclass(frozen=True)
class TeacherAlone(Objective):
    """No loss; logs the teacher's output: XLA drops a network whose output nothing reads."""

    weights: Mapping[str, float] = default_weights()

    def terms(self, params, buffers, seen):
        """No loss; logs the mean of the teacher's output."""
        mean = seen.teacher.embedding.mean() + seen.teacher.logits.mean()
        return Terms({}, {"teacher": mean}), buffers
