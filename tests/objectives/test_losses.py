import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sacd_jax.objectives import losses
from tests.objectives.vectors import EVERY, STUDENT, STUDENT_LOGITS, TEACHER_LOGITS

ABS = {"rtol": 0, "atol": 1e-5}


@pytest.mark.parametrize(
    ("mask", "rows"),
    [
        (None, [2, 6]),
        ([[1, 1, 1], [1, 1, 1]], [2, 6]),
        ([[1, 0, 1], [0, 1, 0]], [2.5, 9]),
        ([[0, 0, 0], [0, 1, 1]], [0, 6]),
    ],
)
def test_masked_mean(mask, rows):
    """The mean over a row that has one value is that value; over one that has none, 0."""
    values = jnp.array([[1.0, 1.0, 4.0], [6.0, 9.0, 3.0]])
    mask = None if mask is None else jnp.array(mask, bool)
    np.testing.assert_allclose(losses.masked_mean(values, mask, axis=1), rows)
    count = 6 if mask is None else int(mask.sum())
    total = values.sum() if mask is None else values[mask].sum()
    np.testing.assert_allclose(losses.masked_mean(values, mask), total / count)


def test_cross_entropy_golden():
    loss = losses.cross_entropy(STUDENT_LOGITS, jnp.array([0, 1, 2, 3, 4, 0]))
    np.testing.assert_allclose(loss, 1.93713093, **ABS)


def test_cross_entropy_averages_by_class_weight():
    labels = jnp.array([0, 1, 1, -1, 4, 2])
    mask = jnp.array([True, True, True, True, True, False])
    weights = jnp.array([1.0, 2.0, 0.5, 1.0, 3.0])
    log_p = np.asarray(jax.nn.log_softmax(STUDENT_LOGITS))
    kept = [(0, 0, 1.0), (1, 1, 2.0), (2, 1, 2.0), (4, 4, 3.0)]
    expected = -sum(w * log_p[i, y] for i, y, w in kept) / sum(w for *_, w in kept)
    loss = losses.cross_entropy(STUDENT_LOGITS, labels, mask, weights)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_cross_entropy_with_adjusted_logits():
    """By Menon et al. 2021, Eq. 10: log(1 + sum of (share' / share)^tau exp(f' - f))."""
    labels, shares, tau = np.array([0, 1, 2, 3, 4, 0]), np.array([0.4, 0.05, 0.3, 0.1, 0.15]), 0.7
    logits = np.asarray(STUDENT_LOGITS, np.float64)
    expected = np.mean(
        [
            np.log(np.sum((shares / shares[y]) ** tau * np.exp(row - row[y])))
            for row, y in zip(logits, labels, strict=True)
        ]
    )
    offsets = tuple(tau * np.log(shares))
    loss = losses.cross_entropy(STUDENT_LOGITS, jnp.array(labels), logit_offsets=offsets)
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


def test_cross_entropy_without_a_row():
    value, grad = jax.value_and_grad(losses.cross_entropy)(STUDENT_LOGITS, jnp.full(6, -1))
    assert value == 0
    np.testing.assert_array_equal(grad, 0)


@pytest.mark.parametrize(("variant", "expected"), [("js", 0.20211030), ("jeffreys", 0.99759531)])
def test_jsd_golden(variant, expected):
    loss = losses.jsd(STUDENT_LOGITS, TEACHER_LOGITS, variant=variant)
    np.testing.assert_allclose(loss, expected, **ABS)
    mirrored = losses.jsd(TEACHER_LOGITS, STUDENT_LOGITS, variant=variant)
    np.testing.assert_allclose(loss, mirrored, rtol=1e-5)


def test_jsd_bounds():
    certain = jnp.array([[400.0, 0, 0]])
    opposite = jnp.array([[0, 400.0, 0]])
    for variant in ("js", "jeffreys"):
        assert abs(losses.jsd(certain, certain, variant=variant)) < 1e-6
        grad = jax.grad(losses.jsd)(certain, opposite, None, variant)
        assert np.isfinite(grad).all()
    np.testing.assert_allclose(losses.jsd(certain, opposite), np.log(2), rtol=1e-6)
    assert losses.jsd(certain, opposite, variant="jeffreys") > 100


@pytest.mark.parametrize("variant", ["js", "jeffreys"])
def test_jsd_leaves_masked_rows_out(variant):
    mask = EVERY.at[jnp.array([1, 4])].set(False)
    kept = np.array([0, 2, 3, 5])
    value, grad = jax.value_and_grad(losses.jsd)(STUDENT_LOGITS, TEACHER_LOGITS, mask, variant)
    expected = losses.jsd(STUDENT_LOGITS[kept], TEACHER_LOGITS[kept], variant=variant)
    np.testing.assert_allclose(value, expected, rtol=1e-6)
    np.testing.assert_array_equal(grad[jnp.array([1, 4])], 0)
    check_grads(
        lambda x: losses.jsd(x, TEACHER_LOGITS, mask, variant), (STUDENT_LOGITS,), 1, ["rev"]
    )


def test_normalising_a_zero_vector():
    value, grad = jax.value_and_grad(lambda x: losses.l2_normalise(x).sum())(jnp.zeros((2, 3)))
    assert value == 0
    np.testing.assert_array_equal(grad, 0)
    check_grads(lambda x: losses.l2_normalise(x)[:, 0], (STUDENT,), 1, ["rev"])


def test_what_is_too_short_to_have_a_direction():
    lengths = jnp.array([[0.9e-12], [1.1e-12], [-1.3e-12]])
    np.testing.assert_allclose(losses.l2_normalise(lengths), [[0], [1], [-1]], rtol=1e-5)
    # To a cosine such rows are 0, and move by what is added to their norm.
    rows = jnp.array([[0.0, 0.0], [3.0, 4.0]])
    moved = jax.grad(lambda x: losses.cosine_matrix(x, 0.05)[0, 1])(rows)
    np.testing.assert_allclose(moved[0], np.array([3, 4]) / 5.05 / 0.05, rtol=1e-5)


def test_smooth_l1_meets_at_one():
    check_grads(losses.smooth_l1, (jnp.array([-2.0, -0.5, 0.25, 0.9, 1.1, 3.0]),), 1, ["rev"])
    found = losses.smooth_l1(jnp.array([0.5, -1.0, 1.25, 2.0]))
    np.testing.assert_allclose(found, [0.125, 0.5, 0.75, 1.5])


@pytest.mark.parametrize(("batch", "group", "groups"), [(8, 4, 2), (10, 4, 3), (3, 4, 1)])
def test_groups_fill_up_with_masked_rows(batch, group, groups):
    rows = jnp.arange(batch * 2.0).reshape(batch, 2) + 1
    cut = losses.grouped(rows, group)
    mask = losses.grouped(jnp.ones(batch, bool), group)
    assert cut.shape[0] == groups
    assert int(mask.sum()) == batch
    np.testing.assert_array_equal(cut.reshape(-1, 2)[mask.reshape(-1)], rows)
    assert losses.grouped(rows, "global").shape == (1, batch, 2)


def test_groups_count_by_their_rows():
    """A loss of each group, and not of the batch; groups with more rows weigh more."""
    rows = jnp.arange(10.0)
    mask = jnp.ones(10, bool).at[1].set(False)

    def loss(rows, mask):
        return jnp.where(mask, rows, 0).max()

    mean = losses.mean_over_groups(loss, 4, (rows,), mask)
    np.testing.assert_allclose(mean, (3 * 3 + 4 * 7 + 2 * 9) / 9, rtol=1e-6)
    whole = losses.mean_over_groups(loss, "global", (rows,), mask)
    np.testing.assert_allclose(whole, 9, rtol=1e-6)
    assert losses.mean_over_groups(loss, 4, (rows,), rows == 7) == 7


def test_axes_before_those_of_rows_and_columns_change_nothing():
    both = jnp.stack([STUDENT, 0.1 * STUDENT[::-1]])
    mask = jnp.stack([EVERY, EVERY.at[2].set(False)])
    for function, arrays in (
        (losses.l2_normalise, (both,)),
        (lambda x: losses.cosine_matrix(x, 1e-3), (both,)),
        (losses.squared_distances, (both, both[:, :4] + 1)),
        (losses.row_probabilities, (jnp.abs(both @ both.mT), mask)),
    ):
        whole = function(*arrays)
        for k in range(2):
            np.testing.assert_allclose(whole[k], function(*(x[k] for x in arrays)), rtol=1e-5)


def test_small_numbers_are_not_taken_for_none():
    rows = jnp.array([[0.03, 0.04], [0.0, 0.0], [0.3, -0.4]])
    cosine = losses.cosine_matrix(rows, 0.05)
    expected = [[0.25, 0, -0.07 / 0.55], [0, 0, 0], [-0.07 / 0.55, 0, 0.25 / 0.3025]]
    np.testing.assert_allclose(cosine, expected, rtol=1e-5)
    shares = losses.row_probabilities(jnp.array([[0.1, 0.3], [0.0, 0.0]]), jnp.ones(2, bool))
    np.testing.assert_allclose(shares, [[0.25, 0.75], [0, 0]])
    label, weights = jnp.array([1]), (1.0, 0.25)
    logits = jnp.array([[1.0, 2.0]])
    one = losses.cross_entropy(logits, label, class_weights=weights)
    np.testing.assert_allclose(one, losses.cross_entropy(logits, label), rtol=1e-6)
