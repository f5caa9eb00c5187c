import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sacd_jax.objectives import memory_bank
from sacd_jax.objectives.losses import l2_normalise


def rows(numbers):
    """Row n is (n + 1, 1): known by its first number."""
    numbers = np.asarray(numbers, np.float32)
    return jnp.asarray(np.stack([numbers + 1, np.ones_like(numbers)], axis=1))


def content(bank):
    """Number -> label of what the bank holds."""
    labels = np.asarray(bank.labels)
    numbers = np.asarray(bank.features)[:, 0] - 1
    return {int(n): int(label) for n, label in zip(numbers, labels, strict=True) if label >= 0}


@settings(max_examples=40, deadline=None)
@given(
    size=st.integers(1, 9),
    batches=st.lists(st.lists(st.integers(-1, 3), min_size=1, max_size=13), max_size=6),
)
def test_keeps_the_newest_rows_with_a_stage(size, batches):
    bank = memory_bank.empty(size, 2)
    pushed, number = [], 0
    for labels in batches:
        numbers = range(number, number + len(labels))
        bank = memory_bank.push(bank, rows(numbers), jnp.array(labels, jnp.int32))
        pushed += [(n, label) for n, label in zip(numbers, labels, strict=True) if label >= 0]
        number += len(labels)
    assert content(bank) == dict(pushed[-size:])
    assert 0 <= int(bank.cursor) < size
    assert int(bank.cursor) == len(pushed) % size


def test_paper_size_wraps_row_by_row():
    bank = memory_bank.empty(256, 2)
    push = jax.jit(memory_bank.push)
    for step in range(17):
        bank = push(bank, rows(range(16 * step, 16 * step + 16)), jnp.full(16, step % 5))
    assert int(bank.cursor) == 16
    assert sorted(content(bank)) == list(range(16, 272))
    np.testing.assert_array_equal(bank.features[:16, 0] - 1, np.arange(256, 272))


def test_stored_rows_get_no_gradient():
    def stored(features):
        bank = memory_bank.push(memory_bank.empty(4, 2), features, jnp.array([0, 1]))
        return bank.features.sum()

    np.testing.assert_array_equal(jax.grad(stored)(rows([1, 2])), 0)


def bank_of(features, labels):
    bank = memory_bank.empty(len(labels), len(features[0]))
    return bank.replace(
        features=jnp.asarray(features, jnp.float32), labels=jnp.asarray(labels, jnp.int32)
    )


CIRCLE = [(np.cos(a), np.sin(a)) for a in np.deg2rad([0, 10, 20, 30, 40, 50])]


def test_hardest_are_the_nearest_of_other_classes():
    bank = bank_of(CIRCLE, [0, 1, 2, 1, 0, -1])
    cosine, valid = memory_bank.hardest(bank, jnp.array([[2.0, 0.0]]), jnp.array([0]), 2)
    assert valid.all()
    np.testing.assert_allclose(cosine[0], np.cos(np.deg2rad([10, 20])), atol=1e-6)


def test_class_zero_gives_negatives_too():
    bank = bank_of(CIRCLE[:3], [0, 0, 1])
    cosine, valid = memory_bank.hardest(bank, jnp.array([[1.0, 0.0]]), jnp.array([1]), 2)
    assert valid.all()
    np.testing.assert_allclose(cosine[0], np.cos(np.deg2rad([0, 10])), atol=1e-6)


def test_hardest_of_each_other_class():
    bank = bank_of(CIRCLE, [0, 1, 2, 1, 2, 1])
    anchor = jnp.array([[1.0, 0.0]])
    cosine, valid = memory_bank.hardest(bank, anchor, jnp.array([0]), 2, num_classes=3)
    np.testing.assert_array_equal(valid[0], [False] * 2 + [True] * 4)
    expected = np.cos(np.deg2rad([10, 30, 20, 40]))
    np.testing.assert_allclose(cosine[0, 2:], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([0] * 6, 0),  # only the anchor's own class
        ([-1] * 6, 0),  # empty
        ([0, 0, 1, 0, 2, -1], 2),  # fewer than k
        ([1, 1, 1, 0, 0, 0], 3),  # exactly k
    ],
)
def test_fewer_negatives_than_asked_for(labels, expected):
    cosine, valid = memory_bank.hardest(
        bank_of(CIRCLE, labels), jnp.array([[1.0, 0.0]]), jnp.array([0]), 3
    )
    assert cosine.shape == valid.shape == (1, 3)
    assert int(valid.sum()) == expected
    assert np.isfinite(cosine).all()


def test_ties_fill_the_list():
    bank = bank_of([(1.0, 0.0)] * 5, [1, 2, 1, 2, 0])
    cosine, valid = memory_bank.hardest(bank, jnp.array([[1.0, 0.0]]), jnp.array([0]), 3)
    assert valid.all()
    np.testing.assert_allclose(cosine, 1.0, atol=1e-6)


def test_more_candidates_than_the_bank_has():
    bank = bank_of(CIRCLE[:2], [1, 1])
    anchor = jnp.array([[0.0, 1.0]])
    extra = (anchor @ jnp.asarray(CIRCLE[2:], jnp.float32).T, jnp.array([1, 0, -1, 2]))
    cosine, valid = memory_bank.hardest(bank, anchor, jnp.array([0]), 9, extra)
    assert cosine.shape == (1, 6)
    np.testing.assert_array_equal(valid[0], [True] * 4 + [False] * 2)
    np.testing.assert_allclose(cosine[0, :4], np.sin(np.deg2rad([50, 20, 10, 0])), atol=1e-6)


def test_gradient_flows_through_the_batch_and_not_the_bank():
    def nearest(bank_features, extra_features):
        bank = bank_of(CIRCLE[:2], [1, 1]).replace(features=bank_features)
        anchor = jnp.array([[0.0, 1.0]])
        extra = (anchor @ l2_normalise(extra_features).T, jnp.array([1]))
        cosine, _ = memory_bank.hardest(bank, anchor, jnp.array([0]), 3, extra)
        return cosine.sum()

    grads = jax.grad(nearest, argnums=(0, 1))(
        jnp.asarray(CIRCLE[:2], jnp.float32), jnp.asarray(CIRCLE[4:5], jnp.float32)
    )
    np.testing.assert_array_equal(grads[0], 0)
    # d sin(a) at a = 40 degrees, along the circle
    np.testing.assert_allclose(
        grads[1][0], np.cos(np.deg2rad(40)) * np.array([-CIRCLE[4][1], CIRCLE[4][0]]), atol=1e-6
    )


def test_an_anchor_without_a_stage_has_no_negatives():
    bank = bank_of(CIRCLE, [0, 1, 2, 1, 0, 1])
    _, valid = memory_bank.hardest(bank, jnp.array([[1.0, 0.0]]), jnp.array([-1]), 3)
    assert not valid.any()


def test_cosines_at_a_bound_are_not_within_it():
    bank = bank_of([(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0)], [1, 1, 1])
    within = (jnp.array([-1.0]), jnp.array([1.0]))
    anchor, label = jnp.array([[1.0, 0.0]]), jnp.array([0])
    _, chosen = memory_bank.hardest_part(bank, anchor, label, 3, all_the_more=0.0, within=within)
    assert chosen.tolist() == [[False, True, False]]
