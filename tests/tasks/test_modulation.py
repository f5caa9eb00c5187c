"""OGM-GE: values of its public code in NumPy, and the steps that it changes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from input_pipeline.errors import UserError
from sacd_jax import models
from sacd_jax.config import AugmentConfig, EncoderConfig, RunConfig
from sacd_jax.models.encoder import init_variables
from sacd_jax.tasks.classify import Classify
from sacd_jax.tasks.modulation import UNTIL, Modulation, coefficients, modulated, scores
from tests.objectives.vectors import LABELS, STUDENT, TEACHER, matrix
from tests.tasks.tiny import as_arrays, make_batch

KERNEL, BIAS = matrix((16, 5), 77), matrix((5,), 78)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


@pytest.mark.parametrize("alpha", [0.1, 0.8])
def test_values_of_the_public_code(alpha):
    v, a, w = (np.asarray(x, np.float64) for x in (STUDENT, TEACHER, KERNEL))
    labels = np.asarray(LABELS)
    of = [softmax(x @ part + np.asarray(BIAS) / 2) for x, part in ((v, w[:8]), (a, w[8:]))]
    score_v, score_a = (p[np.arange(len(labels)), labels].sum() for p in of)
    every = jnp.ones(len(labels), bool)
    found = scores({"kernel": KERNEL, "bias": BIAS}, (STUDENT, TEACHER), LABELS, every)
    np.testing.assert_allclose(found, (score_v, score_a), rtol=1e-5)
    for first, second in ((score_v, score_a), (score_a, score_v), (1.0, 1.0)):
        ratio = first / second
        expected = (1 - np.tanh(alpha * ratio), 1) if ratio > 1 else (1, 1 - np.tanh(alpha / ratio))
        given = jnp.float32(first), jnp.float32(second)
        np.testing.assert_allclose(coefficients(*given, alpha), expected, rtol=1e-5)
    for given in ((0.0, 2.0), (2.0, 0.0), (0.0, 0.0)):
        np.testing.assert_array_equal(coefficients(*map(jnp.float32, given), alpha), 1)
    few = coefficients(jnp.float32(0.2), jnp.float32(0.1), alpha)
    np.testing.assert_allclose(few, (1 - np.tanh(2 * alpha), 1), rtol=1e-5)
    nobody = scores({"kernel": KERNEL, "bias": BIAS}, (STUDENT, TEACHER), LABELS, ~every)
    np.testing.assert_array_equal(coefficients(*nobody, alpha), 1)


def test_convolutions_alone_are_slowed_and_get_noise_of_their_spread():
    conv = 2 * jax.random.normal(jax.random.key(0), (3, 40, 50))
    tree = {"conv": conv, "dense": jnp.ones((4, 5))}
    new = modulated(tree, jnp.float32(0.25), jax.random.key(1))
    np.testing.assert_array_equal(new["dense"], tree["dense"])
    noise = np.asarray(new["conv"] - 0.25 * tree["conv"])
    np.testing.assert_allclose(noise.std(), np.asarray(tree["conv"]).std(), rtol=0.03)
    assert abs(noise.mean()) < 0.1
    assert abs(np.corrcoef(noise.ravel(), np.ravel(tree["conv"]))[0, 1]) < 0.05


def test_noise_has_the_spread_of_a_sample():
    leaf, key = jnp.array([1.0, -2.0, 4.0, 5.0]).reshape(2, 1, 2), jax.random.key(3)
    normal = np.asarray(jax.random.normal(jax.random.split(key, 1)[0], leaf.shape))
    found = modulated([leaf], jnp.float32(0.5), key)[0]
    np.testing.assert_allclose(found, leaf / 2 + np.std(leaf, ddof=1) * normal, rtol=1e-5)
    still = modulated([0 * leaf], jnp.float32(0.5), key)[0]
    np.testing.assert_allclose(still, 1e-8 * normal, rtol=1e-5)


def test_clips_of_padding_and_without_a_stage_lead_nobody():
    stage, mask = LABELS.at[4].set(-1), jnp.ones(6, bool).at[1].set(False)
    params = {"classifier": {"kernel": KERNEL, "bias": BIAS}}
    output = models.encoder.EncoderOutput(STUDENT, TEACHER[:, :5], (STUDENT, TEACHER))
    ones = {part: {"kernel": jnp.ones((3, 4, 5))} for part in ("first", "second")}
    batch, counted = {"stage": stage, "mask": mask}, jnp.array([1, 0, 1, 1, 0, 1], bool)
    new = Modulation(0.5, 1)(
        {**ones, "classifier": {}}, params, output, batch, jax.random.key(0), jnp.int32(0)
    )
    each = scores(params["classifier"], (STUDENT, TEACHER), LABELS, counted)
    for part, slower in zip(("first", "second"), coefficients(*each, 0.5), strict=True):
        np.testing.assert_allclose(new[part]["kernel"], slower, rtol=1e-6)
    assert UNTIL == 0.5


def test_a_step_updates_by_the_modulated_gradients():
    parts = {
        part: {"name": "mlp", "options": {"input_key": key, "width": 8, "embedding_dim": 4}}
        for part, key in (("first", "video"), ("second", "eeg"))
    }
    student = models.create("fusion", 5, **parts)
    batch = as_arrays(make_batch(0, size=8))

    def still(gradients, params, output, batch, rng, step):
        assert set(params) == set(gradients) == {"first", "second", "classifier"}
        assert [stage.shape for stage in output.stages] == [(8, 4)] * 2 and step.shape == ()
        return {**gradients, "first": jax.tree.map(jnp.zeros_like, gradients["first"])}

    task = Classify(
        student=student, optimizer=optax.sgd(0.1), augment=AugmentConfig(), modulation=still
    )
    state = task.first_state(0, init_variables(student, jax.random.key(0), batch))
    new = jax.jit(task.train_step)(state, batch)[0].params["student"]
    old = state.params["student"]
    jax.tree.map(np.testing.assert_array_equal, new["first"], old["first"])
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), new["second"], old["second"])
    assert any(jax.tree.leaves(moved))


def test_gradients_of_both_parts_are_changed_until_a_step():
    output = models.encoder.EncoderOutput(STUDENT, TEACHER[:, :5], (STUDENT, TEACHER))
    params = {"classifier": {"kernel": KERNEL, "bias": BIAS}}
    tree = {part: {"kernel": jnp.ones((3, 4, 5))} for part in ("first", "second")}
    tree["classifier"] = {"kernel": KERNEL}
    batch = {"stage": LABELS, "mask": jnp.ones(len(LABELS), bool)}
    for step, changed in ((0, True), (4, True), (5, False)):
        new = Modulation(0.5, steps=5)(
            tree, params, output, batch, jax.random.key(0), jnp.int32(step)
        )
        # All gradients are equal, so their spread is 0 and the leader's are scaled alone.
        kernels = [new[part]["kernel"] for part in ("first", "second")]
        slowed = [not np.allclose(kernel, 1, atol=1e-6) for kernel in kernels]
        assert sum(slowed) == changed
        np.testing.assert_array_equal(new["classifier"]["kernel"], KERNEL)


def test_it_is_for_a_fusion_of_one_layer():
    options = {"first": {"name": "mlp"}, "second": {"name": "mlp"}}
    RunConfig("classify", EncoderConfig("fusion", options), ogm_ge=0.5)
    for student in (
        EncoderConfig("mlp"),
        EncoderConfig("fusion", {**options, "layers": 3}),
        EncoderConfig("fusion", {**options, "frozen": True}),
    ):
        with pytest.raises(UserError, match="ogm_ge is set, expected task 'classify' of a student"):
            RunConfig("classify", student, ogm_ge=0.5)
