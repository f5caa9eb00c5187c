"""A step's update by hand, and random keys that no two purposes share."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sacd_jax.tasks.train_state import create, stream


def data(key: jax.Array) -> tuple[int, ...]:
    return tuple(jax.random.key_data(key).tolist())


def test_random_streams_have_nothing_in_common() -> None:
    optimizer = optax.sgd(0.1)
    states = [create(seed, {"student": {}}, {}, optimizer) for seed in (0, 1)]
    steps = [data(s.replace(step=jnp.int32(n)).rng()) for s in states for n in range(500)]
    named = [data(stream(seed, name)) for seed in (0, 1) for name in ("objective", "other")]
    keys = [*steps, *named, data(jax.random.key(0)), data(jax.random.key(1))]
    assert len(set(keys)) == len(keys)
    assert data(stream(7, "objective")) == data(stream(7, "objective"))


def test_key_encoder_follows_the_new_parameters() -> None:
    optimizer = optax.sgd(0.5)
    first = {"student": {"w": jnp.array([1.0, 2.0])}, "objective": {"w": jnp.array([3.0])}}
    state = create(0, first, {}, optimizer, averaged=("student",))
    gradients = jax.tree.map(jnp.ones_like, first)
    state = state.updated(optimizer, gradients, {}, {}, key_encoder_decay=0.75)
    assert int(state.step) == 1
    np.testing.assert_allclose(state.params["student"]["w"], [0.5, 1.5])
    np.testing.assert_allclose(state.params["objective"]["w"], [2.5])
    np.testing.assert_allclose(state.key_encoder["student"]["w"], [0.875, 1.875])
    assert set(state.key_encoder) == {"student"}
    followed = state.updated(optimizer, gradients, {}, {})
    np.testing.assert_array_equal(followed.key_encoder["student"]["w"], [0.0, 1.0])


def test_a_first_state_has_what_it_is_given_and_nothing_where_that_is_none() -> None:
    given = {name: {name: jnp.ones(2)} for name in ("teacher", "buffers", "carry")}
    optimizer = optax.sgd(0.5)
    state = create(3, {"student": {"w": jnp.ones(1)}}, {"mean": jnp.ones(1)}, optimizer, **given)
    assert (int(state.step), int(state.seed), state.key_encoder) == (0, 3, {})
    assert {name: getattr(state, name) for name in given} == given
    empty = create(3, {"student": {}}, {}, optimizer)
    assert empty.teacher == empty.buffers == empty.carry == empty.key_encoder == {}
    after = state.updated(optimizer, {"student": {"w": jnp.ones(1)}}, {}, {}, carry={"new": 1})
    assert after.key_encoder == {} and after.carry == {"new": 1}
