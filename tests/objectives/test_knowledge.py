"""Ranks of own pairs, by loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon

from sacd_jax import objectives
from sacd_jax.objectives.knowledge import divergences, mutual_wins
from sacd_jax.objectives.objective import Seen
from tests.objectives.test_sacd import SPEC, TWO_GROUPS, batch_of, data_spec, output, run
from tests.objectives.vectors import STUDENT_LOGITS, TEACHER_LOGITS


def by_hand(distance, competes):
    """Mean share of rivals that are farther than the own partner, ties half, both ways."""
    means = []
    for matrix in (distance, distance.T):
        shares = []
        for n, row in enumerate(matrix):
            rivals = row[[m for m in range(len(row)) if m != n and competes(n, m)]]
            if len(rivals):
                shares.append(np.mean((rivals > row[n]) + 0.5 * (rivals == row[n])))
        means.append(np.mean(shares))
    return np.mean(means)


def test_wins_by_hand_and_at_chance():
    distance = np.array([[1.0, 2, 3], [4, 4, 1], [0, 5, 6]])
    labels = np.array([0, 0, 1])
    other = labels[:, None] != labels
    np.testing.assert_allclose(mutual_wins(jnp.array(distance)), by_hand(distance, lambda n, m: 1))
    found = mutual_wins(jnp.array(distance), jnp.array(other))
    np.testing.assert_allclose(found, by_hand(distance, lambda n, m: labels[n] != labels[m]))
    assert mutual_wins(jnp.zeros((5, 5))) == 0.5  # all vectors are one
    assert mutual_wins(1 - jnp.eye(5)) == 1
    assert mutual_wins(jnp.ones((3, 3)), jnp.zeros((3, 3), bool)) == 0  # one stage: no rivals


def test_divergences_are_jensen_shannons():
    found = divergences(STUDENT_LOGITS, TEACHER_LOGITS)
    p, q = (np.asarray(jax.nn.softmax(x), np.float64) for x in (STUDENT_LOGITS, TEACHER_LOGITS))
    expected = [[jensenshannon(a, b) ** 2 for b in q] for a in p]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_ranks_of_sacd_by_hand():
    _, params, buffers = run(TWO_GROUPS, steps=2)
    stage = np.arange(8) % 3
    student, teacher = output(50), output(60)
    batch = batch_of(stage)
    seen = Seen(student, teacher, None, batch, batch["mask"], jax.random.key(0), jnp.int32(0))
    found = TWO_GROUPS.ranks(params, buffers, seen)
    a, b = (
        np.asarray(x.embedding) / np.linalg.norm(x.embedding, axis=1, keepdims=True)
        for x in (student, teacher)
    )
    distance = -a @ b.T
    assert set(found) == {
        "contrast_wins", "contrast_wins_other_stages", "contrast_wins_bank", "graph_wins"
    }  # fmt: skip
    np.testing.assert_allclose(
        [found["contrast_wins"], found["contrast_wins_other_stages"]],
        [
            by_hand(distance, lambda n, m: True),
            by_hand(distance, lambda n, m: stage[n] != stage[m]),
        ],
        rtol=1e-6,
    )
    bank = buffers["teacher_bank"]
    rows, classes = (np.asarray(x)[:16] for x in (bank.features, bank.labels))  # two steps of 8
    shares = [np.mean((rows @ a[n] < a[n] @ b[n])[classes != stage[n]]) for n in range(8)]
    np.testing.assert_allclose(found["contrast_wins_bank"], np.mean(shares), rtol=1e-6)
    assert found["graph_wins"] in (0, 0.25, 0.5, 0.75, 1)
    alone = objectives.create("sacd", {"graph": 0.0, "contrast": 0.0})
    assert alone.ranks(*alone.init(jax.random.key(0), SPEC, SPEC, data_spec()), seen) == {}
