"""Everything a training carries from step to step, as one pytree."""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jaxtyping import Array, Int, PRNGKeyArray

Tree = Any


def stream(seed: int, name: str) -> PRNGKeyArray:
    """The random key of one of a run's purposes, such as making the heads.

    A step's key has the step's number folded into the seed's (`TrainState.rng`). Names count from
    2**31, where no step's number reaches, so a named stream shares nothing with any step.
    """
    return jax.random.fold_in(jax.random.key(seed), 2**31 | zlib.crc32(name.encode()))


@struct.dataclass
class TrainState:
    """The state of a training; a step is a pure function of it and a batch.

    Attributes:
        step: updates done.
        seed: all randomness of a step is drawn from (seed, step).
        params: what the optimizer moves: `student`, `objective` (the heads of a method), and
            `teacher` when it trains.
        batch_stats: running BatchNorm statistics of the student.
        teacher: variables of the frozen teacher; an argument of the step, never a constant in it.
            Of a teacher that trains, all but its parameters.
        key_encoder: exponential moving averages of parameters: of `student`, and of a `teacher`
            that trains; or empty.
        opt_state: the optimizer's moments.
        buffers: banks, normalisers and the like of the objective.
        carry: the state that a network over sequences leaves to the next batch, or empty.
    """

    step: Int[Array, ""]
    seed: Int[Array, ""]
    params: dict[str, Tree]
    batch_stats: Tree
    opt_state: optax.OptState
    teacher: Tree = struct.field(default_factory=dict)
    key_encoder: Tree = struct.field(default_factory=dict)
    buffers: Tree = struct.field(default_factory=dict)
    carry: Tree = struct.field(default_factory=dict)

    def rng(self) -> PRNGKeyArray:
        """The key of this step."""
        return jax.random.fold_in(jax.random.key(self.seed), self.step)

    def student(self) -> dict[str, Tree]:
        """The student's variables, as Flax takes them."""
        return {"params": self.params["student"], "batch_stats": self.batch_stats}

    def updated(
        self,
        optimizer: optax.GradientTransformation,
        gradients: dict[str, Tree],
        batch_stats: Tree,
        buffers: Tree,
        key_encoder_decay: float = 0.0,
        **others: Tree,
    ) -> "TrainState":
        """The state after one update; the key encoder follows the new parameters (MoCo's order).

        `others` are fields that change otherwise, such as `carry`.
        """
        updates, opt_state = optimizer.update(gradients, self.opt_state, self.params)
        params = optax.apply_updates(self.params, updates)
        key_encoder = self.key_encoder
        if key_encoder:
            followed = {name: params[name] for name in key_encoder}
            key_encoder = optax.incremental_update(followed, key_encoder, 1.0 - key_encoder_decay)
        return self.replace(
            step=self.step + 1,
            params=params,
            batch_stats=batch_stats,
            opt_state=opt_state,
            key_encoder=key_encoder,
            buffers=buffers,
            **others,
        )


def create(
    seed: int,
    params: dict[str, Tree],
    batch_stats: Tree,
    optimizer: optax.GradientTransformation,
    teacher: Tree | None = None,
    averaged: tuple[str, ...] = (),
    buffers: Tree | None = None,
    carry: Tree | None = None,
) -> TrainState:
    """The state before the first step; `averaged` names the networks that get a key encoder."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        seed=jnp.asarray(seed, jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=optimizer.init(params),
        teacher=teacher or {},
        # A copy: the state is donated, and two leaves must not share a buffer.
        key_encoder=jax.tree.map(jnp.copy, {name: params[name] for name in averaged}),
        buffers=buffers or {},
        carry=carry or {},
    )
