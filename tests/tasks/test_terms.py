"""A step's terms, their weighted sum and its scalars, by hand."""

import jax.numpy as jnp
import numpy as np

from sacd_jax.models.encoder import EncoderOutput
from sacd_jax.tasks.terms import metrics_of, own_terms, weighted_sum

LOGITS = jnp.asarray([[2.0, 0.0], [0.0, 1.0], [5.0, 5.5]])


def test_the_second_head_learns_the_subject():
    extras = {"domain_logits": LOGITS, "penalty": jnp.ones(())}
    output = EncoderOutput(LOGITS, LOGITS, (), extras)
    batch = {"domain": jnp.asarray([0, 0, 1]), "mask": jnp.asarray([True, True, False])}
    terms = own_terms(output, batch)
    expected = np.mean([np.log(1 + np.exp(-2.0)), np.log(1 + np.exp(1.0))])
    np.testing.assert_allclose(terms["domain"], expected, rtol=1e-6)
    assert terms["penalty"] == 1
    assert own_terms(EncoderOutput(LOGITS, LOGITS), {}) == {}


def test_terms_are_weighted_and_those_without_a_weight_left_out():
    terms = {"one": jnp.float32(2.0), "two": jnp.float32(3.0), "three": jnp.float32(7.0)}
    assert weighted_sum(terms, {"one": 0.5, "two": 4.0}) == 13
    assert weighted_sum(terms, {}) == 0


def test_accuracy_is_of_the_clips_that_count():
    gradients = {"w": jnp.array([3.0, 0.0]), "b": jnp.array([-4.0])}
    for stage, mask, accuracy in (
        ([0, 0, 1], [1, 1, 1], 2 / 3),
        ([0, 0, 1], [1, 1, 0], 1 / 2),
        ([0, -1, 0], [1, 1, 1], 1 / 2),
        ([0, 1, 1], [0, 1, 0], 1),
        ([0, 1, 1], [0, 0, 0], 0),
    ):
        batch = {"stage": jnp.array(stage), "mask": jnp.array(mask, bool)}
        output = EncoderOutput(LOGITS, LOGITS)
        found = metrics_of(jnp.float32(9.0), {"own": jnp.float32(2.0)}, output, batch, gradients)
        np.testing.assert_allclose(found.pop("accuracy"), accuracy, rtol=1e-6)
        assert found == {"loss": 9, "own": 2, "gradient_norm": 5}
