"""FitNet, PKT, RKD and IFD: golden values, gradients, masks, groups."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from input_pipeline.errors import UserError
from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives import DataSpec, fitnet, ifd, pkt, rkd
from sacd_jax.objectives.objective import Seen, participating
from tests.objectives.vectors import EVERY, LABELS, STUDENT, TEACHER, matrix

FORMULAS = {
    "fitnet": (fitnet.mean_squared_error, 0.54161793, 1e-5),
    "pkt": (pkt.probabilistic_transfer, 0.00868616, 1e-6),
    "rkd_distance": (rkd.distance_loss, 0.01692015, 1e-6),
    "rkd_angle": (rkd.angle_loss, 0.02529236, 1e-6),
    "ifd": (ifd.information_flow, 0.01950710, 1e-6),
}
SPEC = EncoderSpec(embedding_dim=8, num_classes=5, stage_dims=(3, 4))
DATA = DataSpec(60, np.arange(60, dtype=np.int32) % 5, 5, 6, 10)


def batch_of(count, out=()):
    mask = np.ones(count, bool)
    mask[list(out)] = False
    return {
        "stage": jnp.arange(count, dtype=jnp.int32) % 5,
        "mask": jnp.asarray(mask),
        "index": jnp.arange(count),
    }


def only(embedding, stages=()):
    return EncoderOutput(embedding, jnp.zeros((len(embedding), 5)), stages)


def terms_of(objective, student, teacher, batch, step=0):
    params, buffers = objective.init(jax.random.key(0), SPEC, SPEC, DATA)
    key = jax.random.key(1)
    seen = Seen(student, teacher, None, batch, participating(batch), key, jnp.int32(step))
    terms, _ = objective.terms(params, buffers, seen)
    return terms.losses | terms.logged


@pytest.mark.parametrize("name", FORMULAS)
def test_golden(name):
    formula, expected, tolerance = FORMULAS[name]
    np.testing.assert_allclose(formula(STUDENT, TEACHER, EVERY), expected, rtol=0, atol=tolerance)


def test_golden_kernels_of_information_flow():
    def jeffreys(kernel):
        p, q = (kernel(x) / kernel(x).sum(1, keepdims=True) for x in (TEACHER, STUDENT))
        return ((p - q) * jnp.log(p / q)).mean()

    np.testing.assert_allclose(jeffreys(ifd.cosine_kernel), 0.01680664, rtol=0, atol=1e-6)
    # The reference's own value carries its float32 diagonal; this is the exact one.
    np.testing.assert_allclose(jeffreys(ifd.student_t_kernel), 0.00270090, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"),
    [
        ("fitnet", 54.161793, 1e-4),
        ("pkt", 260.5848, 2e-2),
        ("rkd", 1.68762171, 1e-5),
        ("ifd", 0.01950710, 1e-6),
    ],
)
def test_golden_through_the_objective_and_its_default_weights(name, expected, tolerance):
    objective = objectives.create(name)
    terms = terms_of(objective, only(STUDENT), only(TEACHER), batch_of(6))
    total = sum(weight * terms[term] for term, weight in objective.weights.items())
    np.testing.assert_allclose(total, expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients(name):
    formula, _, _ = FORMULAS[name]
    # Two equal rows: a distance of 0 under a square root.
    student = STUDENT.at[4].set(STUDENT[2] + 0.3)
    check_grads(lambda s: 100 * formula(s, TEACHER, EVERY), (student,), 1, ["rev"], eps=1e-3)
    for same in (STUDENT.at[4].set(STUDENT[2]), jnp.zeros_like(STUDENT), jnp.ones_like(STUDENT)):
        value, grad = jax.value_and_grad(formula)(same, TEACHER, EVERY)
        assert np.isfinite(value)
        assert np.isfinite(grad).all()
        assert np.abs(grad).max() < 1e4


@pytest.mark.parametrize("name", FORMULAS)
def test_no_loss_where_both_spaces_are_one(name):
    formula, _, _ = FORMULAS[name]
    # Scale (but for FitNet and the Student-t kernel) and rotation do not matter.
    rotation = jnp.linalg.qr(matrix((8, 8), 7))[0]
    same = STUDENT if name == "fitnet" else STUDENT @ rotation
    np.testing.assert_allclose(formula(same, STUDENT, EVERY), 0, atol=1e-6)


@pytest.mark.parametrize("name", FORMULAS)
def test_masked_rows_take_no_part(name):
    formula, _, _ = FORMULAS[name]
    kept = np.array([0, 2, 3, 5])
    mask = jnp.zeros(6, bool).at[kept].set(True)
    value, grad = jax.value_and_grad(formula)(STUDENT, TEACHER, mask)
    expected = formula(STUDENT[kept], TEACHER[kept], jnp.ones(4, bool))
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    np.testing.assert_array_equal(grad[jnp.array([1, 4])], 0)
    for rows in (0, 1):
        few = jnp.arange(6) < rows
        value, grad = jax.value_and_grad(formula)(STUDENT, TEACHER, few)
        assert np.isfinite(value) and np.isfinite(grad).all()
        if rows == 0:
            assert value == 0


@pytest.mark.parametrize("name", ["pkt", "rkd", "ifd"])
def test_groups(name):
    """40 clips are groups of 16, 16 and 8; "global" is one group."""
    student, teacher = only(matrix((40, 8), 1)), only(matrix((40, 8), 2))
    objective = objectives.create(name)
    whole = terms_of(objective, student, teacher, batch_of(40))
    parts = [
        terms_of(
            objective, *(jax.tree.map(lambda x, c=cut: x[c], o) for o in (student, teacher)), b
        )
        for cut, b in [
            (slice(0, 16), batch_of(16)),
            (slice(16, 32), batch_of(16)),
            (slice(32, 40), batch_of(8)),
        ]
    ]
    for term in objective.weights:
        expected = np.average([part[term] for part in parts], weights=[16, 16, 8])
        np.testing.assert_allclose(whole[term], expected, rtol=1e-5)
    first = jax.tree.map(lambda x: x[:16], (student, teacher))
    glob = terms_of(objectives.create(name, relation_group="global"), *first, batch_of(16))
    for term in objective.weights:
        np.testing.assert_allclose(glob[term], parts[0][term], rtol=1e-6)
    with pytest.raises(UserError, match="relation_group is 0"):
        objectives.create(name, relation_group=0)


def test_small_terms_of_the_formulas_where_they_show():
    """Opposite rows, for what keeps logarithms finite; rows that nearly meet, for distances."""
    opposite = 1e3 * jnp.array([[1.0, 0], [-1, 0], [0, 1]])
    apart = 1e3 * jnp.array([[1.0, 0], [0, 1], [0, -1]])

    def shares(rows):
        rows = np.asarray(rows, np.float64) / 1e3
        kernel = (rows @ rows.T + 1) / 2
        return kernel / kernel.sum(1, keepdims=True)

    p, q = shares(apart), shares(opposite)
    expected = np.mean(p * np.log((p + 1e-7) / (q + 1e-7)))
    found = pkt.probabilistic_transfer(opposite, apart, EVERY[:3])
    np.testing.assert_allclose(found, expected, rtol=1e-3)
    np.testing.assert_allclose(ifd.cosine_kernel(opposite)[0, 1], 1e-8, rtol=1e-3)
    np.testing.assert_allclose(ifd.cosine_kernel(jnp.array([[1e-6]])), (0.25 + 1) / 2, rtol=1e-5)
    far = ifd.student_t_kernel(jnp.array([[0.0], [3e-3]]))
    expected = 1 / (1 + np.sqrt([[1e-6, 1e-5], [1e-5, 1e-6]]))
    np.testing.assert_allclose(far, expected, rtol=1e-6)
    near, even = jnp.array([[0.0], [0.0], [3e-6]]), jnp.array([[0.0], [1.0], [3.0]])
    distances = [np.array([1.0, 3, 3]), np.array([1.0, 3, 2])]  # 0-1, 0-2, 1-2; 1e-6 is the least
    difference = np.subtract(*(d / d.mean() for d in distances))
    expected = 2 * np.sum(0.5 * difference**2) / 9
    np.testing.assert_allclose(rkd.distance_loss(near, even, EVERY[:3]), expected, rtol=1e-4)


def test_ifd_pairs_layers_from_the_deepest_and_its_weights_decay():
    student = only(STUDENT, (matrix((6, 3), 5), matrix((6, 4), 6), matrix((6, 7), 7)))
    teacher = only(TEACHER, (matrix((6, 2), 8), matrix((6, 9), 9)))
    pairs = ifd.layer_pairs(student, teacher)
    assert [(a.shape[1], b.shape[1]) for a, b in pairs] == [(7, 9), (4, 2)]
    deep, shallow = (ifd.information_flow(a, b, EVERY) for a, b in pairs)
    objective = objectives.create("ifd")
    for step, inner in [(0, 100.0), (9, 100.0), (10, 70.0), (25, 49.0)]:
        terms = terms_of(objective, student, teacher, batch_of(6), step)
        np.testing.assert_allclose(terms["inner_weight"], inner, rtol=1e-5)
        np.testing.assert_allclose(terms["information_flow"], deep + inner * shallow, rtol=1e-5)


@pytest.mark.parametrize("out", [(3, 5), (0, 1, 2, 3, 5)])
@pytest.mark.parametrize("regressor", ["linear", "linear_bn_relu"])
def test_fitnet_regressors(regressor, out):
    """With vectors so small that the epsilon of the norm shows, and with one clip that counts."""
    student = only(STUDENT, (matrix((6, 3), 5), 0.01 * matrix((6, 4), 6)))
    teacher = only(TEACHER, (matrix((6, 3), 8), matrix((6, 4), 9)))
    objective = objectives.create("fitnet", layer=-1, regressor=regressor)
    params, _ = objective.init(jax.random.key(0), SPEC, SPEC, DATA)
    assert params["regressor"]["kernel"].shape == (4, 4)
    rows = np.setdiff1d(np.arange(6), out)
    x = np.asarray(student.stages[1] @ params["regressor"]["kernel"] + params["regressor"]["bias"])
    x = x[rows]
    if regressor == "linear_bn_relu":
        assert np.all(params["regressor"]["scale"] == 1) and not params["regressor"]["shift"].any()
        scale, shift = jnp.array([1.0, 2.0, 0.5, 3.0]), jnp.array([0.0, 0.3, 0.1, -0.2])
        params = {"regressor": params["regressor"] | {"scale": scale, "shift": shift}}
        x = np.maximum((x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5) * scale + shift, 0)
    expected = ((x - np.asarray(teacher.stages[1])[rows]) ** 2).mean()
    batch = batch_of(6, out)
    key = jax.random.key(1)
    seen = Seen(student, teacher, None, batch, participating(batch), key, jnp.int32(0))
    terms, _ = objective.terms(params, {}, seen)
    np.testing.assert_allclose(terms.losses["hint"], expected, rtol=1e-4)


def test_fitnet_names_a_stage_that_is_not_there():
    objective = objectives.create("fitnet", layer=2)
    with pytest.raises(UserError, match="layer is 2, expected embedding or the number of one of"):
        objective.init(jax.random.key(0), SPEC, SPEC, DATA)


def test_labels_do_not_enter():
    """Relations are compared whatever the stages: one class in the batch changes nothing."""
    batch = batch_of(6)
    for name in ("fitnet", "pkt", "rkd", "ifd"):
        objective = objectives.create(name)
        one = terms_of(objective, only(STUDENT), only(TEACHER), batch)
        two = terms_of(objective, only(STUDENT), only(TEACHER), {**batch, "stage": LABELS * 0})
        assert one == two
