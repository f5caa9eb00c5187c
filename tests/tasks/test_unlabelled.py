"""Steps with clips that nobody scored: what they move, and what they do not."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from input_pipeline.errors import UserError
from sacd_jax import objectives
from sacd_jax.config import AugmentConfig, EncoderConfig, ObjectiveConfig, RunConfig
from sacd_jax.models.encoder import EncoderOutput
from sacd_jax.tasks.distill import Distill
from tests.objectives.two_layers import OPTIONS
from tests.tasks.test_steps import distill_state
from tests.tasks.tiny import TinyEeg, TinyVideo, as_arrays, make_batch

HIDDEN = np.arange(32) >= 8
"""Rows whose labels are hidden: three quarters."""


def task_of(method="sacd", **fields) -> Distill:
    options = OPTIONS.get(method, {})
    if method == "sacd":
        options = {"clips_per_graph": 4, "bank_size": 24}
    return Distill(
        student=TinyVideo(),
        teacher=TinyEeg(),
        objective=objectives.create(method, **options),
        optimizer=optax.sgd(0.05),
        augment=AugmentConfig(crop=(5, 7)),
        **fields,
    )


def hidden(batch):
    return {**batch, "stage": jnp.where(HIDDEN, -1, batch["stage"])}


@pytest.fixture(scope="module")
def sacd():
    """State, batch, and the compiled step for each setting."""
    batch = as_arrays(make_batch(0))
    settings = {
        "default": {},
        "unlabelled": {"unlabelled": True},
        "pseudo": {"unlabelled": True, "pseudo_label_confidence": 0.0},
    }
    tasks = {name: task_of(**fields) for name, fields in settings.items()}
    steps = {name: jax.jit(task.train_step) for name, task in tasks.items()}
    return distill_state(tasks["default"], batch), batch, steps


@pytest.mark.slow
def test_where_all_are_labelled_the_setting_changes_no_bit(sacd):
    state, batch, steps = sacd
    results = [steps[name](state, batch) for name in ("default", "unlabelled")]
    jax.tree.map(np.testing.assert_array_equal, results[0][1], results[1][1])
    jax.tree.map(np.testing.assert_array_equal, results[0][0].params, results[1][0].params)


@pytest.mark.slow
def test_cross_entropy_and_accuracy_know_labelled_clips_alone(sacd):
    state, batch, steps = sacd
    _, alone = steps["default"](state, hidden(batch))
    for name in ("unlabelled", "pseudo"):
        _, found = steps[name](state, hidden(batch))
        assert found["cross_entropy"] == pytest.approx(float(alone["cross_entropy"]) / 4, rel=1e-6)
        assert found["accuracy"] == alone["accuracy"]


def test_unlabelled_clips_distil(sacd):
    state, batch, steps = sacd
    _, full = steps["default"](state, batch)
    _, alone = steps["default"](state, hidden(batch))
    _, found = steps["unlabelled"](state, hidden(batch))
    for term in ("jsd", "graph"):  # no classes in them: as if all were labelled
        assert found[term] == full[term] != alone[term]
    assert found["contrast"] == pytest.approx(float(alone["contrast"]), rel=1e-6)
    _, none = steps["unlabelled"](state, {**batch, "stage": jnp.full(32, -1)})
    assert none["cross_entropy"] == none["contrast"] == none["accuracy"] == 0
    assert none["jsd"] == full["jsd"]


def test_banks_get_the_teachers_class_only_if_asked(sacd):
    state, batch, steps = sacd
    task = task_of()
    likeliest = task.frozen_teacher(state, batch).logits.argmax(-1)

    def labels(name):
        bank = steps[name](state, hidden(batch))[0].buffers["teacher_bank"].labels
        return sorted(bank[bank >= 0].tolist())

    own = batch["stage"][:8].tolist()
    assert labels("unlabelled") == sorted(own)
    # 24 rows of the bank hold the newest clips of the batch.
    assert labels("pseudo") == sorted(likeliest[8:].tolist())


def test_a_class_that_the_teacher_is_not_sure_of_is_none():
    task = task_of(unlabelled=True, pseudo_label_confidence=0.8)
    logits = jnp.array([[0.0, 9.0], [0.0, 0.1], [9.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    batch = {
        "stage": jnp.array([-1, -1, 1, -1, 0]),
        "mask": jnp.array([True, True, True, False, True]),
    }
    teacher = EncoderOutput(jnp.zeros((5, 3)), logits, ())
    found = task._with_pseudo_labels(batch, teacher)["stage"]
    np.testing.assert_array_equal(found, [1, -1, 1, -1, 0])
    even = EncoderOutput(jnp.zeros((1, 3)), jnp.zeros((1, 2)), ())
    alone = {"stage": jnp.array([-1]), "mask": jnp.array([True])}
    for least, stage in ((0.5, 0), (0.51, -1)):
        task = task_of(unlabelled=True, pseudo_label_confidence=least)
        assert task._with_pseudo_labels(alone, even)["stage"] == stage


@pytest.mark.parametrize(
    ("stage", "mask", "share"),
    [([0], [1], 1), ([0], [0], 0), ([-1, 0, -1, 0], [1, 1, 1, 0], 1 / 3)],
    ids=["one", "none", "one of three"],
)
def test_cross_entropy_is_scaled_by_the_labelled_share(stage, mask, share):
    output = EncoderOutput(jnp.zeros((len(stage), 3)), jnp.array([[0.0, 2.0]] * len(stage)), ())
    batch = {"stage": jnp.array(stage), "mask": jnp.array(mask, bool)}
    for unlabelled, factor in ((True, share), (False, float(share > 0))):
        found = task_of(unlabelled=unlabelled)._cross_entropy(output, batch)
        np.testing.assert_allclose(found, factor * np.log1p(np.exp(2.0)), rtol=1e-6)


@pytest.mark.parametrize("method", ["ccl", "sacd_released", "crd", "cmc"])
def test_choices_by_class_leave_unlabelled_clips_out(method):
    """Their terms stay finite, and CRD's and the compositions' contrast is that of the others."""
    batch = as_arrays(make_batch(1))
    default, task = task_of(method), task_of(method, unlabelled=True)
    state = distill_state(default, hidden(batch))
    _, alone = default.train_step(state, hidden(batch))
    _, found = task.train_step(state, hidden(batch))
    assert all(np.isfinite(value) for value in found.values())
    same = np.isclose(found["contrast"], alone["contrast"], rtol=1e-5)
    assert same == (method != "cmc")


def test_settings_that_contradict_each_other_are_refused():
    network = EncoderConfig("mlp")
    distill = {"task": "distill", "teacher": network, "objective": ObjectiveConfig("sacd")}
    for settings, words in (
        ({"task": "classify", "unlabelled": "distill"}, "task 'classify' has no teacher"),
        (
            {**distill, "unlabelled": "distill", "batch_mode": "balanced"},
            "repeats clips by their label",
        ),
        ({**distill, "pseudo_label_confidence": 0.9}, "expected unlabelled 'distill' with it"),
    ):
        with pytest.raises(UserError, match=words):
            RunConfig(student=network, **settings)
