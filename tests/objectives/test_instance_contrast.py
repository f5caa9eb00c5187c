"""CRD and CMC: golden values, the draw of negatives, Z, and the banks by row."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives import DataSpec, crd
from sacd_jax.objectives.instance_contrast import Draw, _places, nce
from sacd_jax.objectives.objective import Seen, participating
from tests.golden.fill import fill
from tests.objectives.vectors import STUDENT, TEACHER, matrix

SPEC = EncoderSpec(embedding_dim=8, num_classes=5, stage_dims=())
LOGITS = jnp.zeros((6, 5))
BATCH = {"stage": jnp.zeros(6, jnp.int32), "mask": jnp.ones(6, bool), "index": jnp.arange(6)}
# Anchors are rows 0-5; the only rows of another class are 6-9.
DATA = DataSpec(10, np.array([0] * 6 + [1] * 4, np.int32), 2, 6, 2)


def golden(name, **options):
    objective = objectives.create(name, **({"negatives": 4, "dim": 4} | options))
    _, buffers = objective.init(jax.random.key(0), SPEC, SPEC, DATA)

    def bank(number):
        rows = fill((10, 4), number)
        return jnp.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), jnp.float32)

    def head(number):
        return {"kernel": matrix((4, 8), number, 0.5).T, "bias": matrix((4,), number + 1, 0.5)}

    params = {"student_head": head(200), "teacher_head": head(202)}
    banks = {"student_bank": bank(210), "teacher_bank": bank(211)}
    return objective, params, buffers | banks


def run(objective, params, buffers, student=STUDENT, teacher=TEACHER, batch=BATCH, seed=0):
    seen = Seen(
        EncoderOutput(student, LOGITS),
        EncoderOutput(teacher, LOGITS),
        None,
        batch,
        participating(batch),
        jax.random.key(seed),
        jnp.int32(0),
    )
    terms, new = objective.terms(params, buffers, seen)
    return terms.losses, new


@pytest.mark.parametrize("sharding", ["replicated", "rows"])
def test_crd_golden(sharding):
    objective, params, buffers = golden("crd", bank_sharding=sharding)
    terms, new = run(objective, params, buffers)
    np.testing.assert_allclose(terms["contrast"], 22.17914963, rtol=0, atol=1e-5)
    np.testing.assert_allclose(new["student_z"], 363007.219, rtol=1e-6)
    np.testing.assert_allclose(new["teacher_z"], 713479.938, rtol=1e-6)
    row = [-0.61114198, -0.40037420, -0.06171439, 0.67999804]
    np.testing.assert_allclose(new["student_bank"][0], row, rtol=0, atol=1e-6)
    for name in ("student_bank", "teacher_bank"):
        np.testing.assert_allclose(np.linalg.norm(new[name][:6], axis=1), 1, rtol=1e-6)
        np.testing.assert_array_equal(new[name][6:], buffers[name][6:])


def test_z_is_fixed_by_the_first_batch_that_has_a_stage():
    objective, params, buffers = golden("crd")
    nothing = {**BATCH, "stage": jnp.full(6, -1)}
    (terms, new), grad = jax.value_and_grad(
        lambda s: (lambda t, n: (t["contrast"], n))(
            *run(objective, params, buffers, s, batch=nothing)
        ),
        has_aux=True,
    )(STUDENT)
    assert terms == 0
    np.testing.assert_array_equal(grad, 0)
    assert new["student_z"] == 0
    np.testing.assert_array_equal(new["student_bank"], buffers["student_bank"])
    _, first = run(objective, params, new)
    np.testing.assert_allclose(first["student_z"], 363007.219, rtol=1e-6)
    _, second = run(objective, params, first, TEACHER, STUDENT)
    for name in ("student_z", "teacher_z"):
        assert second[name] == first[name]


def test_banks_are_constants_and_heads_train():
    objective, params, buffers = golden("crd")

    def loss(params, banks, student):
        return run(objective, params, buffers | banks, student)[0]["contrast"]

    banks = {name: buffers[name] for name in ("student_bank", "teacher_bank")}
    of_params, of_banks, of_student = jax.grad(loss, argnums=(0, 1, 2))(params, banks, STUDENT)
    for leaf in jax.tree.leaves(of_banks):
        np.testing.assert_array_equal(leaf, 0)
    for leaf in jax.tree.leaves((of_params, of_student)):
        assert np.abs(leaf).max() > 1e-3
    fixed = buffers | {"student_z": jnp.float32(4e5), "teacher_z": jnp.float32(7e5)}
    check_grads(
        lambda s: run(objective, params, fixed, s)[0]["contrast"], (STUDENT,), 1, ["rev"], eps=1e-3
    )


def test_a_clip_twice_in_the_batch_leaves_its_last_vector():
    objective, params, buffers = golden("crd", momentum=0.0)
    batch = {
        **BATCH,
        "index": jnp.array([3, 1, 3, 0, 3, 2]),
        "mask": BATCH["mask"].at[4].set(False),
    }
    _, new = run(objective, params, buffers, batch=batch)
    _, alone = run(objective, params, buffers)
    np.testing.assert_allclose(new["student_bank"][3], alone["student_bank"][2], atol=1e-6)
    np.testing.assert_array_equal(new["student_bank"][4:], buffers["student_bank"][4:])


def test_places_of_clips_that_come_again():
    index, mask = jnp.array([3, 3, 1, 5, 3, 1, 0]), jnp.array([1, 1, 1, 1, 0, 1, 1], bool)
    np.testing.assert_array_equal(_places(index, mask, 9), [9, 3, 9, 5, 9, 1, 0])


def test_heads_and_banks_at_their_start():
    """Four draws of their own; rows from U(-a, a), a = sqrt(3 / dim), all but one are negatives."""
    spec = DataSpec(4000, np.arange(4000, dtype=np.int32) % 2, 2, 6, 2)
    params, buffers = objectives.create("crd", dim=4).init(jax.random.key(0), SPEC, SPEC, spec)
    assert np.any(params["student_head"]["kernel"] != params["teacher_head"]["kernel"])
    assert np.any(buffers["student_bank"] != buffers["teacher_bank"])
    limit = 0.75**0.5
    for rows in (buffers["student_bank"], buffers["teacher_bank"]):
        assert rows.shape == (4000, 4) and abs(rows.mean()) < 0.02
        assert -limit <= rows.min() < 0.01 - limit and limit - 0.01 < rows.max() <= limit


@pytest.mark.parametrize(("negatives", "drawn"), [(4, 4), (9, 9), (100, 9)])
def test_negatives_are_at_most_all_other_rows(monkeypatch, negatives, drawn):
    objective, params, buffers = golden("cmc", negatives=negatives)
    asked, draw = [], type(objective).draw
    monkeypatch.setattr(type(objective), "draw", lambda *given: asked.append(given) or draw(*given))
    run(objective, params, buffers)
    assert asked[0][4] == drawn


def test_z_is_a_constant_from_the_first_batch_on():
    objective, _, buffers = golden("crd")
    negative = jnp.tile(jnp.array([6, 8]), (6, 1))
    draw, every = Draw(jnp.arange(6), negative, jnp.ones(6, bool)), jnp.ones(6, bool)
    anchors, bank = STUDENT[:, :4], buffers["teacher_bank"]

    def direction(anchors, z):
        return objective.direction(anchors, bank, draw, every, z, jnp.int32(10))

    first = jax.value_and_grad(direction, has_aux=True)(anchors, jnp.float32(0))
    z = first[0][1]
    scores = np.exp(np.asarray(anchors @ bank.T, np.float64) / 0.07)
    both = np.concatenate([np.diag(scores)[:, None], scores[:, [6, 8]]], axis=1)
    np.testing.assert_allclose(z, 10 * both.mean(), rtol=1e-5)
    again = jax.value_and_grad(direction, has_aux=True)(anchors, z)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), first, again)
    value, kept = direction(anchors, jnp.float32(0.5))
    assert kept == 0.5
    found = nce(both[:, 0] / 0.5, both[:, 1:] / 0.5, draw.valid, every, jnp.int32(10))
    np.testing.assert_allclose(value, found, rtol=1e-5)


def test_masked_rows_take_no_part():
    objective, params, buffers = golden("crd")
    batch = {**BATCH, "mask": BATCH["mask"].at[4].set(False), "stage": BATCH["stage"].at[1].set(-1)}
    out = jnp.array([1, 4])
    terms, new = run(objective, params, buffers, batch=batch)
    changed_terms, changed = run(objective, params, buffers, STUDENT.at[out].add(1), batch=batch)
    assert terms["contrast"] == changed_terms["contrast"]
    for name in buffers:
        np.testing.assert_array_equal(new[name], changed[name])
    np.testing.assert_array_equal(new["student_bank"][out], buffers["student_bank"][out])


def sizes(labels, classes):
    return jnp.asarray(np.bincount(labels[labels >= 0], minlength=classes))


def test_negatives_are_of_other_classes_each_once_and_all_as_often():
    rng = np.random.default_rng(0)
    labels = rng.integers(-1, 3, 60).astype(np.int32)
    stage = jnp.array([0, 1, 2, 0])
    k = 10
    draw = jax.jit(
        jax.vmap(
            lambda seed: crd.other_classes(
                jax.random.key(seed), jnp.asarray(labels), sizes(labels, 3), stage, k
            )[0]
        )
    )
    drawn = np.asarray(draw(jnp.arange(3000)))  # [draws, anchors, k]
    for anchor, own in enumerate(np.asarray(stage)):
        allowed = np.flatnonzero((labels >= 0) & (labels != own))
        rows = drawn[:, anchor]
        assert set(np.unique(rows)) == set(allowed)
        assert all(len(set(row)) == k for row in rows)
        often = np.bincount(rows.ravel(), minlength=60)[allowed]
        expected = rows.size / len(allowed)
        # Binomial: five standard deviations.
        assert np.abs(often - expected).max() < 5 * np.sqrt(expected)
    # Two anchors of one class share as many rows as two separate draws would.
    allowed = ((labels >= 0) & (labels != 0)).sum()
    shared = np.mean([len(set(a) & set(b)) for a, b in drawn[:, [0, 3]]])
    np.testing.assert_allclose(shared, k * k / allowed, rtol=0.05)


def test_more_negatives_than_rows_are_drawn_with_replacement():
    labels = np.array([0, 0, 0, 1, 1, -1], np.int32)
    negative, valid = crd.other_classes(
        jax.random.key(0), jnp.asarray(labels), sizes(labels, 3), jnp.array([0, 1, 2]), 200
    )
    assert valid.all()
    for row, allowed in zip(
        np.asarray(negative), ([3, 4], [0, 1, 2], [0, 1, 2, 3, 4]), strict=True
    ):
        often = np.bincount(row, minlength=6)
        assert set(np.flatnonzero(often)) == set(allowed)
        assert often[allowed].min() > 20


def test_one_row_of_another_class_is_drawn_and_none_is_none():
    labels = np.array([0, 0, -1, 1], np.int32)
    stage = jnp.array([0, 1, 2])
    for seed in range(5):
        negative, valid = crd.other_classes(
            jax.random.key(seed), jnp.asarray(labels), sizes(labels, 3), stage, 1
        )
        assert negative[0] == 3 and negative[1] in (0, 1) and negative[2] in (0, 1, 3)
        assert valid.all()
    labels[3] = 0
    given = jax.random.key(0), jnp.asarray(labels), sizes(labels, 3), stage
    np.testing.assert_array_equal(crd.other_classes(*given, 3)[1], [False, True, True])


def test_classes_are_counted_and_a_clip_alone_in_its_class_is_its_own_partner():
    labels = np.array([0, 1, 1, 2, -1, 2, 0], np.int32)
    objective = objectives.create("crd", positives="relax", dim=4)
    spec = DataSpec(7, labels, 4, 6, 2)
    _, buffers = objective.init(jax.random.key(0), SPEC, SPEC, spec)
    np.testing.assert_array_equal(buffers["class_sizes"], [2, 2, 2, 0])
    buffers |= {"labels": jnp.array([0, 1, 1, 2, -1, 2, 2])}
    index, stage = jnp.array([5, 4]), jnp.array([0, 3])  # class 0 has row 0 alone, 3 has none
    draw = objective.draw(buffers, index, stage, 2, jax.random.key(0))
    np.testing.assert_array_equal(draw.positive, [0, 4])


def test_a_split_of_one_class_has_no_negatives():
    objective, params, _ = golden("crd")
    _, buffers = objective.init(
        jax.random.key(0), SPEC, SPEC, DataSpec(10, np.zeros(10, np.int32), 2, 6, 2)
    )
    value, grad = jax.value_and_grad(lambda s: run(objective, params, buffers, s)[0]["contrast"])(
        STUDENT
    )
    assert np.isfinite(value)
    assert np.isfinite(grad).all()


def test_relaxed_positives_are_of_the_same_class():
    labels = jnp.array([2, 0, 1, 0, -1, 2, 0])
    drawn = np.stack(
        [crd.same_class(jax.random.key(n), labels, jnp.array([0, 1, 2, 3])) for n in range(60)]
    )
    assert [set(column) for column in drawn.T] == [{1, 3, 6}, {2}, {0, 5}, {-1}]
    terms, new = run(*golden("crd", positives="relax"))
    assert np.isfinite(terms["contrast"])
    # The row that is renewed is still the clip's own.
    _, exact = run(*golden("crd"))
    np.testing.assert_array_equal(new["student_bank"], exact["student_bank"])


def test_nce_counts_noise_by_its_probability():
    positive, negative = jnp.array([0.5, 0.1]), jnp.array([[0.2, 0.4, 0.1], [0.3, 0.3, 0.3]])
    noise = 3 / 7
    rows = np.log(positive / (positive + noise)) + np.log(noise / (negative + noise)).sum(1)
    loss = nce(positive, negative, jnp.ones(2, bool), jnp.ones(2, bool), jnp.int32(7))
    np.testing.assert_allclose(loss, -np.mean(rows), rtol=1e-5)
    alone = np.log(positive[1] / (positive[1] + noise))
    loss = nce(positive, negative, jnp.array([True, False]), jnp.ones(2, bool), jnp.int32(7))
    np.testing.assert_allclose(loss, -np.mean([rows[0], alone]), rtol=1e-5)


def test_nce_of_so_many_clips_that_its_epsilon_shows():
    positive, negative, noise = 1e-7, 2e-7, 1 / 2e7
    row = np.log(positive / (positive + noise + 1e-7)) + np.log(noise / (negative + noise + 1e-7))
    given = jnp.array([positive]), jnp.array([[negative]])
    loss = nce(*given, jnp.ones(1, bool), jnp.ones(1, bool), jnp.int32(20_000_000))
    np.testing.assert_allclose(loss, -row, rtol=1e-5)


def test_cmc_draws_from_all_rows_alike():
    objective, _, buffers = golden("cmc")
    draw = objective.draw(buffers, jnp.arange(6), jnp.zeros(6, jnp.int32), 5000, jax.random.key(0))
    assert draw.negative.shape == (6, 5000)
    often = np.bincount(np.asarray(draw.negative).ravel())
    np.testing.assert_allclose(often, 3000, atol=5 * np.sqrt(3000))
    np.testing.assert_array_equal(draw.positive, np.arange(6))


def test_cmc_is_the_same_formula_over_its_own_draw():
    objective, params, buffers = golden("cmc")
    terms, new = run(objective, params, buffers, seed=0)
    draw = objective.draw(buffers, jnp.arange(6), BATCH["stage"], 4, jax.random.key(0))
    negative = np.asarray(draw.negative)
    z, total = [], 0.0

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    for head, rows, bank in (
        ("student_head", STUDENT, "teacher_bank"),
        ("teacher_head", TEACHER, "student_bank"),
    ):
        v = unit(np.asarray(rows @ params[head]["kernel"] + params[head]["bias"], np.float64))
        chosen = np.concatenate([np.arange(6)[:, None], negative], axis=1)
        out = np.exp(np.einsum("bkd,bd->bk", np.asarray(buffers[bank])[chosen], v) / 0.07)
        z.append(out.mean() * 10)
        x = out / z[-1]
        total -= np.log(x[:, 0] / (x[:, 0] + 0.4 + 1e-7)).mean()
        total -= np.log(0.4 / (x[:, 1:] + 0.4 + 1e-7)).sum(1).mean()
    np.testing.assert_allclose(terms["contrast"], total, rtol=1e-5)
    np.testing.assert_allclose([new["student_z"], new["teacher_z"]], z, rtol=1e-5)


def test_cmc_softmax_is_a_cross_entropy():
    objective, params, buffers = golden("cmc", softmax=True)
    terms, new = run(objective, params, buffers)
    assert new["student_z"] == 0
    drawn = objective.draw(buffers, jnp.arange(6), BATCH["stage"], 4, jax.random.key(0)).negative
    chosen = np.concatenate([np.arange(6)[:, None], drawn], axis=1)
    total = 0.0
    for side, rows, bank in (("student", STUDENT, "teacher"), ("teacher", TEACHER, "student")):
        head = params[f"{side}_head"]
        v = np.asarray(rows @ head["kernel"] + head["bias"], np.float64)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        shares = np.exp(np.einsum("bkd,bd->bk", buffers[f"{bank}_bank"][chosen], v) / 0.07)
        total -= np.log(shares[:, 0] / shares.sum(1)).mean()
    np.testing.assert_allclose(terms["contrast"], total, rtol=1e-5)


@pytest.mark.parametrize("name", ["crd", "cmc"])
def test_row_sharded_banks_are_filled_up_and_the_filling_is_never_drawn(name):
    objective = objectives.create(name, negatives=100, dim=4, bank_sharding="rows")
    assert objective.row_sharded == ("student_bank", "teacher_bank")
    params, buffers = objective.init(jax.random.key(0), SPEC, SPEC, DATA)
    assert buffers["student_bank"].shape == (1024, 4)
    draw = objective.draw(buffers, jnp.arange(6), jnp.zeros(6, jnp.int32), 100, jax.random.key(0))
    assert draw.negative.max() < 10
    terms, new = run(objective, params, buffers)
    assert np.isfinite(terms["contrast"])
    np.testing.assert_array_equal(new["teacher_bank"][10:], buffers["teacher_bank"][10:])
    assert objectives.create(name).row_sharded == () and objective.by_class == (name == "crd")


def test_banks_are_written_in_place():
    """With donated buffers the compiled step copies no bank, though its gradient reads them."""
    size = 3000
    labels = np.arange(size, dtype=np.int32) % 5
    objective = objectives.create("crd", negatives=64)
    params, buffers = objective.init(
        jax.random.key(0), SPEC, SPEC, DataSpec(size, labels, 5, 6, size // 6)
    )

    def step(buffers, params, student):
        def loss(params, student):
            terms, new = run(objective, params, buffers, student)
            return terms["contrast"], new

        return jax.grad(loss, argnums=(0, 1), has_aux=True)(params, student)

    compiled = jax.jit(step, donate_argnums=0).lower(buffers, params, STUDENT).compile()
    text = compiled.as_text()
    assert "f32[3000,128]" in text
    assert not [line for line in text.splitlines() if "f32[3000,128]{1,0} copy(" in line]
