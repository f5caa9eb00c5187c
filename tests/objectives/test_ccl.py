import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives import DataSpec
from sacd_jax.objectives.ccl import nce
from sacd_jax.objectives.composition import compose
from sacd_jax.objectives.losses import cross_entropy, jsd
from sacd_jax.objectives.objective import Seen, linear, participating
from tests.golden.fill import fill_entry
from tests.objectives.vectors import (
    EVERY,
    LABELS,
    STUDENT,
    STUDENT_LOGITS,
    TEACHER,
    TEACHER_LOGITS,
)

SPEC = EncoderSpec(embedding_dim=8, num_classes=5, stage_dims=())
DATA = DataSpec(30, np.arange(30, dtype=np.int32) % 5, 5, 6, 5)
BATCH = {"stage": LABELS, "mask": EVERY, "index": jnp.arange(6)}


def golden_head():
    entries = [
        ("mlp.weight", (8, 16)),
        ("mlp.bias", (8,)),
        ("fc.weight", (5, 8)),
        ("fc.bias", (5,)),
    ]
    mlp, mlp_bias, fc, fc_bias = (
        jnp.asarray(fill_entry(name, shape, k)) for k, (name, shape) in enumerate(entries)
    )
    return {
        "compose": {"kernel": mlp.T, "bias": mlp_bias},
        "classify": {"kernel": fc.T, "bias": fc_bias},
    }


@pytest.mark.parametrize(
    ("temperature", "forth", "back"),
    [(0.5, 2.09858656, 2.13014412), (0.1, 4.77101898, 4.90450430)],
)
def test_nce_golden(temperature, forth, back):
    there = nce(STUDENT, TEACHER, LABELS, EVERY, temperature)
    np.testing.assert_allclose(there, forth, rtol=0, atol=1e-5)
    again = nce(TEACHER, STUDENT, LABELS, EVERY, temperature)
    np.testing.assert_allclose(again, back, rtol=0, atol=1e-5)


def test_nce_where_probabilities_are_0_and_1():
    """At a temperature at which nothing but the epsilon keeps the logarithms finite."""
    first, labels = jnp.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]), jnp.array([0, 0, 1])
    second = jnp.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    cosine = np.array([[0, 1, 0.5**0.5], [1, 0, 0.5**0.5], [0, -1, -(0.5**0.5)]])
    p = np.exp(cosine / 0.01) / np.exp(cosine / 0.01).sum(1, keepdims=True)
    same = np.asarray(labels)[:, None] == np.asarray(labels)
    rows = zip(-np.log(p + 1e-10), -np.log(1 - p + 1e-10), same, strict=True)
    expected = np.mean([np.mean(own[s]) + np.mean(other[~s]) for own, other, s in rows])
    np.testing.assert_allclose(nce(first, second, labels, EVERY[:3], 0.01), expected, rtol=1e-4)


def test_nce_of_one_class_and_of_one_row():
    for labels, mask in [(LABELS * 0, EVERY), (LABELS, jnp.arange(6) < 1), (LABELS, ~EVERY)]:
        value, grad = jax.value_and_grad(nce)(STUDENT, TEACHER, labels, mask)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()


def test_nce_gradient_and_mask():
    mask = EVERY.at[2].set(False)
    kept = np.array([0, 1, 3, 4, 5])
    expected = nce(STUDENT[kept], TEACHER[kept], LABELS[kept], jnp.ones(5, bool))
    np.testing.assert_allclose(nce(STUDENT, TEACHER, LABELS, mask), expected, rtol=1e-6)
    check_grads(lambda s, t: nce(s, t, LABELS, mask), (STUDENT, TEACHER), 1, ["rev"], eps=1e-3)


def test_composition_golden():
    params = golden_head()
    composed = compose(params["compose"], TEACHER, STUDENT)
    np.testing.assert_allclose(composed.sum(), 4.79100748, rtol=0, atol=1e-5)
    logits = linear(params["classify"], composed)
    expected = [0.037899, -0.650348, -0.710047, 1.167604, -1.000157]
    np.testing.assert_allclose(logits[0], expected, rtol=0, atol=1e-5)


def run(params, student, logits, batch=BATCH, teacher=TEACHER):
    objective = objectives.create("ccl")
    seen = Seen(
        EncoderOutput(student, logits),
        EncoderOutput(teacher, TEACHER_LOGITS),
        None,
        batch,
        participating(batch),
        jax.random.key(0),
        jnp.int32(0),
    )
    return objective.terms(params, {}, seen)[0].losses


def both_ways(first, second):
    return nce(first, second, LABELS, EVERY) + nce(second, first, LABELS, EVERY)


def student_loss(params, student, logits):
    composed = compose(params["compose"], TEACHER, student)
    head_logits = linear(params["classify"], composed)
    loss = cross_entropy(logits, LABELS) + both_ways(student, composed)
    return loss + both_ways(student, TEACHER) + jsd(logits, head_logits, None, "jeffreys")


def head_loss(params, student, logits):
    composed = compose(params["compose"], TEACHER, student)
    head_logits = linear(params["classify"], composed)
    loss = cross_entropy(head_logits, LABELS) + both_ways(student, composed)
    return loss + both_ways(TEACHER, composed) + jsd(logits, head_logits, None, "jeffreys")


def test_the_student_gets_its_own_gradient_and_the_head_that_of_both_losses():
    """One backward pass gives what the reference gets by two and a reset in between."""

    def total(params, student, logits):
        return sum(run(params, student, logits).values()) + cross_entropy(logits, LABELS)

    at = (golden_head(), STUDENT, STUDENT_LOGITS)
    np.testing.assert_allclose(total(*at), student_loss(*at) + head_loss(*at), rtol=1e-6)
    head, *student = jax.grad(total, argnums=(0, 1, 2))(*at)
    own_head, *own_student = jax.grad(student_loss, argnums=(0, 1, 2))(*at)
    head_head, *head_student = jax.grad(head_loss, argnums=(0, 1, 2))(*at)
    for got, expected, dropped in zip(student, own_student, head_student, strict=True):
        np.testing.assert_allclose(got, expected, atol=1e-6)
        assert np.abs(dropped).max() > 1e-3  # or the test would not tell
    expected = jax.tree.map(jnp.add, own_head, head_head)
    for got, want in zip(jax.tree.leaves(head), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_rows_without_a_stage_or_a_teacher_vector_take_no_part():
    batch = {**BATCH, "stage": LABELS.at[1].set(-1)}
    teacher = TEACHER.at[4].set(0.0)
    out = jnp.array([1, 4])

    def total(student, logits):
        return sum(run(golden_head(), student, logits, batch, teacher).values())

    value, grads = jax.value_and_grad(total, argnums=(0, 1))(STUDENT, STUDENT_LOGITS)
    np.testing.assert_allclose(value, total(STUDENT.at[out].add(1), STUDENT_LOGITS), rtol=1e-6)
    for grad in grads:
        np.testing.assert_array_equal(grad[out], 0)


def test_a_teacher_vector_with_a_zero_in_it_takes_part():
    """As most have behind a ReLU."""
    teacher = TEACHER.at[:, 3].set(0.0)
    found = run(golden_head(), STUDENT, STUDENT_LOGITS, teacher=teacher)
    composed = compose(golden_head()["compose"], teacher, STUDENT)
    expected = both_ways(STUDENT, composed) + both_ways(STUDENT, teacher)
    np.testing.assert_allclose(found["contrast"], expected, rtol=1e-6)


def test_a_teacher_of_another_width_is_projected():
    objective = objectives.create("ccl")
    wide = EncoderSpec(embedding_dim=11, num_classes=5, stage_dims=())
    params, _ = objective.init(jax.random.key(0), SPEC, wide, DATA)
    assert params["projection"]["kernel"].shape == (11, 8)
    terms = run(params, STUDENT, STUDENT_LOGITS, teacher=jnp.ones((6, 11)))
    assert np.isfinite(list(terms.values())).all()


def test_the_heads_optimizer_keeps_its_rate():
    optimizer = objectives.create("ccl").optimizer(optax.sgd(0.0))
    params = {"w": jnp.ones(2)}
    state = optimizer.init(params)
    update, state = optimizer.update({"w": jnp.full(2, 3.0)}, state, params)
    np.testing.assert_allclose(update["w"], -1e-3 * (3 + 5e-4), rtol=1e-6)
    update, _ = optimizer.update({"w": jnp.full(2, 3.0)}, state, params)
    np.testing.assert_allclose(update["w"], -1e-3 * 1.9 * (3 + 5e-4), rtol=1e-6)
    assert objectives.create("pkt").optimizer(optimizer) is optimizer
