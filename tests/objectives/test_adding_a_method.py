"""The page that says how to add a method is true: its example runs and equals its reference."""

import re

import jax
import jax.numpy as jnp
import numpy as np

from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives import DataSpec
from tests.objectives.vectors import EVERY, LABELS, STUDENT, STUDENT_LOGITS, TEACHER


def test_the_example(root):
    page = (root / "docs" / "adding_a_method.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert code.count("\n") < 100
    method = {"__name__": "sp"}
    exec(compile(code, "docs/adding_a_method.md", "exec"), method)
    objective = method["Sp"]()
    spec = EncoderSpec(8, 5, ())
    data = DataSpec(6, np.asarray(LABELS), 5, 6, 1)
    params, buffers = objective.init(jax.random.key(0), spec, spec, data)
    batch = {"stage": LABELS, "mask": EVERY, "index": jnp.arange(6)}

    def loss(student, batch):
        student = EncoderOutput(student, STUDENT_LOGITS)
        teacher = EncoderOutput(TEACHER, STUDENT_LOGITS)
        rng, step = jax.random.key(1), jnp.int32(0)
        terms, _ = objective.terms(params, buffers, student, teacher, None, batch, rng, step)
        return terms["sp"]

    np.testing.assert_allclose(loss(STUDENT, batch), 0.09460997, rtol=0, atol=1e-6)
    grad = jax.grad(loss)(STUDENT, {**batch, "stage": LABELS.at[2].set(-1)})
    np.testing.assert_array_equal(grad[2], 0)
    assert np.isfinite(grad).all()
