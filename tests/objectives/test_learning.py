"""Every objective, alone, brings a student's embedding toward the teacher's."""

import numpy as np
import pytest

from sacd_jax import objectives
from tests.objectives.two_layers import OPTIONS, TWO_LAYERS, Student, alignment, train
from tests.objectives.video_network import VIDEO

LOGITS_ALONE = ("kd", "kd_standardised", "dist", "c2kd", "mgdfr")
"""Methods that teach the embedding only as far as class probabilities show it."""


def learns(name: str, student: Student, steps: int) -> None:
    """The loss falls, and the embedding of clips not seen before comes nearer to the teacher's."""
    objective = objectives.create(name, **OPTIONS.get(name, {}))
    terms, params = train(objective, steps, student=student)
    assert all(np.isfinite(values).all() for values in terms.values())
    total = np.asarray(terms["total"])
    # Banks are empty or random at first: the loss counts from the second pass on.
    assert total[-10:].mean() < 0.85 * total[5:15].mean()
    gain = 0.05 if name in LOGITS_ALONE else 0.1
    assert alignment(params, student) > alignment(student.init(6), student) + gain


@pytest.mark.parametrize("name", objectives.available())
def test_two_layers_learn_from_the_teacher(name):
    learns(name, TWO_LAYERS, steps=160)


@pytest.mark.slow
@pytest.mark.parametrize("name", objectives.available())
def test_the_video_network_learns_from_the_teacher(name):
    learns(name, VIDEO, steps=160)
