"""Inputs of the golden loss values: small matrices of the deterministic fill."""

import jax.numpy as jnp
import numpy as np

from tests.golden.fill import fill


def matrix(shape: tuple[int, ...], number: int, factor: float = 1.0):
    return jnp.asarray(factor * fill(shape, number), jnp.float32)


STUDENT = matrix((6, 8), 101)
TEACHER = matrix((6, 8), 102)
LABELS = jnp.asarray(np.array([0, 1, 0, 2, 1, 2], np.int32))
STUDENT_LOGITS = matrix((6, 5), 103, 2.0)
TEACHER_LOGITS = matrix((6, 5), 104, 2.0)
EVERY = jnp.ones(6, bool)
