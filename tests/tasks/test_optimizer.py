"""Optimizers against their formulas, written out in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from input_pipeline.errors import UserError
from sacd_jax import objectives
from sacd_jax.config import OptimizerConfig
from sacd_jax.tasks.optimizer import accumulated, for_batch, for_heads, make, schedule


def run(config: OptimizerConfig, gradients: list[float], start: float = 1.0) -> list[float]:
    optimizer = make(config, total_steps=len(gradients))
    params = {"w": jnp.float32(start)}
    state = optimizer.init(params)
    path = []
    for gradient in gradients:
        updates, state = optimizer.update({"w": jnp.float32(gradient)}, state, params)
        params = {"w": params["w"] + updates["w"]}
        path.append(float(params["w"]))
    return path


def test_sgd_is_pytorchs_with_coupled_weight_decay():
    config = OptimizerConfig(
        learning_rate=0.1, schedule="constant", momentum=0.9, weight_decay=0.01
    )
    weight, buffer, expected = 1.0, 0.0, []
    gradients = [0.5, -0.2, 0.3, 0.1]
    for gradient in gradients:
        buffer = 0.9 * buffer + gradient + 0.01 * weight
        weight -= 0.1 * buffer
        expected.append(weight)
    np.testing.assert_allclose(run(config, gradients), expected, rtol=1e-6)


def test_adam_has_coupled_weight_decay():
    config = OptimizerConfig(name="adam", learning_rate=0.1, schedule="constant", weight_decay=0.1)
    weight, first, second, expected = 1.0, 0.0, 0.0, []
    gradients = [0.5, -0.2, 0.3]
    for step, gradient in enumerate(gradients, 1):
        gradient += 0.1 * weight
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        weight -= 0.1 * first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        expected.append(weight)
    np.testing.assert_allclose(run(config, gradients), expected, rtol=1e-5)


def test_amsgrad_never_lowers_its_divisor_and_adamw_decays_apart():
    gradients = [0.5, -0.01, 0.02]
    for name in ("amsgrad", "adamw"):
        config = OptimizerConfig(
            name=name, learning_rate=0.1, schedule="constant", weight_decay=0.1
        )
        weight, first, second, most, expected = 1.0, 0.0, 0.0, 0.0, []
        for step, gradient in enumerate(gradients, 1):
            gradient += 0.1 * weight if name == "amsgrad" else 0.0
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient**2
            unbiased = second / (1 - 0.999**step)
            most = max(most, unbiased) if name == "amsgrad" else unbiased
            moved = first / (1 - 0.9**step) / (np.sqrt(most) + 1e-8)
            weight -= 0.1 * (moved + (0.1 * weight if name == "adamw" else 0.0))
            expected.append(weight)
        np.testing.assert_allclose(run(config, gradients), expected, rtol=1e-5)


def test_step_schedule_follows_the_paper():
    rate = schedule(OptimizerConfig(), total_steps=80)
    values = [float(rate(step)) for step in (0, 39, 41, 59, 61, 79)]
    np.testing.assert_allclose(values, [1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5], rtol=1e-6)


def test_one_cycle_rises_and_falls_to_zero():
    config = OptimizerConfig(learning_rate=0.2, schedule="one_cycle", warmup=0.25)
    values = [float(schedule(config, 100)(step)) for step in range(101)]
    assert values[0] == 0 and np.argmax(values) == 25 and values[-1] == pytest.approx(0, abs=1e-7)
    assert max(values) == pytest.approx(0.2)
    assert (np.diff(values[:26]) > 0).all() and (np.diff(values[25:]) < 0).all()


@pytest.mark.parametrize(
    ("steps", "warmup", "rates"),
    [
        (1, 0.25, [0, 1, 0]),
        (2, 0.25, [0, 1, 0]),
        (2, 0.9, [0, 1, 0]),
        (4, 0.9, [0, 1 / 3, 2 / 3, 1, 0]),
        (4, 0.25, [0, 1, 0.75, 0.25, 0]),
    ],
)
def test_one_cycle_of_a_few_steps(steps, warmup, rates):
    config = OptimizerConfig(learning_rate=1.0, schedule="one_cycle", warmup=warmup)
    rate = schedule(config, steps)
    np.testing.assert_allclose([rate(n) for n in range(len(rates))], rates, atol=1e-6)


@pytest.mark.parametrize("kind", ["constant", "step"])
def test_a_rate_for_larger_batches_is_higher_and_rises_to_it(kind):
    config = OptimizerConfig(schedule=kind, learning_rate=1e-3, per_batch=16, rise=0.1)
    rate = schedule(for_batch(config, 128), total_steps=40)
    values = [float(rate(step)) for step in (0, 1, 2, 3, 4, 19, 39)]
    last = 8e-3 if kind == "constant" else 8e-5
    np.testing.assert_allclose(values, [2e-3, 4e-3, 6e-3, 8e-3, 8e-3, 8e-3, last], rtol=1e-6)
    assert for_batch(config, 16).learning_rate == 1e-3
    assert for_batch(for_batch(config, 128), 128) == for_batch(config, 128)
    assert float(schedule(config, total_steps=10)(0)) == pytest.approx(1e-3)  # risen at once
    assert for_batch(OptimizerConfig(), 128) == OptimizerConfig()


def test_accumulated_steps_are_one_update_by_their_mean_gradient():
    config = OptimizerConfig(learning_rate=0.1, schedule="constant")
    parts = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
    whole, by_parts = make(config, 2), accumulated(make(config, 2), 3)
    start = {"w": jnp.ones(3)}

    def follow(optimizer, gradients):
        params, state = start, optimizer.init(start)
        for gradient in gradients:
            updates, state = optimizer.update({"w": jnp.asarray(gradient)}, state, params)
            params = optax.apply_updates(params, updates)
            yield np.asarray(params["w"])

    expected = list(follow(whole, parts.reshape(2, 3, 3).mean(axis=1)))
    found = list(follow(by_parts, parts))
    np.testing.assert_allclose(found[2::3], expected, rtol=1e-6)
    np.testing.assert_array_equal(found[:2], np.ones((2, 3)))
    np.testing.assert_array_equal(found[3:5], [found[2]] * 2)
    assert accumulated(whole, 1) is whole


def test_clipping_bounds_the_update():
    config = OptimizerConfig(
        learning_rate=1.0, schedule="constant", momentum=0.0, weight_decay=0.0, clip_norm=0.5
    )
    assert run(config, [100.0], start=0.0) == [pytest.approx(-0.5)]


@pytest.mark.parametrize("field", ["name", "schedule"])
def test_unknown_names_are_refused(field):
    with pytest.raises(UserError, match=rf"{field} is 'sdg': (did you mean|expected one of)"):
        make(OptimizerConfig(**{field: "sdg"}), 10)


def test_factors_scale_and_freeze_parts_of_the_student():
    config = OptimizerConfig(
        learning_rate=0.1, schedule="constant", factors={"slow": 0.01, "frozen": 0.0}
    )
    parts = {"slow": jnp.ones(2), "frozen": jnp.ones(2), "head": jnp.ones(2)}
    params = {"student": parts, "objective": {"head": jnp.ones(2)}}
    optimizer = make(config, 10)
    gradients = jax.tree.map(jnp.ones_like, params)
    updates, _ = optimizer.update(gradients, optimizer.init(params), params)
    whole = updates["student"]["head"]
    np.testing.assert_allclose(updates["student"]["slow"], 0.01 * whole, rtol=1e-6)
    assert not updates["student"]["frozen"].any()  # weight decay does not move it either
    np.testing.assert_array_equal(updates["objective"]["head"], whole)


def test_factors_for_a_part_that_is_not_there():
    config = OptimizerConfig(factors={"feature": 0.0})
    with pytest.raises(UserError, match="names 'feature', expected parts of the student: features"):
        make(config, 10).init({"student": {"features": jnp.ones(1)}})


def test_a_methods_own_optimizer_moves_its_heads_alone():
    objective = objectives.create("sacd", graph_learning_rate=1e-4)
    base = make(OptimizerConfig(learning_rate=0.1, schedule="constant", weight_decay=0.01), 10)
    params = {
        "student": {"w": jnp.ones(2)},
        "teacher": {"w": jnp.ones(2)},
        "objective": {"student_graph": {"w": jnp.ones(2)}, "projection": {"w": jnp.ones(2)}},
    }
    optimizer = for_heads(base, objective.optimizer(base))
    gradients = jax.tree.map(lambda leaf: 3 * leaf, params)
    updates, state = optimizer.update(gradients, optimizer.init(params), params)
    updates, _ = optimizer.update(gradients, state, params)
    heads = updates["objective"]
    np.testing.assert_allclose(heads["student_graph"]["w"], -1e-4, rtol=1e-4)
    for update in (updates["student"], updates["teacher"], heads["projection"]):
        np.testing.assert_allclose(update["w"], -0.1 * 3.01 * 1.9, rtol=1e-6)
