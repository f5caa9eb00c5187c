"""Optimizers and learning-rate schedules by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from input_pipeline.errors import UserError
from sacd_jax.config import OptimizerConfig


def schedule(config: OptimizerConfig, total_steps: int) -> optax.Schedule:
    """Learning rate as a function of the step.

    `constant`; `step`: times `decay` at each of `milestones`, given as shares of the run;
    `one_cycle`: linear rise over the share `warmup`, then a half cosine down to zero. The first two
    rise linearly over the share `rise`.
    """
    if config.rise and config.schedule != "one_cycle":
        risen = schedule(dataclasses.replace(config, rise=0.0), total_steps)
        steps = max(1, round(config.rise * total_steps))
        return lambda step: risen(step) * jnp.minimum(1.0, (step + 1) / steps)
    peak = config.learning_rate
    if config.schedule == "constant":
        return optax.constant_schedule(peak)
    if config.schedule == "step":
        scales: dict[int, float] = {}
        for milestone in config.milestones:  # milestones of a short run may fall together
            step = round(milestone * total_steps)
            scales[step] = scales.get(step, 1.0) * config.decay
        return optax.piecewise_constant_schedule(peak, scales)
    if config.schedule == "one_cycle":
        warmup = min(max(1, round(config.warmup * total_steps)), max(1, total_steps - 1))
        return optax.warmup_cosine_decay_schedule(0.0, peak, warmup, max(total_steps, warmup + 1))
    raise UserError(
        f"optimizer.schedule is {config.schedule!r}, expected constant, step or one_cycle"
    )


def make(config: OptimizerConfig, total_steps: int) -> optax.GradientTransformation:
    """The optimizer of a run.

    Weight decay is coupled (added to the gradient, on every parameter), as in the PyTorch recipes
    the paper builds on; `adamw` decouples it.

    Args:
        config: name is sgd (momentum), adam, amsgrad or adamw; clip_norm 0 means no clipping.
        total_steps: length of the run, for the schedule.

    Raises:
        UserError: an unknown name; on `init`, factors for parts that the student does not have.
    """
    rate = schedule(config, total_steps)
    coupled = [optax.add_decayed_weights(config.weight_decay)] if config.weight_decay else []
    clip = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    if config.name == "sgd":
        parts = [*coupled, optax.trace(config.momentum), optax.scale_by_learning_rate(rate)]
    elif config.name == "adam":
        parts = [*coupled, optax.scale_by_adam(), optax.scale_by_learning_rate(rate)]
    elif config.name == "amsgrad":
        parts = [*coupled, optax.scale_by_amsgrad(), optax.scale_by_learning_rate(rate)]
    elif config.name == "adamw":
        parts = [optax.adamw(rate, weight_decay=config.weight_decay)]
    else:
        raise UserError(f"optimizer.name is {config.name!r}, expected sgd, adam, amsgrad or adamw")
    scaled = [scale_parts(config.factors)] if config.factors else []
    return optax.chain(*clip, *parts, *scaled)


def for_batch(config: OptimizerConfig, batch_size: int) -> OptimizerConfig:
    """The config with the learning rate for updates of so many clips; see its `per_batch`."""
    if not config.per_batch:
        return config
    rate = config.learning_rate * batch_size / config.per_batch
    return dataclasses.replace(config, learning_rate=rate, per_batch=0)


def accumulated(
    transform: optax.GradientTransformation, steps: int
) -> optax.GradientTransformation:
    """Updates by the mean gradient of so many steps; in the steps before, nothing moves."""
    if steps == 1:
        return transform
    return optax.MultiSteps(transform, steps).gradient_transformation()


def scale_parts(factors: Mapping[str, float]) -> optax.GradientTransformation:
    """Multiplies the updates of named submodules of `params["student"]`; others pass unchanged."""

    def init(params: Mapping[str, Any]) -> optax.EmptyState:
        unknown = sorted(set(factors) - set(params["student"]))
        if unknown:
            raise UserError(
                f"optimizer.factors names {unknown[0]!r}, expected parts of the student: "
                f"{', '.join(sorted(params['student']))}"
            )
        return optax.EmptyState()

    def update(updates: Any, state: optax.EmptyState, params: Any = None) -> tuple[Any, Any]:
        del params
        student = {
            name: jax.tree.map(lambda u, name=name: u * factors.get(name, 1.0), part)
            for name, part in updates["student"].items()
        }
        return {**updates, "student": student}, state

    return optax.GradientTransformation(init, update)


def for_heads(
    base: optax.GradientTransformation, own: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Moves the heads of a method, `params["objective"]`, by an optimizer of their own (CCL).

    Args:
        base: moves the networks, and the heads as well where both are the same.
        own: moves the heads.
    """
    if own is base:
        return base

    # Not optax.partition: a method's optimizer must see its heads as a tree of their own.
    def parted(params: Any) -> tuple[dict[str, Any], Any]:
        return {k: v for k, v in params.items() if k != "objective"}, params["objective"]

    def init(params: Any) -> dict[str, Any]:
        networks, heads = parted(params)
        return {"networks": base.init(networks), "objective": own.init(heads)}

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        networks, heads = parted(updates)
        network_params, head_params = parted(params) if params is not None else (None, None)
        networks, network_state = base.update(networks, state["networks"], network_params)
        heads, head_state = own.update(heads, state["objective"], head_params)
        new = {"networks": network_state, "objective": head_state}
        return {**networks, "objective": heads}, new

    return optax.GradientTransformation(init, update)
