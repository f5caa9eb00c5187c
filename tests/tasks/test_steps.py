"""A step of each task: what moves, what stays, and that it is the same on 8 devices as on 1."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sacd_jax import objectives
from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import forward, output_spec
from sacd_jax.objectives.objective import DataSpec
from sacd_jax.tasks.classify import Classify
from sacd_jax.tasks.distill import Distill, as_stored
from tests.tasks.tiny import TinyEeg, TinyVideo, as_arrays, make_batch

AUGMENT = AugmentConfig(crop=(5, 7))
KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(0)}


def classify_task(encoder=None):
    return Classify(
        student=encoder or TinyVideo(), optimizer=optax.sgd(0.1), augment=AugmentConfig(flip=0.5)
    )


def distill_task(weights=None) -> Distill:
    objective = objectives.create("sacd", weights, clips_per_graph=4, bank_size=24, hardest=8)
    return Distill(
        student=TinyVideo(),
        teacher=TinyEeg(),
        objective=objective,
        optimizer=optax.sgd(0.05, 0.9),
        augment=AUGMENT,
        key_encoder_decay=0.9,
    )


def distill_state(task: Distill, batch):
    small = {**batch, "video": batch["video"][:, :, :5, :7]}
    student = task.student.init(KEYS, small, train=False)
    teacher = task.teacher.init(KEYS, small, train=False)
    data = DataSpec(32, np.asarray(batch["stage"]), 5, 32, 1)
    heads, buffers = task.objective.init(
        jax.random.key(1), output_spec(task.student, small), output_spec(task.teacher, small), data
    )
    return task.first_state(3, student, teacher, heads, buffers)


@pytest.fixture(scope="module")
def sacd():
    """A task, a batch, a state and the compiled step: the graph networks take long to compile."""
    task, batch = distill_task(), as_arrays(make_batch(0))
    step = jax.jit(task.train_step)
    return task, batch, distill_state(task, batch), step


def test_classify_learns_and_counts():
    task, batch = classify_task(), as_arrays(make_batch(0))
    state = task.first_state(0, task.student.init(KEYS, batch, train=False))
    step = jax.jit(task.train_step)
    losses = []
    for _ in range(40):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.6 * losses[0] and int(state.step) == 40
    assert set(metrics) == {"loss", "cross_entropy", "accuracy", "gradient_norm"}


def test_rows_without_a_stage_or_padding_change_nothing():
    task = classify_task(TinyEeg())
    batch = as_arrays(make_batch(0))
    state = task.first_state(0, task.student.init(KEYS, batch, train=False))
    spoiled = dict(batch)
    spoiled["stage"] = batch["stage"].at[3].set(-1)
    other = dict(spoiled)
    other["eeg"] = batch["eeg"].at[3].set(100.0)
    padded = {**batch, "mask": batch["mask"].at[3].set(False), "eeg": other["eeg"]}
    results = [task.train_step(state, b)[0].params for b in (spoiled, other, padded)]
    for result in results[1:]:
        jax.tree.map(np.testing.assert_array_equal, results[0], result)


def test_distill_moves_student_heads_and_buffers_but_never_the_teacher(sacd):
    task, batch, state, step = sacd
    new, metrics = step(state, batch)
    jax.tree.map(np.testing.assert_array_equal, state.teacher, new.teacher)

    def moved(before, after):
        changed = jax.tree.map(
            lambda a, b: bool((np.asarray(a) != np.asarray(b)).any()), before, after
        )
        return any(jax.tree.leaves(changed))

    assert moved(state.params["student"], new.params["student"])
    assert moved(state.params["objective"], new.params["objective"])
    assert moved(state.buffers, new.buffers) and moved(state.batch_stats, new.batch_stats)
    weights = {"cross_entropy": 1.0, **task.objective.weights}
    total = sum(weights[name] * metrics[name] for name in weights)
    assert metrics["loss"] == pytest.approx(float(total), rel=1e-6)
    assert {"graph_distance_positive", "graph_distance_negative"} <= set(metrics)


def test_key_encoder_is_the_moving_average(sacd):
    task, batch, state, step = sacd
    expected = state.params["student"]
    for _ in range(3):
        state, _ = step(state, batch)
        expected = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, expected, state.params["student"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        state.key_encoder,
        {"student": expected},
    )
    cropped = {**batch, "video": batch["video"][:, :, :5, :7]}
    frozen = task.frozen_teacher(state, cropped)
    keys = task.key_outputs(state, cropped, frozen)
    variables = {"params": state.key_encoder["student"], "batch_stats": state.batch_stats}
    direct, _ = forward(
        task.student, variables, {"video": batch["video"][:, :, :5, :7]}, train=False
    )
    np.testing.assert_array_equal(keys.student.embedding, direct.embedding)
    np.testing.assert_array_equal(keys.teacher.embedding, frozen.embedding)


def test_keys_of_every_other_step_fill_the_students_bank() -> None:
    task = dataclasses.replace(distill_task({"graph": 0.0}), key_encoder_every=2)
    batch = as_arrays(make_batch(0))
    step = jax.jit(task.train_step)
    first, _ = step(distill_state(task, batch), batch)
    second, _ = step(first, batch)
    third, _ = step(second, batch)
    banks = [state.buffers["student_bank"].features for state in (first, second, third)]
    assert np.any(banks[0]) and np.any(banks[2] != banks[1])
    np.testing.assert_array_equal(banks[0], banks[1])
    cursors = [int(state.buffers["teacher_bank"].cursor) for state in (first, second)]
    assert cursors == [32 % 24, 64 % 24]


def test_stored_teacher_outputs_serve_as_well_as_the_network(sacd):
    task, batch, state, step = sacd
    output, _ = forward(task.teacher, state.teacher, batch, train=False)
    cached = {k: v for k, v in batch.items() if k != "eeg"}
    cached |= as_stored(output)
    without = dataclasses.replace(task, teacher=None)
    _, one = step(state, batch)
    _, two = jax.jit(without.train_step)(state.replace(teacher={}), cached)
    for name in one:
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)


def test_without_terms_distilling_is_cross_entropy_alone():
    # The two tasks split their key differently; without crops and dropout they agree.
    still = AugmentConfig(crop=(), flip=0.0)
    off = {"graph": 0.0, "contrast": 0.0, "jsd": 0.0}
    batch = as_arrays(make_batch(0))
    batch["video"] = batch["video"][:, :, :5, :7]
    task = dataclasses.replace(distill_task(off), augment=still)
    state = distill_state(task, batch)
    kd, metrics = task.train_step(state, batch)
    assert float(metrics["loss"]) == pytest.approx(float(metrics["cross_entropy"]))
    plain = Classify(student=task.student, optimizer=task.optimizer, augment=still)
    ce, _ = plain.train_step(plain.first_state(3, state.student()), batch)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
        ce.params["student"],
        kd.params["student"],
    )


ON_DEVICES = """
import sys, jax, numpy as np
from sacd_jax import parallel
from tests.tasks.test_steps import distill_task, distill_state
from tests.tasks.tiny import make_batch, as_arrays
mesh = parallel.make_mesh()
task = distill_task()
state = parallel.replicate(distill_state(task, as_arrays(make_batch(0))), mesh)
put = parallel.to_device(mesh)
step = parallel.jit_step(task.train_step, mesh, state)
for i in range(4):
    state, metrics = step(state, put(make_batch(i)))
leaves = jax.tree.leaves((state.params, state.buffers, state.batch_stats, metrics))
np.savez(sys.argv[1], *[np.asarray(leaf) for leaf in leaves])
"""


@pytest.mark.slow
def test_eight_devices_equal_one(tmp_path, run_python):
    results = []
    for devices in (1, 8):
        path = tmp_path / f"{devices}.npz"
        run_python(ON_DEVICES, str(path), devices=devices)
        with np.load(path) as stored:
            results.append([stored[name] for name in stored.files])
    for one, many in zip(*results, strict=True):
        np.testing.assert_allclose(one, many, rtol=2e-4, atol=2e-5)


def test_a_state_is_a_plain_tree_of_arrays():
    task, batch = distill_task(), as_arrays(make_batch(0))
    state = distill_state(task, batch)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    ids = [id(leaf) for leaf in jax.tree.leaves(state)]
    assert len(set(ids)) == len(ids)  # donated buffers must not be shared
    assert jnp.issubdtype(state.step.dtype, jnp.integer)


def trained_teacher_task(method: str = "sacd") -> Distill:
    task = distill_task()
    if method != "sacd":
        task = dataclasses.replace(task, objective=objectives.create(method))
    return dataclasses.replace(task, teacher_trainable=True)


def test_a_teacher_that_trains_learns_by_its_own_labels_and_lends_averaged_keys():
    """Experiment F: the teacher's cross-entropy falls, and the EEG bank holds its average's."""
    task, batch = trained_teacher_task(), as_arrays(make_batch(0))
    state = distill_state(task, batch)
    assert set(state.key_encoder) == {"student", "teacher"} and "params" not in state.teacher
    step = jax.jit(task.train_step)
    averaged, first = state.key_encoder["teacher"], None
    for _ in range(12):
        before = state
        state, metrics = step(state, batch)
        first = first or metrics
        averaged = jax.tree.map(lambda e, p: 0.9 * e + 0.1 * p, averaged, state.params["teacher"])
    assert metrics["teacher_cross_entropy"] < first["teacher_cross_entropy"]
    total = metrics["cross_entropy"] + metrics["teacher_cross_entropy"]
    total += sum(weight * metrics[name] for name, weight in task.objective.weights.items())
    np.testing.assert_allclose(metrics["loss"], total, rtol=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        state.key_encoder["teacher"],
        averaged,
    )
    # What the last step pushed: unit vectors of the averaged teacher before the update.
    key, _ = forward(task.teacher, {"params": before.key_encoder["teacher"]}, batch, train=False)
    unit = key.embedding / np.linalg.norm(key.embedding, axis=1, keepdims=True)
    bank = state.buffers["teacher_bank"]
    rows = (int(bank.cursor) - 1 - np.arange(5)) % len(bank.labels)
    np.testing.assert_allclose(bank.features[rows], unit[::-1][:5], rtol=1e-4, atol=1e-6)


def test_a_teacher_that_trains_drops_out_and_keeps_its_statistics():
    task, batch = trained_teacher_task(), as_arrays(make_batch(0))
    rng = jax.random.key(5)
    for network, moves in ((TinyEeg(), False), (TinyVideo(), True)):
        task = dataclasses.replace(task, teacher=network)
        variables = network.init(KEYS, batch, train=False)
        output, state, terms = task._trained_teacher(variables, batch, rng)
        again, statistics = forward(
            network, variables, batch, train=True, dropout=jax.random.fold_in(rng, 1)
        )
        np.testing.assert_array_equal(output.embedding, again.embedding)
        assert state.keys() == ({"batch_stats"} if moves else set())
        jax.tree.map(np.testing.assert_array_equal, state.get("batch_stats", {}), statistics)
        assert set(terms) == {"teacher_cross_entropy"}


def test_composition_works_with_a_teacher_that_trains():
    """Experiment G: CCL needs no keys; nothing but the banks' lack differs."""
    task, batch = trained_teacher_task("ccl"), as_arrays(make_batch(0))
    state = distill_state(task, batch)
    assert state.key_encoder == {}
    new, metrics = jax.jit(task.train_step)(state, batch)
    moved = jax.tree.map(
        lambda a, b: bool((a != b).any()), state.params["teacher"], new.params["teacher"]
    )
    assert all(jax.tree.leaves(moved)) and np.isfinite(metrics["loss"])
