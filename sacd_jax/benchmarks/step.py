"""The full training step of named networks: forward, backward, SGD with momentum, BatchNorm.

Several networks and convolution forms take turns in one run, on random clips. With --torch-python,
an interpreter that has PyTorch runs the equal network in a process of its own, in the same turns.
"""

import argparse
import contextlib
from pathlib import Path

import jax
import jax.numpy as jnp

from input_pipeline.files import write_json
from sacd_jax import models
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
from sacd_jax.benchmarks.timing import Contestant
from sacd_jax.benchmarks.torch_child import STEP, TorchChild
from sacd_jax.report.tables import show
from sacd_jax.tasks import optimizer
from sacd_jax.tasks.classify import Classify

EXAMPLE = "python -m sacd_jax.benchmark step --model r2plus1d_18,r3d_18 --form matmul,direct"

DTYPES = {"float32": None, "bfloat16": jnp.bfloat16}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add_step_arguments(parser, form="auto", batch=4, dtype="float32")
    parser.add_argument("--rounds", type=int, default=3, help="turns after warm-up (default: 3)")
    parser.add_argument(
        "--torch-python",
        metavar="PATH",
        help="interpreter of an environment with PyTorch: times the equal networks there",
    )
    parser.add_argument(
        "--torch-compile", action="store_true", help="and with torch.compile, in the same turns"
    )


def add_step_arguments(
    parser: argparse.ArgumentParser, *, form: str, batch: int, dtype: str
) -> None:
    """Arguments that say which steps, and where figures go; the options are their defaults."""
    parser.add_argument(
        "--model", required=True, metavar="NAMES", help="networks by name, with commas"
    )
    parser.add_argument(
        "--form",
        default=form,
        metavar="FORMS",
        help="convolution forms with commas: auto, direct, matmul, planar, folded "
        f"(default: {form})",
    )
    add_clip_arguments(parser, batch=batch, colours=3)
    parser.add_argument(
        "--dtype", choices=tuple(DTYPES), default=dtype, help=f"of computation (default: {dtype})"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="writes every figure there")


def make_task(model: str, form: str, dtype: str) -> Classify:
    """The task that trains this network in this form of the convolutions.

    Raises:
        UserError: an unknown network, or one without forms.
    """
    options = {} if form == "auto" else {"form": form}
    if DTYPES[dtype] is not None:
        options["dtype"] = DTYPES[dtype]
    encoder = models.create(model, CLASSES, **options)
    transform = optimizer.make(OPTIMIZER, total_steps=1)
    return Classify(student=encoder, optimizer=transform, augment=AUGMENT)


def run(arguments: argparse.Namespace) -> None:
    """Times the steps and prints the table.

    Raises:
        UserError: an unknown network or form, one without a PyTorch equal, no PyTorch there.
    """
    check_positive(arguments, "batch", "frames", "size", "rounds")
    machine = timing.machine()
    contestants: list[Contestant] = []
    with contextlib.ExitStack() as stack:
        for model in arguments.model.split(","):
            steps = [JaxStep(model, form, arguments) for form in arguments.form.split(",")]
            if arguments.torch_python:  # first: the others' ratios are to it
                for compiled in (False, True)[: 1 + arguments.torch_compile]:
                    child = stack.enter_context(_torch(model, arguments, compiled))
                    if child.answer["parameters"] != steps[0].parameters:
                        raise RuntimeError(
                            f"{model} has {steps[0].parameters} parameters here and "
                            f"{child.answer['parameters']} in PyTorch: they are not equal"
                        )
                    machine["torch"] = child.answer["version"]
                    contestants.append(child)
            contestants += steps
        timed = timing.take_turns(contestants, arguments.rounds)

    settings = {
        name: getattr(arguments, name)
        for name in ("batch", "frames", "size", "colours", "dtype", "rounds")
    }
    notes = (
        "wall and CPU seconds are medians; ratio: wall seconds over those of the network's first",
        timing.facts(machine),
    )
    title = timing.heading("training step", settings)
    show(timing.table(title, timed, arguments.batch, notes))
    if arguments.json:
        results = timing.as_json(timed, arguments.batch)
        write_json(arguments.json, {"machine": machine, "settings": settings, "results": results})


def _torch(model: str, arguments: argparse.Namespace, compiled: bool) -> TorchChild:
    return TorchChild(
        arguments.torch_python,
        STEP,
        f"{model}, PyTorch" + " compiled" * compiled,
        model,
        model=model,
        classes=CLASSES,
        batch=arguments.batch,
        frames=arguments.frames,
        size=arguments.size,
        colours=arguments.colours,
        bfloat16=arguments.dtype == "bfloat16",
        learning_rate=OPTIMIZER.learning_rate,
        momentum=OPTIMIZER.momentum,
        weight_decay=OPTIMIZER.weight_decay,
        device="cuda" if jax.default_backend() == "gpu" else "cpu",
        compiled=compiled,
    )


class JaxStep(TrainingStep):
    """The step of the task `classify` on one batch of random clips."""

    def __init__(self, model: str, form: str, arguments: argparse.Namespace):
        task = make_task(model, form, arguments.dtype)
        batch = random_batch(task.student.input_keys, arguments)
        variables = first_variables(task.student, batch)
        self.parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        state = task.first_state(0, variables)
        step = task.train_step
        super().__init__(f"{model}, {form}", model, step, state, batch)
