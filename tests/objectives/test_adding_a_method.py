"""The page that says how to add a method is true: a file and a line of the registry, no more."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sacd_jax import objectives
from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import EncoderOutput
from sacd_jax.objectives import Objective
from sacd_jax.objectives.objective import Seen, participating
from sacd_jax.tasks.distill import Distill
from tests.objectives.vectors import EVERY, LABELS, STUDENT, STUDENT_LOGITS, TEACHER
from tests.tasks.tiny import TinyEeg, TinyVideo, as_arrays, make_batch


@pytest.fixture
def ninth(root, tmp_path, monkeypatch) -> Objective:
    """The page's method, in a module of its own."""
    page = (root / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert code.count("\n") < 60
    (tmp_path / "sp_of_the_page.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(objectives._REGISTRY, "sp", "sp_of_the_page:Sp")
    assert "sp" in objectives.available()
    return objectives.create("sp")


def test_it_equals_its_reference(ninth) -> None:
    batch = {"stage": LABELS, "mask": EVERY, "index": jnp.arange(6)}

    def loss(student, batch):
        student = EncoderOutput(student, STUDENT_LOGITS)
        teacher = EncoderOutput(TEACHER, STUDENT_LOGITS)
        rng, step = jax.random.key(1), jnp.int32(0)
        seen = Seen(student, teacher, None, batch, participating(batch), rng, step)
        return ninth.terms({}, {}, seen)[0].losses["sp"]

    np.testing.assert_allclose(loss(STUDENT, batch), 0.09460997, rtol=0, atol=1e-6)
    grad = jax.grad(loss)(STUDENT, {**batch, "stage": LABELS.at[2].set(-1)})
    np.testing.assert_array_equal(grad[2], 0)
    assert np.isfinite(grad).all()


def test_it_trains_a_student(ninth) -> None:
    batch = as_arrays(make_batch(0))
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    augment = AugmentConfig(crop=(), flip=0.0)
    task = Distill(
        student=TinyVideo(),
        teacher=TinyEeg(),
        objective=ninth,
        optimizer=optax.adam(3e-3),
        augment=augment,
    )
    networks = (network.init(keys, batch, train=False) for network in (task.student, task.teacher))
    state = task.first_state(0, *networks, {}, {})
    step = jax.jit(task.train_step)
    losses = []
    for _ in range(20):
        state, metrics = step(state, batch)
        losses.append(float(metrics["sp"]))
    assert losses[-1] < 0.8 * losses[0]
    total = metrics["cross_entropy"] + 3000.0 * metrics["sp"]
    assert metrics["loss"] == pytest.approx(float(total), rel=1e-5)
