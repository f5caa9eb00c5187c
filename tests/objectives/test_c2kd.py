"""C2KD: values of its public code in NumPy, which losses train what, masked clips."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.stats import kendalltau

from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives.c2kd import (
    divergence,
    proxy,
    proxy_init,
    rank_correlation,
    without_class,
)
from sacd_jax.objectives.objective import Seen
from tests.objectives.vectors import EVERY, LABELS, STUDENT, STUDENT_LOGITS, TEACHER, TEACHER_LOGITS

SPEC = EncoderSpec(embedding_dim=8, num_classes=5, stage_dims=())
METHOD = objectives.create("c2kd")
PARAMS, _ = METHOD.init(jax.random.key(0), SPEC, SPEC, None)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def proxy_by_hand(params, x):
    x = np.asarray(x, np.float64) @ np.asarray(params["layer"]["kernel"], np.float64)
    x = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    x = x * np.asarray(params["norm"]["scale"]) + np.asarray(params["norm"]["bias"])
    x = np.where(x > 0, x, 0.1 * x)
    return x @ np.asarray(params["classifier"]["kernel"]) + np.asarray(params["classifier"]["bias"])


def kl(knows, learns):
    p, q = softmax(knows), softmax(learns)
    return (p * (np.log(p) - np.log(q))).sum(-1)


def terms(params=PARAMS, student=STUDENT, logits=STUDENT_LOGITS, labels=LABELS, mask=EVERY):
    first, second = EncoderOutput(student, logits, ()), EncoderOutput(TEACHER, TEACHER_LOGITS, ())
    batch = {"stage": labels, "mask": mask}
    return METHOD.terms(
        params, {}, Seen(first, second, None, batch, mask, jax.random.key(0), jnp.int32(0))
    )[0]


def test_values_of_the_public_code():
    s, t = (np.asarray(x, np.float64) for x in (STUDENT_LOGITS, TEACHER_LOGITS))
    own, its = (
        proxy_by_hand(PARAMS[side], x) for side, x in (("student", STUDENT), ("teacher", TEACHER))
    )
    labels = np.asarray(LABELS)
    chosen = np.array([kendalltau(a, b)[0] > 0 for a, b in zip(its, own, strict=True)])
    assert 0 < chosen.sum() < len(chosen)
    others = np.ones_like(own)
    others[np.arange(len(labels)), labels] = 0
    expected = {
        "student": kl(own, s).mean(),
        "student_proxy": kl(s, own).mean(),
        "student_from_teacher": (chosen * kl(its * others, own * others)).mean(),
        "teacher": kl(its, t).mean(),
        "teacher_proxy": kl(t, its).mean(),
        "teacher_from_student": (chosen * kl(own * others, its * others)).mean(),
    }
    found = terms()
    assert set(found.losses) == set(METHOD.weights)
    for name, value in expected.items():
        assert float(found.losses[name]) == pytest.approx(value, rel=2e-4), name
    assert float(found.logged["chosen"]) == pytest.approx(chosen.mean())


def test_rank_correlation_is_kendalls_with_ties_too():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 4, (2, 40, 5)).astype(np.float32)
    expected = np.nan_to_num([kendalltau(x, y)[0] for x, y in zip(a, b, strict=True)])
    np.testing.assert_allclose(rank_correlation(jnp.array(a), jnp.array(b)), expected, atol=1e-6)


def test_a_proxy_at_its_start_and_where_its_epsilon_shows():
    wide = EncoderSpec(embedding_dim=200, num_classes=5, stage_dims=())
    first = proxy_init(jax.random.key(0), wide)
    assert first["layer"]["kernel"].std() == pytest.approx(0.1, rel=0.02)  # He: sqrt(2 / 200)
    assert np.all(first["norm"]["scale"] == 1) and not np.any(first["norm"]["bias"])
    params = PARAMS["student"] | {"norm": {"scale": STUDENT[0], "bias": TEACHER[0]}}
    small = 3e-3 * STUDENT
    np.testing.assert_allclose(
        proxy(params, small, EVERY), proxy_by_hand(params, small), rtol=1e-3, atol=1e-4
    )


def test_clips_whose_proxies_rank_no_class_are_not_chosen():
    """Their correlation is 0, just the threshold."""
    none = jax.tree.map(jnp.zeros_like, PARAMS)
    assert terms(none).logged["chosen"] == 0 < terms().logged["chosen"]


def test_each_loss_trains_its_own_side():
    def trained(name):
        gradients = jax.grad(lambda p, s, z: terms(p, s, z).losses[name], argnums=(0, 1, 2))(
            PARAMS, STUDENT, STUDENT_LOGITS
        )
        parts = {**gradients[0], "embedding": gradients[1], "logits": gradients[2]}
        return {part for part, tree in parts.items() if any(map(np.any, jax.tree.leaves(tree)))}

    assert trained("student") == {"logits"}
    assert trained("student_proxy") == trained("student_from_teacher") == {"student", "embedding"}
    assert trained("teacher") == set()  # it is frozen
    assert trained("teacher_proxy") == trained("teacher_from_student") == {"teacher"}


def test_gradients_are_right():
    def rows(x):
        return divergence(TEACHER_LOGITS, without_class(x, LABELS)).sum()

    check_grads(rows, (STUDENT_LOGITS,), 1, ["rev"], eps=1e-3)


def test_gradients_of_the_proxy_are_right():
    def square(x):
        return jnp.sum(proxy(PARAMS["student"], x, EVERY) ** 2)

    check_grads(square, (STUDENT,), 1, ["rev"], eps=1e-3, rtol=2e-2)


def test_masked_clips_take_no_part():
    mask = EVERY.at[jnp.array([1, 4])].set(False)
    changed = STUDENT.at[jnp.array([1, 4])].add(3.0)
    one, other = terms(mask=mask).losses, terms(student=changed, mask=mask).losses
    for name, value in one.items():
        np.testing.assert_allclose(value, other[name], rtol=1e-5)
    none = terms(mask=jnp.zeros_like(EVERY))
    assert all(float(value) == 0 for value in none.losses.values())
    unlabelled = terms(labels=jnp.full_like(LABELS, -1)).losses
    assert unlabelled["student_from_teacher"] == 0 and unlabelled["student"] > 0
