"""MGDFR: salience by all permutations in NumPy, the frozen teacher's classes, masked clips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives.mgdfr import classifier, salience
from sacd_jax.objectives.objective import Seen
from tests.objectives.test_logit_methods import kd
from tests.objectives.vectors import EVERY, STUDENT_LOGITS, matrix

VECTORS, KERNEL, BIAS = matrix((6, 8), 501), matrix((8, 5), 502), matrix((5,), 503)
LOGITS = VECTORS @ KERNEL + BIAS
SPEC = EncoderSpec(embedding_dim=8, num_classes=5, stage_dims=())


def step(buffers, student=STUDENT_LOGITS, mask=EVERY, vectors=VECTORS, **options):
    objective = objectives.create("mgdfr", **options)
    if buffers is None:
        _, buffers = objective.init(jax.random.key(0), SPEC, SPEC, None)
    teacher = EncoderOutput(vectors, vectors @ KERNEL + BIAS, ())
    output = EncoderOutput(jnp.zeros((6, 1)), student, ())
    batch = {"stage": jnp.zeros(6, jnp.int32), "mask": mask}
    seen = Seen(output, teacher, None, batch, mask, jax.random.key(0), jnp.int32(0))
    return objective.terms({}, buffers, seen)


def salience_by_hand(x, z, w, s):
    """Mean squared distance of logits with feature j of row i taken from row k, all i and k."""
    found = []
    for j in range(x.shape[1]):
        every = []
        for k in range(len(x)):
            moved = x.copy()
            moved[:, j] = x[k, j]
            every.append(((z + (moved - x) @ w - s) ** 2).mean())
        found.append(np.mean(every))
    return np.array(found)


def test_salience_is_the_expectation_over_permutations():
    x, z, w, s = (np.asarray(a, np.float64) for a in (VECTORS, LOGITS, KERNEL, STUDENT_LOGITS))
    found = salience(VECTORS, LOGITS - STUDENT_LOGITS, KERNEL, EVERY)
    np.testing.assert_allclose(found, salience_by_hand(x, z, w, s), rtol=1e-4)
    kept = np.array([0, 2, 3, 5])
    mask = jnp.zeros(6, bool).at[kept].set(True)
    found = salience(VECTORS, LOGITS - STUDENT_LOGITS, KERNEL, mask)
    np.testing.assert_allclose(found, salience_by_hand(x[kept], z[kept], w, s[kept]), rtol=1e-4)


def test_the_teachers_classifier_is_found_from_what_it_says():
    x = jnp.concatenate([jax.random.normal(jax.random.key(0), (200, 8)), jnp.ones((200, 1))], 1)
    whole = jnp.concatenate([KERNEL, BIAS[None]])
    np.testing.assert_allclose(classifier(x.T @ x, x.T @ x @ whole), whole, atol=2e-3)
    assert np.isfinite(classifier(jnp.zeros((9, 9)), jnp.zeros((9, 5)))).all()


@pytest.mark.parametrize("size", [0.01, 3.0])
def test_the_classifier_is_ridged_by_its_inputs_size(size):
    x, y = size * np.asarray(VECTORS[:5], np.float64), np.asarray(STUDENT_LOGITS[:5], np.float64)
    products = x.T @ x  # of rank 5: without the ridge there is no answer
    ridged = products + 1e-4 * np.mean(np.diag(products)) * np.eye(8)
    expected = x @ np.linalg.solve(ridged, x.T @ y)
    found = classifier(jnp.asarray(products, jnp.float32), jnp.asarray(x.T @ y, jnp.float32))
    np.testing.assert_allclose(x @ found, expected, rtol=1e-3, atol=1e-4)


def test_three_quarters_of_the_features_are_frozen_at_their_mean():
    buffers = None
    for seed in range(20):  # until the classifier is known
        vectors = jax.random.normal(jax.random.key(seed), (6, 8))
        _, buffers = step(buffers, vectors=vectors)
    before = buffers["salience"]
    terms, buffers = step(buffers)
    x, w, z = (np.asarray(a, np.float64) for a in (VECTORS, KERNEL, LOGITS))
    removed = np.argsort(np.asarray(buffers["salience"]))[:6]
    frozen = x.copy()
    frozen[:, removed] = x[:, removed].mean(0)
    expected = kd(np.asarray(STUDENT_LOGITS, np.float64), z + (frozen - x) @ w, 4.0, False)
    assert float(terms.losses["kd"]) == pytest.approx(expected, rel=5e-3)
    moved = np.mean(((frozen - x) @ w) ** 2)
    assert float(terms.logged["teacher_moved"]) == pytest.approx(moved, rel=5e-3)
    added = salience(VECTORS, LOGITS - STUDENT_LOGITS, KERNEL, EVERY)
    np.testing.assert_allclose(buffers["salience"] - before, added, rtol=5e-3)
    whole, _ = step(buffers, ratio=0.0)
    plain = kd(np.asarray(STUDENT_LOGITS, np.float64), z, 4.0, False)
    assert float(whole.losses["kd"]) == pytest.approx(plain, rel=1e-4)
    assert whole.logged["teacher_moved"] == 0 < terms.logged["teacher_moved"]


def test_masked_clips_take_no_part():
    mask = EVERY.at[jnp.array([1, 4])].set(False)
    changed = VECTORS.at[jnp.array([1, 4])].add(3.0)
    (one, buffers), (other, same) = step(None, mask=mask), step(None, mask=mask, vectors=changed)
    np.testing.assert_allclose(one.losses["kd"], other.losses["kd"], rtol=1e-4)
    for name in buffers:
        np.testing.assert_allclose(buffers[name], same[name], rtol=1e-4, atol=1e-5)
    assert np.all(buffers["salience"] > 0)
    none, empty = step(None, mask=jnp.zeros(6, bool))
    assert none.losses["kd"] == 0 and not any(np.any(each) for each in empty.values())
    gradient = jax.grad(lambda s: step(None, s, mask)[0].losses["kd"])(STUDENT_LOGITS)
    assert np.isfinite(gradient).all() and not np.asarray(gradient)[[1, 4]].any()


def test_wide_vectors_are_refused():
    widest, wider = (EncoderSpec(dim, num_classes=5, stage_dims=()) for dim in (1024, 1025))
    method = objectives.create("mgdfr")
    method.init(jax.random.key(0), SPEC, widest, None)
    with pytest.raises(UserError, match="teacher's vectors have 1025 numbers, expected 1024 at mo"):
        method.init(jax.random.key(0), SPEC, wider, None)
