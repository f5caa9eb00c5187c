"""Which negatives L_C takes and what it makes of them, by loops in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from input_pipeline.errors import UserError
from sacd_jax import objectives
from sacd_jax.objectives import memory_bank
from sacd_jax.objectives.sample_contrast import sample_contrast
from tests.objectives.test_sacd import (
    SPEC,
    banked,
    batch_of,
    data_spec,
    golden_banks,
    output,
    run,
    step,
)
from tests.objectives.vectors import LABELS, STUDENT, TEACHER, matrix

MARGIN = 0.2


def unit(x):
    x = np.asarray(x, np.float64)
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def by_hand(take, num_classes=None, semi_hard=False, temperature=None):
    """The loss where `take` says how many of n negatives are hard; bank and batch, both ways."""
    banks = golden_banks()
    student, teacher, labels = unit(STUDENT), unit(TEACHER), np.asarray(LABELS)
    total = 0.0
    for anchors, others, bank in ((student, teacher, banks[1]), (teacher, student, banks[0])):
        candidates = np.concatenate([unit(bank.features), others])
        classes = np.concatenate([bank.labels, labels])
        for n, label in enumerate(labels):
            own = student[n] @ teacher[n]
            rivals = [other for other in (0, 1, 2) if other != label]
            worst = []
            for some in [rivals] if num_classes is None else [[rival] for rival in rivals]:
                cosines = np.sort(candidates[np.isin(classes, some)] @ anchors[n])[::-1]
                if semi_hard:
                    cosines = cosines[(cosines < own) & (cosines > own - MARGIN)]
                worst += cosines[: take(len(cosines))].tolist()
            worst = np.array(worst)
            if temperature is not None:
                shares = np.exp(np.array([own, *worst]) / temperature)
                total -= np.log(shares[0] / shares.sum()) / len(labels)
            elif len(worst):
                total += np.maximum(MARGIN - own + worst, 0).mean() / len(labels)
    return total


def share(of):
    return lambda n: math.ceil(round(of * n, 6))


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize(
    ("options", "take"),
    [
        ({"share": 0.3}, share(0.3)),
        ({"share": 1.0}, share(1.0)),
        ({"k": 2, "all_the_more": 0.0}, lambda n: 2),
        ({"k": 2, "all_the_more": 0.5}, lambda n: min(2, n) + math.ceil((n - min(2, n)) / 2)),
        ({"k": 2, "all_the_more": 1.0}, lambda n: n),
        ({"share": 0.2, "all_the_more": 0.5}, lambda n: share(0.5 + 0.5 * share(0.2)(n) / n)(n)),
        ({"k": 3, "semi_hard": True}, lambda n: 3),
        ({"share": 1.0, "semi_hard": True}, lambda n: n),
        ({"share": 1.0, "temperature": 0.1}, lambda n: n),
        ({"k": 4, "temperature": 0.5}, lambda n: 4),
    ],
)
def test_negatives_and_forms_by_hand(options, take, num_classes):
    found = banked(candidates="bank_and_batch", num_classes=num_classes, **options)
    forms = {name: options[name] for name in ("semi_hard", "temperature") if name in options}
    expected = by_hand(take, num_classes, **forms)
    assert expected > 0
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_64_negatives_at_a_margin_of_a_fifth_by_default():
    many = [
        memory_bank.empty(70, 8).replace(features=matrix((70, 8), n), labels=jnp.full(70, 3))
        for n in (405, 406)
    ]
    given = (STUDENT, TEACHER, LABELS, *many)
    found = [float(sample_contrast(*given, **k)) for k in ({}, {"k": 64, "margin": 0.2}, {"k": 65})]
    assert found[0] == found[1] != found[2]


def test_indifference_of_the_hinge_is_two_margins_and_of_info_nce_the_number_of_rivals():
    same = jnp.ones((6, 8))
    none = [bank.replace(labels=jnp.full(10, -1)) for bank in golden_banks()]
    given = {"banks": none, "candidates": "bank_and_batch", "share": 1.0}
    np.testing.assert_allclose(banked(same, same, **given), 2 * MARGIN, rtol=1e-5)
    rivals = [int((np.asarray(LABELS) != label).sum()) for label in np.asarray(LABELS)]
    expected = 2 * np.mean(np.log1p(rivals))
    np.testing.assert_allclose(banked(same, same, temperature=0.1, **given), expected, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"share": 0.4}, {"share": 1.0, "temperature": 0.2}, {"k": 2, "all_the_more": 0.5}]
)
def test_gradients(options):
    given = {"candidates": "bank_and_batch", **options}
    check_grads(lambda s, t: banked(s, t, **given), (STUDENT, TEACHER), 1, ["rev"], eps=1e-3)
    nobody = jnp.full_like(LABELS, -1)
    value, gradient = jax.value_and_grad(lambda s: banked(s, labels=nobody, **given))(STUDENT)
    assert value == 0 and not np.asarray(gradient).any()


def test_warm_up_goes_from_all_negatives_to_the_hardest():
    def contrast(number, **options):
        objective = objectives.create("sacd", {"graph": 0.0, "jsd": 0.0}, **options)
        params, buffers = objective.init(jax.random.key(0), SPEC, SPEC, data_spec())
        batch = batch_of(np.arange(8) % 5)
        seen = (output(0), buffers, output(5), None, batch, number)
        return step(objective, params, *seen)[0]["contrast"]

    options = {"hardest": 1, "hardest_warmup": 10, "key_encoder": "student"}
    hard = contrast(0, hardest=1, key_encoder="student")
    everything = contrast(0, hardest=99, key_encoder="student")
    found = [contrast(number, **options) for number in (0, 5, 10, 20)]
    np.testing.assert_allclose(found[0], everything, rtol=1e-6)
    np.testing.assert_allclose(found[2:], hard, rtol=1e-6)
    assert everything < found[1] < hard


def test_both_sides_may_be_projected():
    objective = objectives.create(
        "sacd", {"graph": 0.0, "jsd": 0.0}, contrast_dim=6, bank_size=12, temperature=0.1
    )
    history, params, buffers = run(objective, steps=2, teacher_dim=30)
    assert params["student_contrast"]["kernel"].shape == (24, 6)
    assert params["teacher_contrast"]["kernel"].shape == (30, 6)
    assert buffers["student_bank"].features.shape == (12, 24)
    assert buffers["teacher_bank"].features.shape == (12, 30)
    lengths = np.linalg.norm(buffers["teacher_bank"].features, axis=1)
    np.testing.assert_allclose(lengths, 1, rtol=1e-5)
    _, (of_params, of_student) = history[1]
    for side in ("student", "teacher"):
        gradient = np.asarray(of_params[f"{side}_contrast"]["kernel"])
        assert np.isfinite(gradient).all() and gradient.any()
    assert np.asarray(of_student.embedding).any()


def test_values_that_cannot_be_are_refused():
    for options, words in (
        ({"hardest_share": 0.0}, "hardest_share is 0.0, expected more than 0 to 1"),
        ({"hardest_share": 1.5}, "hardest_share is 1.5, expected more than 0 to 1"),
        ({"temperature": 0.0}, "temperature is 0.0, expected more than 0"),
        ({"negatives": "hard"}, "negatives is 'hard', expected semi_hard | None"),
    ):
        with pytest.raises(UserError) as error:
            objectives.create("sacd", **options)
        assert words in str(error.value)
