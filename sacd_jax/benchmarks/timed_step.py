"""What measurements of training steps share: random clips, first weights, the step itself."""

import argparse
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

import jax
import numpy as np

from input_pipeline.clip_arrays import Form, input_forms
from input_pipeline.errors import UserError
from sacd_jax.benchmarks.timing import Measured
from sacd_jax.config import AugmentConfig, OptimizerConfig
from sacd_jax.models.encoder import Batch, Encoder, init_variables
from sacd_jax.tasks.terms import Scalars
from sacd_jax.tasks.train_state import TrainState, Tree

CLASSES = 5
OPTIMIZER = OptimizerConfig(name="sgd", schedule="constant")
AUGMENT = AugmentConfig(flip=0.0)


class TrainingStep:
    """A task's step on one batch, run repeatedly; its state is donated."""

    def __init__(
        self,
        name: str,
        group: str,
        step: Callable[[TrainState, Batch], tuple[TrainState, Scalars]],
        state: TrainState,
        batch: Batch,
    ):
        """
        Args:
            name: what the table calls it.
            group: see `timing.Contestant`.
            step: (state, batch) -> (state, metrics), not yet jitted.
            state: before the first step; nothing else may hold its arrays.
            batch: clips.
        """
        self.name, self.group = name, group
        self._step = jax.jit(step, donate_argnums=0)
        self._state, self._batch = state, jax.device_put(dict(batch))

    def run(self) -> Measured:
        """Runs one step and waits for its results."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._state, metrics = self._step(self._state, self._batch)
        jax.block_until_ready((self._state, metrics))
        measured = Measured(time.perf_counter() - wall, time.process_time() - cpu)
        if not np.isfinite(metrics["loss"]):
            raise RuntimeError(f"{self.name}: the loss is {metrics['loss']}")
        return measured


def first_variables(encoder: Encoder, batch: Batch) -> dict[str, Tree]:
    """A network's variables before training."""
    return jax.jit(partial(init_variables, encoder))(jax.random.key(0), batch)


def add_clip_arguments(parser: argparse.ArgumentParser, *, batch: int, colours: int) -> None:
    """Arguments that `random_batch` reads; the options are their defaults."""
    parser.add_argument(
        "--batch", type=int, default=batch, help=f"clips a step, on each device (default: {batch})"
    )
    parser.add_argument("--frames", type=int, default=16, help="frames a clip (default: 16)")
    parser.add_argument("--size", type=int, default=112, help="side of a frame (default: 112)")
    parser.add_argument(
        "--colours",
        type=int,
        choices=(1, 3),
        default=colours,
        help=f"of a frame (default: {colours})",
    )


def check_positive(arguments: argparse.Namespace, *names: str) -> None:
    """Refuses numbers below 1.

    Raises:
        UserError: names the argument.
    """
    for name in names:
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name} is {getattr(arguments, name)}, expected at least 1")


def random_batch(keys: tuple[str, ...], arguments: argparse.Namespace) -> dict[str, np.ndarray]:
    """Random clips with random stages.

    Args:
        keys: what the networks read.
        arguments: see `add_clip_arguments`.
    """
    rng = np.random.default_rng(0)
    size, side = arguments.batch, arguments.size
    sizes = SimpleNamespace(
        frames=arguments.frames,
        height=side,
        width=side,
        channels=arguments.colours,
        samples=3750,
        audio_dim=512,
    )
    forms = {**input_forms(sizes), "audio": Form(np.float32, (320_000,))}  # 10 s at 32 kHz
    scale = {"eeg": 20.0, "audio": 0.1}

    def random(key: str) -> np.ndarray:
        dtype, shape = forms[key]
        if dtype == np.uint8:
            return rng.integers(0, 256, (size, *shape), np.uint8)
        return rng.normal(0, scale.get(key, 1.0), (size, *shape)).astype(dtype)

    return {
        **{key: random(key) for key in keys},
        "stage": rng.integers(0, CLASSES, size, np.int32),
        "index": np.arange(size, dtype=np.int32),
        "mask": np.ones(size, bool),
    }
