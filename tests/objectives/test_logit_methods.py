"""KD, on raw and standardised logits, and DIST: values of their public code, masks, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput
from sacd_jax.objectives.dist import correlation
from sacd_jax.objectives.kd import standardised
from sacd_jax.objectives.objective import Seen
from tests.objectives.vectors import EVERY, STUDENT_LOGITS, TEACHER_LOGITS

METHODS = ("kd", "kd_standardised", "dist")
TAUS = (1.0, 2.0, 4.0)


def softmax(x, axis=1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def kd(s, t, tau, standardise):
    """`kd_loss` of sunshangquan/logit-standardization-KD in NumPy."""
    if standardise:
        s, t = ((x - x.mean(1, keepdims=True)) for x in (s, t))
        s, t = (x / (1e-7 + x.std(1, ddof=1, keepdims=True)) for x in (s, t))
    p, q = softmax(t / tau), softmax(s / tau)
    return (p * (np.log(p) - np.log(q))).sum(1).mean() * tau**2


def dist(s, t, tau):
    """`DIST.forward` of hunto/image_classification_sota in NumPy, both relations."""
    p, q = softmax(s / tau), softmax(t / tau)
    inter, intra = (
        np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*pair, strict=True)])
        for pair in ((p, q), (p.T, q.T))
    )
    return tau**2 * (1 - inter), tau**2 * (1 - intra)


def losses(method, student, teacher=TEACHER_LOGITS, mask=EVERY, **options):
    def output(logits):
        return EncoderOutput(jnp.zeros((len(logits), 1)), logits, ())

    seen = Seen(output(student), output(teacher), None, {}, mask, jax.random.key(0), jnp.int32(0))
    terms, _ = objectives.create(method, **options).terms({}, {}, seen)
    return terms.losses


def total(method, student, **given):
    weights = objectives.create(method).weights
    found = losses(method, student, **given)
    return sum(weights[name] * found[name] for name in weights)


@pytest.mark.parametrize("tau", TAUS)
def test_values_of_the_public_code(tau):
    s, t = (np.asarray(x, np.float64) for x in (STUDENT_LOGITS, TEACHER_LOGITS))
    found = {name: losses(name, STUDENT_LOGITS, temperature=tau) for name in METHODS}
    assert float(found["kd"]["kd"]) == pytest.approx(kd(s, t, tau, False), rel=1e-5)
    assert float(found["kd_standardised"]["kd"]) == pytest.approx(kd(s, t, tau, True), rel=1e-5)
    both = [float(found["dist"][name]) for name in ("inter", "intra")]
    np.testing.assert_allclose(both, dist(s, t, tau), rtol=1e-5)


def test_what_each_does_not_see():
    """Standardised KD: scale and offset of logits. DIST: scale and offset of probabilities."""
    rows = jnp.arange(1.0, 7.0)[:, None]
    assert float(total("kd_standardised", 3 * rows * TEACHER_LOGITS + rows)) < 1e-6
    assert float(total("kd", 3 * TEACHER_LOGITS)) > 0.1
    for method in METHODS:
        assert float(total(method, TEACHER_LOGITS)) == pytest.approx(0, abs=1e-5)
        assert float(total(method, STUDENT_LOGITS)) > 0.1


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_right_and_finite_where_all_logits_are_one(method):
    check_grads(lambda s: total(method, s), (STUDENT_LOGITS,), 1, ["rev"], eps=1e-3)
    for flat in (jnp.zeros((6, 5)), STUDENT_LOGITS.at[2].set(0.5)):
        value, gradient = jax.value_and_grad(lambda s: total(method, s))(flat)
        assert np.isfinite(value) and np.isfinite(gradient).all()


@pytest.mark.parametrize("method", METHODS)
def test_masked_clips_take_no_part(method):
    kept = np.array([0, 2, 3, 5])
    mask = jnp.zeros(6, bool).at[kept].set(True)
    value, gradient = jax.value_and_grad(lambda s: total(method, s, mask=mask))(STUDENT_LOGITS)
    alone = total(
        method, STUDENT_LOGITS[kept], teacher=TEACHER_LOGITS[kept], mask=jnp.ones(4, bool)
    )
    assert float(value) == pytest.approx(float(alone), rel=1e-5)
    assert not np.asarray(gradient)[[1, 4]].any()
    assert float(total(method, STUDENT_LOGITS, mask=jnp.zeros(6, bool))) == 0


def test_rows_that_hardly_vary_and_rows_that_do_not():
    """The epsilons of the public code are for the first; the second have a gradient of order 1."""
    row = np.array([[3.0, -1.0, 0.0, 2.0]]) * 2e-7
    expected = (row - row.mean()) / (1e-7 + row.std(ddof=1))
    np.testing.assert_allclose(standardised(jnp.asarray(row)), expected, rtol=1e-4)
    of_flat = jax.jacobian(lambda x: standardised(x[None])[0])(jnp.full(4, 0.5))
    np.testing.assert_allclose(of_flat, np.eye(4) - 1 / 4, rtol=1e-5)
    a, b = 1e-4 * np.array([1.0, -1.0, 2.0]), 1e-4 * np.array([1.0, 0.0, -2.0])
    x, y = a - a.mean(), b - b.mean()
    expected = x @ y / (np.linalg.norm(x) * np.linalg.norm(y) + 1e-8)
    given = (jnp.asarray([row], jnp.float32) for row in (a, b))
    np.testing.assert_allclose(correlation(*given, jnp.ones((1, 3), bool)), expected, rtol=1e-4)
    rows, flat = STUDENT_LOGITS[:1], jnp.full((1, 5), 0.5)
    for pair in ((rows, flat), (flat, rows)):
        value, gradients = jax.value_and_grad(
            lambda *pair: correlation(*pair, jnp.ones((1, 5), bool))[0], argnums=(0, 1)
        )(*pair)
        assert value == 0 and not np.any(gradients)
    for logits in (jnp.zeros((6, 5)), STUDENT_LOGITS.at[2].set(0.5)):
        assert np.abs(jax.grad(lambda s: total("dist", s))(logits)).max() < 10
