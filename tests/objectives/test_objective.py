"""What all methods share: which clips count, how layers are drawn, what tells methods apart."""

import jax
import jax.numpy as jnp
import numpy as np

from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives.objective import (
    Seen,
    linear,
    linear_init,
    participating,
    project_teacher,
    projection_init,
)


def test_clips_count_that_are_no_padding_and_have_a_stage():
    batch = {"stage": jnp.array([0, 4, -1, 0]), "mask": jnp.array([True, True, True, False])}
    np.testing.assert_array_equal(participating(batch), [True, True, False, False])
    output = EncoderOutput(jnp.zeros((4, 2)), jnp.zeros((4, 5)))
    mask = jnp.array([True, False, True, True])  # as in a run with unlabelled clips
    seen = Seen(output, output, None, batch, mask, jax.random.key(0), jnp.int32(0))
    np.testing.assert_array_equal(seen.classed, [True, False, False, True])


def test_layers_are_drawn_as_pytorch_draws_them():
    """U(-1/sqrt(inputs), 1/sqrt(inputs)), by mean, deviation and ends."""
    layer = linear_init(jax.random.key(0), 25, 2000)
    for drawn in (layer["kernel"], layer["bias"]):
        assert np.abs(drawn).max() <= 0.2 and drawn.min() < -0.19 and drawn.max() > 0.19
        assert abs(drawn.mean()) < 0.02 and abs(drawn.std() - 0.2 / 3**0.5) < 0.005
    assert layer["kernel"].shape == (25, 2000) and layer["bias"].shape == (2000,)
    kernel, bias = jnp.array([[1.0, 2.0]]), jnp.array([10.0, 20.0])
    found = linear({"kernel": kernel, "bias": bias}, jnp.array([[3.0]], jnp.bfloat16))
    np.testing.assert_array_equal(found, [[13.0, 26.0]])


def test_a_teacher_is_projected_where_it_is_wider():
    narrow, wide = (EncoderSpec(dim, 5, ()) for dim in (3, 4))
    assert projection_init(jax.random.key(0), narrow, narrow) == {}
    params = projection_init(jax.random.key(0), narrow, wide)
    rows = jnp.arange(8.0).reshape(2, 4)
    np.testing.assert_array_equal(project_teacher(params, rows), linear(params["projection"], rows))
    np.testing.assert_array_equal(project_teacher({}, rows), rows)


def test_objectives_can_be_told_apart():
    """They are static arguments of compiled functions."""
    assert hash(objectives.create("sacd")) == hash(objectives.create("sacd"))
    assert objectives.create("sacd") == objectives.create("sacd")
    assert objectives.create("sacd") != objectives.create("sacd", margin=0.1)
    assert objectives.create("sacd") != objectives.create("sacd", {"graph": 0.1})
