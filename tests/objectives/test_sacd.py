import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

from input_pipeline.errors import UserError
from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives import DataSpec, memory_bank
from sacd_jax.objectives.graph_pairs import graph_distances, pair_loss
from sacd_jax.objectives.objective import Keys, Seen, participating
from sacd_jax.objectives.sample_contrast import sample_contrast
from tests.golden.fill import fill
from tests.objectives.vectors import LABELS, STUDENT, TEACHER, matrix

X, Y, U = (matrix((3, 4), number) for number in (301, 302, 303))
GRAPH_DISTANCES = [2.97806191, 2.39063287, 3.24866724]
BANK_LABELS = [0, 0, 0, 1, 1, 2, 2, 2, 2, -1]


def pairs(positive):
    """Pairs are the diagonal of the distance matrix."""
    diagonal = jnp.eye(3, dtype=bool)
    none = jnp.zeros_like(diagonal)
    return (diagonal, none) if positive else (none, diagonal)


def test_pair_loss_golden():
    distance = graph_distances(X, Y, "none")
    np.testing.assert_allclose(jnp.diag(distance), GRAPH_DISTANCES, atol=1e-5)
    pull = pair_loss(distance, *pairs(True), balanced=False)
    np.testing.assert_allclose(pull, np.mean(GRAPH_DISTANCES), atol=1e-5)
    assert pair_loss(distance, *pairs(False)) == 0  # all beyond the margin


def test_pair_loss_is_half_pull_and_half_push():
    distance = jnp.array([[0.3, 1.5, 9.0], [1.2, 0.1, 0.5]])
    own = jnp.eye(2, 3, dtype=bool)
    loss = pair_loss(distance, own, ~own)
    expected = 0.5 * np.mean([0.3, 0.1]) + 0.5 * np.mean([0.5, 0, 0.8, 1.5])
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert pair_loss(jnp.zeros((2, 2)), jnp.eye(2, dtype=bool), jnp.zeros((2, 2), bool)) == 0


def test_unit_graph_distances_are_bounded():
    distance = graph_distances(100 * X, jnp.concatenate([X, -X]))
    np.testing.assert_allclose(jnp.diag(distance), 0, atol=1e-5)
    np.testing.assert_allclose(jnp.diag(distance[:, 3:]), 4, atol=1e-5)
    zero = jax.grad(lambda g: graph_distances(g, X).sum())(jnp.zeros((1, 4)))
    np.testing.assert_array_equal(zero, 0)


def golden_banks():
    return [
        memory_bank.empty(10, 8).replace(
            features=matrix((10, 8), number), labels=jnp.array(BANK_LABELS)
        )
        for number in (401, 402)
    ]


def banked(student=STUDENT, teacher=TEACHER, labels=LABELS, **options):
    banks = options.pop("banks", None) or golden_banks()
    given = {"k": 3, "candidates": "bank"} | options
    return sample_contrast(student, teacher, labels, *banks, **given)


def test_hinge_golden():
    np.testing.assert_allclose(banked(reduction="sum"), 12.95708177, rtol=0, atol=1e-5)
    np.testing.assert_allclose(banked(), 0.71983788, rtol=0, atol=1e-5)
    first = [0, 0.704768, 0.946382, 1.010519, 2.175202, 1.887805]
    one_way = banked(reduction="sum", directions="student")
    np.testing.assert_allclose(one_way, sum(first), rtol=0, atol=1e-5)


@pytest.mark.parametrize("k", [2, 7])
@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_hinge_by_hand_with_bank_and_batch(k, num_classes, reduction):
    """Against a loop over anchors and candidates in NumPy."""
    banks = golden_banks()

    def unit(x):
        x = np.asarray(x, np.float64)
        return x / np.linalg.norm(x, axis=-1, keepdims=True)

    student, teacher, labels = unit(STUDENT), unit(TEACHER), np.asarray(LABELS)
    total = 0.0
    for anchors, others, bank in ((student, teacher, banks[1]), (teacher, student, banks[0])):
        candidates = np.concatenate([unit(bank.features), others])
        classes = np.concatenate([bank.labels, labels])
        for n, label in enumerate(labels):
            others_of = [[other for other in (0, 1, 2) if other != label]]
            if num_classes is not None:
                others_of = [[other] for other in others_of[0]]
            cosines = [candidates[np.isin(classes, some)] @ anchors[n] for some in others_of]
            worst = np.concatenate([np.sort(each)[::-1][:k] for each in cosines])
            violation = np.maximum(0.2 - student[n] @ teacher[n] + worst, 0)
            total += violation.mean() / len(labels) if reduction == "mean" else violation.sum()
    options = {"candidates": "bank_and_batch", "reduction": reduction}
    loss = banked(k=k, num_classes=num_classes, **options)
    np.testing.assert_allclose(loss, total, rtol=1e-5)


def test_hardest_per_class_golden():
    """By brute force in float64, as the test above."""
    np.testing.assert_allclose(banked(k=2, num_classes=3), 0.59067968, atol=1e-5)
    np.testing.assert_allclose(banked(k=2), 0.86637237, atol=1e-5)


def test_hardest_per_is_an_option():
    """With all ten rows of the other classes chosen either way, the mean is the same."""
    terms = {
        (per, k): run(
            objectives.create("sacd", {"graph": 0.0}, hardest=k, hardest_per=per), steps=2
        )[0][1][0]["contrast"]
        for per in ("all", "class")
        for k in (2, 99)
    }
    np.testing.assert_allclose(terms["all", 99], terms["class", 99], rtol=1e-6)
    assert terms["class", 2] < terms["all", 2]


def test_empty_bank_gives_nothing_alone_and_the_batch_still_does():
    banks = [memory_bank.empty(10, 8)] * 2
    value, grad = jax.value_and_grad(lambda s: banked(s, banks=banks))(STUDENT)
    assert value == 0
    np.testing.assert_array_equal(grad, 0)
    assert banked(banks=banks, candidates="bank_and_batch") > 0


def test_one_stage_in_batch_and_bank():
    banks = [b.replace(labels=jnp.zeros(10, jnp.int32)) for b in golden_banks()]
    value, grad = jax.value_and_grad(
        lambda s: banked(
            s, labels=jnp.zeros(6, jnp.int32), banks=banks, candidates="bank_and_batch"
        )
    )(STUDENT)
    assert value == 0
    np.testing.assert_array_equal(grad, 0)


def test_second_direction_only_switches_the_pull_when_candidates_are_the_bank():
    """Its negatives are constants: the gradient is -dS(student, teacher) times the active share."""

    def second(student):
        both = banked(student, reduction="mean")
        return both - banked(student, reduction="mean", directions="student")

    student, teacher = STUDENT, TEACHER
    banks = golden_banks()
    cosine, valid = memory_bank.hardest(banks[0], teacher, LABELS, 3)

    def own(student):
        norm = jnp.linalg.norm(student, axis=1) * jnp.linalg.norm(teacher, axis=1)
        return (student * teacher).sum(1) / norm

    active = ((0.2 - own(student)[:, None] + cosine > 0) & valid).sum(1) / valid.sum(1)
    expected = jax.grad(lambda v: -(own(v) * active).mean())(student)
    np.testing.assert_allclose(jax.grad(second)(student), expected, atol=1e-6)


@pytest.mark.parametrize("candidates", ["bank", "bank_and_batch"])
def test_hinge_gradient(candidates):
    check_grads(
        lambda s, t: banked(s, t, candidates=candidates), (STUDENT, TEACHER), 1, ["rev"], eps=1e-3
    )


# The whole objective


SPEC = EncoderSpec(embedding_dim=24, num_classes=5, stage_dims=(4,))
BATCH = 8


def data_spec(batch_size=BATCH):
    return DataSpec(40, np.arange(40, dtype=np.int32) % 5, 5, batch_size, 40 // batch_size)


def output(number, dim=24, batch=BATCH):
    return EncoderOutput(matrix((batch, dim), number), matrix((batch, 5), number + 1, 2.0))


def batch_of(stage, mask=None):
    stage = jnp.asarray(stage, jnp.int32)
    mask = jnp.ones(len(stage), bool) if mask is None else jnp.asarray(mask)
    return {"stage": stage, "mask": mask, "index": jnp.arange(len(stage))}


@partial(jax.jit, static_argnums=0)
def step(objective, params, student, buffers, teacher, keys, batch, number):
    """Terms, new buffers, and the gradients of the weighted sum by params and student."""

    def loss(params, student):
        key = jax.random.key(1)
        seen = Seen(student, teacher, keys, batch, participating(batch), key, number)
        terms, new = objective.terms(params, buffers, seen)
        return sum(terms.losses.values()), (terms.losses | terms.logged, new)

    grads, (terms, new) = jax.grad(loss, argnums=(0, 1), has_aux=True)(params, student)
    return terms, new, grads


def run(objective, steps=3, teacher_dim=24, batches=None):
    """Terms and gradients of some steps, the first parameters, the last buffers."""
    teacher_spec = dataclasses.replace(SPEC, embedding_dim=teacher_dim)
    params, buffers = objective.init(jax.random.key(0), SPEC, teacher_spec, data_spec())
    history = []
    for number in range(steps):
        batch = batches[number] if batches else batch_of(np.arange(BATCH) % 5)
        teacher = output(10 * number + 5, teacher_dim)
        keys = Keys(output(10 * number + 7), teacher)
        terms, buffers, grads = step(
            objective, params, output(10 * number), buffers, teacher, keys, batch, number
        )
        history.append((terms, grads))
    return history, params, buffers


def all_finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


SMALL = {"message_dim": 32, "update_dim": 32, "graph_dim": 32, "layers": 1}
# One object for most tests: its step is compiled once.
TWO_GROUPS = objectives.create("sacd", clips_per_graph=4, graph=SMALL)


@pytest.mark.parametrize(
    ("objective", "negatives_from_step"),
    [
        (TWO_GROUPS, 0),
        (objectives.create("sacd", clips_per_graph=8, graph=SMALL), 1),
        (objectives.create("sacd", clips_per_graph=4, graph=SMALL, ld_negatives="none"), None),
    ],
)
def test_finite_from_the_first_step(objective, negatives_from_step):
    history, _, _ = run(objective, steps=2)
    logged = {"graph_distance_positive", "graph_distance_negative"}
    for number, (terms, grads) in enumerate(history):
        assert set(terms) == {*objective.weights, *logged}
        assert all_finite(terms)
        assert all_finite(grads)
        assert terms["graph_distance_positive"] > 0
        has_negatives = negatives_from_step is not None and number >= negatives_from_step
        assert (terms["graph_distance_negative"] > 0) == has_negatives


def test_previous_group_is_the_last_steps_teacher():
    _, _, buffers = run(TWO_GROUPS, steps=2)
    np.testing.assert_allclose(buffers["previous_group"], fill((8, 24), 15)[:4], rtol=1e-6)
    assert buffers["previous_mask"].all()


def test_banks_hold_keys_and_teacher():
    objective = objectives.create("sacd", {"graph": 0.0}, bank_size=12)
    _, _, buffers = run(objective, steps=2)

    def unit(x):
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    for name, number in (("student_bank", 17), ("teacher_bank", 15)):
        bank = buffers[name]
        assert int(bank.cursor) == 4
        newest = np.asarray(bank.features)[np.arange(8, 16) % 12]
        np.testing.assert_allclose(newest, unit(fill((8, 24), number)), atol=1e-6)


def test_keys_that_were_not_computed_leave_the_students_bank():
    objective = objectives.create("sacd", {"graph": 0.0, "jsd": 0.0}, bank_size=12)
    params, buffers = objective.init(jax.random.key(0), SPEC, SPEC, data_spec())
    batch, teacher = batch_of(np.arange(BATCH) % 5, [True] * 7 + [False]), output(5)
    for fresh, rows in ((True, 7), (False, 0)):
        keys = Keys(output(7), teacher, jnp.array(fresh))
        seen = Seen(
            output(0), teacher, keys, batch, participating(batch), jax.random.key(1), jnp.int32(0)
        )
        _, new = objective.terms(params, buffers, seen)
        assert [int(new[f"{side}_bank"].cursor) for side in ("student", "teacher")] == [rows, 7]


def test_key_encoder_may_be_the_student():
    objective = objectives.create("sacd", {"graph": 0.0}, key_encoder="student")
    assert not objective.needs_keys
    assert objectives.create("sacd").needs_keys
    _, _, buffers = run(objective, steps=1)
    features = fill((8, 24), 0)
    expected = features / np.linalg.norm(features, axis=1, keepdims=True)
    np.testing.assert_allclose(buffers["student_bank"].features[:8], expected, atol=1e-6)


def test_rows_without_a_stage_take_no_part():
    """Changing them changes nothing, and they get no gradient."""
    params, buffers = TWO_GROUPS.init(jax.random.key(0), SPEC, SPEC, data_spec())
    buffers["previous_mask"] = jnp.ones(4, bool)
    batch = batch_of([0, -1, 2, 3, 4, 0, 1, 2], [True] * 6 + [False, True])
    out = np.array([1, 6])

    def changed(whole):
        return jax.tree.map(lambda x: x.at[out].add(3.0), whole)

    student, teacher, key = (output(n) for n in (0, 5, 7))
    others = teacher, Keys(key, teacher)
    terms, new, grads = step(TWO_GROUPS, params, student, buffers, *others, batch, 1)
    terms2, new2, _ = step(
        TWO_GROUPS, params, changed(student), buffers, *map(changed, others), batch, 1
    )
    for name in terms:
        np.testing.assert_allclose(terms[name], terms2[name], rtol=1e-5)
    np.testing.assert_array_equal(new["student_bank"].features, new2["student_bank"].features)
    assert int(new["teacher_bank"].cursor) == 6
    of_student = grads[1]
    for leaf in (of_student.embedding, of_student.logits):
        np.testing.assert_array_equal(leaf[out], 0)
        assert np.abs(leaf).max() > 0


def test_batches_of_one_stage_and_of_none():
    one = batch_of([3] * BATCH)
    none = batch_of([-1] * BATCH)
    history, _, _ = run(TWO_GROUPS, batches=[none, one, none, one], steps=4)
    for terms, grads in history:
        assert all_finite(terms)
        assert all_finite(grads)
    for name in ("graph", "contrast", "jsd"):
        assert history[2][0][name] == 0
    assert history[3][0]["contrast"] == 0


def test_teacher_of_another_width_is_projected():
    objective = objectives.create("sacd", graph=SMALL, clips_per_graph=4, projection_decay=0.75)
    history, params, buffers = run(objective, steps=2, teacher_dim=30)
    assert params["projection"]["kernel"].shape == (30, 24)
    assert all_finite(history)
    assert np.abs(history[0][1][0]["projection"]["kernel"]).max() > 0
    assert buffers["previous_group"].shape == (4, 30)
    # Parameters did not move, so their running mean did not either.
    np.testing.assert_allclose(
        buffers["projection"]["kernel"], params["projection"]["kernel"], rtol=1e-6
    )


def test_averaged_projection_keeps_its_decay_and_fills_the_bank():
    objective = objectives.create("sacd", {"graph": 0.0}, projection_decay=0.75)
    teacher_spec = dataclasses.replace(SPEC, embedding_dim=30)
    first, buffers = objective.init(jax.random.key(0), SPEC, teacher_spec, data_spec())
    params = jax.tree.map(lambda leaf: leaf + 0.1, first)
    teacher = output(5, 30)
    batch = batch_of(np.arange(BATCH) % 5)
    _, new, _ = step(
        objective, params, output(0), buffers, teacher, Keys(output(7), teacher), batch, 0
    )
    for name in ("kernel", "bias"):
        expected = first["projection"][name] + 0.25 * 0.1
        np.testing.assert_allclose(new["projection"][name], expected, rtol=1e-5, atol=1e-7)
    projected = np.asarray(teacher.embedding) @ new["projection"]["kernel"]
    projected += new["projection"]["bias"]
    expected = projected / np.linalg.norm(projected, axis=1, keepdims=True)
    np.testing.assert_allclose(new["teacher_bank"].features[:BATCH], expected, atol=1e-5)


def test_graph_margin_enters_pull_and_push():
    """Distances of unit vectors lie in [0, 4], so at a margin of 5 every pair is active."""
    weights = {"contrast": 0.0, "jsd": 0.0}
    options = {"clips_per_graph": 4, "graph": SMALL, "graph_margin": 5.0}
    for negatives in ("none", "groups"):
        objective = objectives.create("sacd", weights, ld_negatives=negatives, **options)
        terms = run(objective, steps=1)[0][0][0]
        pull = 4 + terms["graph_distance_positive"]
        push = 6 - terms["graph_distance_negative"]
        expected = pull if negatives == "none" else 0.5 * pull + 0.5 * push
        np.testing.assert_allclose(terms["graph"], expected, rtol=1e-5)


def test_terms_of_weight_zero_are_not_there():
    objective = objectives.create("sacd", {"graph": 0.0, "contrast": 0.0})
    assert objective.weights == {"graph": 0.0, "contrast": 0.0, "jsd": 1.0}
    assert not objective.needs_keys
    params, buffers = objective.init(jax.random.key(0), SPEC, SPEC, data_spec())
    assert not params
    assert not buffers
    history, _, _ = run(objective, steps=1)
    assert set(history[0][0]) == {"jsd"}


def test_graph_networks_may_have_an_adam_of_their_own():
    base = optax.sgd(0.5)
    assert objectives.create("sacd").optimizer(base) is base
    optimizer = objectives.create("sacd", graph_learning_rate=1e-4).optimizer(base)
    params = {"student_graph": {"w": jnp.ones(2)}, "projection": {"kernel": jnp.ones(2)}}
    grads = jax.tree.map(lambda leaf: 3 * leaf, params)
    updates, _ = optimizer.update(grads, optimizer.init(params), params)
    np.testing.assert_allclose(updates["student_graph"]["w"], -1e-4, rtol=1e-5)
    np.testing.assert_allclose(updates["projection"]["kernel"], -1.5, rtol=1e-6)


def test_what_the_user_mistyped():
    with pytest.raises(UserError, match="did you mean 'sacd'"):
        objectives.create("sacdd")
    with pytest.raises(UserError, match="no option 'marginn': did you mean 'margin'"):
        objectives.create("sacd", marginn=0.1)
    with pytest.raises(UserError, match="no loss 'grap': did you mean 'graph'"):
        objectives.create("sacd", {"grap": 1.0})
    with pytest.raises(UserError, match=r"jsd_variant is 'kl', expected js \| jeffreys"):
        objectives.create("sacd", jsd_variant="kl")
    with pytest.raises(UserError, match="batch size 8 is not a multiple of clips_per_graph 16"):
        objectives.create("sacd").init(jax.random.key(0), SPEC, SPEC, data_spec())
