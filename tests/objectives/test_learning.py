"""Every objective, alone, brings a two-layer student's embedding toward the teacher's."""

import numpy as np
import pytest

from sacd_jax import objectives
from tests.objectives.two_layers import OPTIONS, alignment, encoder_init, train


def test_every_objective_is_here():
    assert set(OPTIONS) == set(objectives.available())


@pytest.mark.parametrize("name", OPTIONS)
def test_loss_falls_and_embedding_approaches_the_teachers(name):
    terms, student, teacher = train(objectives.create(name, **OPTIONS[name]), steps=160)
    assert all(np.isfinite(values).all() for values in terms.values())
    total = np.asarray(terms["total"])
    # Banks are empty or random at first: the loss counts from the second pass on.
    assert total[-10:].mean() < 0.85 * total[5:15].mean()
    before = alignment(encoder_init(6), teacher)
    assert alignment(student, teacher) > before + 0.1
