"""Tasks made from a run: what they take from its config and its clips, and what they refuse."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling
from input_pipeline.source import ClipSource, open_split
from sacd_jax import parallel
from sacd_jax.config import EncoderConfig, ObjectiveConfig, OptimizerConfig, RunConfig
from sacd_jax.runs import model_file
from sacd_jax.tasks import task as task_module
from sacd_jax.tasks.by_name import TASKS
from sacd_jax.tasks.class_weights import class_weights, logit_offsets
from sacd_jax.tasks.classify import _rows
from sacd_jax.tasks.distill import Distill
from sacd_jax.tasks.modulation import Modulation
from sacd_jax.tasks.task import Setup, Task
from sacd_jax.training import teacher_outputs
from tests.input_pipeline.fake_nights import fake_dataset

COMMON = {
    "sampling": Sampling(moments=4),
    "batch_size": 16,
    "optimizer": OptimizerConfig(learning_rate=0.01),
}
EEG = EncoderConfig("mlp", {"width": 8, "embedding_dim": 12})
VIDEO = EncoderConfig("mlp", {"input_key": "video", "width": 8, "embedding_dim": 12})
CLASSIFY = RunConfig("classify", EEG, **COMMON)
DISTILL = RunConfig(
    "distill", VIDEO, EncoderConfig("mlp", pretrained="eeg"), ObjectiveConfig("ifd"), **COMMON
)
SEQUENCES = RunConfig(
    "classify",
    EncoderConfig("deepsleepnet", {"hidden": 8, "bottleneck": 4}),
    **{**COMMON, "batch_size": 12},
    batch_mode="sequences",
    consecutive_clips=3,
)
CONTEXT = dataclasses.replace(SEQUENCES, student=EncoderConfig("context"), embeddings_of="eeg")


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> tuple[ClipSource, Path]:
    """A train split, and a folder with a network of EEG."""
    folder = tmp_path_factory.mktemp("task")
    source = open_split(fake_dataset(folder), "train")
    task = made((source, folder), CLASSIFY)
    model_file.save(folder / "eeg", task.model(task.init(0).student()))
    return source, folder


def made(split, run: RunConfig, steps: int = 8, outputs=None) -> Task:
    source, folder = split
    return TASKS[run.task].make(run, source, parallel.make_mesh(), steps, folder, outputs)


def setup(split, run: RunConfig, outputs=None) -> Setup:
    return Setup.make(run, split[0], parallel.make_mesh(), split[1], outputs)


def test_weights_and_offsets_are_those_of_the_labels_it_learns_from(split):
    run = dataclasses.replace(CLASSIFY, class_weights="inverse", logit_adjustment=0.5)
    labels = split[0].table.stage
    counts = np.array([(labels == stage).sum() for stage in range(5)])
    assert counts.all() and counts.sum() < len(labels)  # some are unknown
    task = made(split, run)
    assert task.class_weights == class_weights("inverse", counts)
    assert task.logit_offsets == logit_offsets(0.5, counts)


def test_rates_and_milestones_count_updates(split):
    """Of two steps and 32 clips each."""
    recipe = OptimizerConfig(
        learning_rate=0.01,
        momentum=0.0,
        weight_decay=0.0,
        schedule="step",
        milestones=(0.5,),
        decay=0.1,
        per_batch=16,
    )
    run = dataclasses.replace(CLASSIFY, optimizer=recipe, accumulate=2)
    params = {"student": {"w": jnp.ones(1)}}
    for steps, factors in ((8, [1, 1, 0.1, 0.1]), (1, [0.1])):
        optimizer = setup(split, run).optimizer(steps)
        state, rates = optimizer.init(params), []
        for _ in factors:
            updates, state = optimizer.update(params, state, params)
            rates.append(-float(updates["student"]["w"][0]))
        np.testing.assert_allclose(rates, 0.02 * np.array(factors), rtol=1e-5)


def test_a_domain_is_a_subject_and_batches_hold_what_is_stored(split, monkeypatch):
    source, _ = split
    outputs = {"teacher_embedding": np.zeros((len(source), 2))}
    stored = {"embedding": np.ones((len(source), 3))}
    network = SimpleNamespace(outputs=lambda given: stored if given is source else {})
    monkeypatch.setattr(task_module, "clip_network", lambda run, siblings: network)
    sen = EncoderConfig("sen", {"domains": "subjects"})
    found = setup(split, dataclasses.replace(CLASSIFY, student=sen), outputs)
    subjects = np.unique(source.table.subject_id)
    assert found.student.options["domains"] == len(subjects)
    np.testing.assert_array_equal(subjects[found.extra["domain"]], source.table.subject_id)
    assert found.extra == outputs | stored | {"domain": found.extra["domain"]}
    assert set(setup(split, CLASSIFY).extra) == {"embedding"}


def test_a_model_says_what_it_learned_from(split):
    source, _ = split
    for run, method in ((CLASSIFY, "none: labels alone"), (DISTILL, "ifd")):
        inputs = setup(split, run).inputs(("video",))
        training = inputs["training"]
        assert training["distillation"] == method and training["clips"] == len(source)
        assert inputs["clips"] == {"frame_rate": 0.4, "height": 4, "width": 6}
    network = SimpleNamespace(identity="theirs")
    over = dataclasses.replace(setup(split, CLASSIFY), clip_network=network).inputs(())
    assert setup(split, CLASSIFY).inputs(("eeg",))["clips"] == {"eeg_rate": 125.0}
    assert over == {"clip_network": "theirs", "training": over["training"]}


@pytest.mark.parametrize(
    ("run", "over", "words"),
    [
        (CLASSIFY, False, None),
        (SEQUENCES, False, None),
        (CONTEXT, True, None),
        (dataclasses.replace(SEQUENCES, batch_mode="shuffled"), False, "sees a night in its order"),
        (dataclasses.replace(DISTILL, student=SEQUENCES.student), False, "found 'distill' with"),
        (dataclasses.replace(SEQUENCES, student=EEG), False, "mlp has none"),
        (CLASSIFY, True, "student mlp with embeddings_of None: expected the network context"),
        (CONTEXT, False, "student context with embeddings_of 'eeg': expected the network context"),
    ],
)
def test_students_and_batches_that_fit_each_other(split, monkeypatch, run, over, words):
    monkeypatch.setattr(task_module, "clip_network", lambda run, siblings: None)
    found = setup(split, run)
    if over:
        found = dataclasses.replace(found, clip_network=SimpleNamespace())
    if words is None:
        assert found.make_student().has_state == (run.batch_mode == "sequences")
    else:
        with pytest.raises(UserError, match=words):
            found.make_student()


def test_rows_of_a_state_are_sequences_and_gradients_are_modulated_for_half_of_the_run(split):
    assert (_rows(CLASSIFY), _rows(SEQUENCES)) == (16, 4)
    each = {"name": "mlp", "options": {"width": 8, "embedding_dim": 4}}
    fusion = EncoderConfig("fusion", {"first": each, "second": each})
    held = dataclasses.replace(CLASSIFY, student=fusion, ogm_ge=0.3)
    assert made(split, held, steps=9).modulation == Modulation(0.3, 4)
    assert made(split, CLASSIFY).modulation is None


def test_a_teacher_is_a_network_or_what_it_said(split):
    source, folder = split
    task = made(split, DISTILL)
    assert task.input_keys == ("video", "eeg") and task.teacher is not None
    labelled = int((source.table.stage >= 0).sum())
    assert task.init(0).buffers["steps_per_pass"] == labelled // 16 > 1
    said = {
        "teacher_embedding": np.zeros((len(source), 12), np.float32),
        "teacher_logits": np.zeros((len(source), 5), np.float32),
    }
    short = dataclasses.replace(DISTILL, batch_size=2 * labelled // 3)
    stored = made(split, short, outputs=said)
    assert stored.input_keys == ("video",) and stored.teacher is None
    state = stored.init(0)
    assert state.teacher == {} and state.buffers["steps_per_pass"] == 1
    ordered = model_file.Model("deepsleepnet", 5, {}, {"params": {"w": np.zeros(1, np.float32)}})
    model_file.save(folder / "ordered", ordered)
    teacher = EncoderConfig("deepsleepnet", pretrained="ordered")
    with pytest.raises(UserError, match="sees a night in its order, batches are mixed"):
        made(split, dataclasses.replace(DISTILL, teacher=teacher))


def test_a_teacher_of_other_eeg_is_refused(split):
    source, folder = split
    stored = model_file.load(folder / "eeg")
    assert stored.inputs["clips"] == {"eeg_rate": 125.0}
    for clips, words in [
        ({"eeg_rate": 125.0, "eeg_band_hz": [0.3, 4]}, r"eeg_band_hz \[0.3, 4\], .* has None"),
        ({"eeg_rate": 20.0}, "eeg_rate 20.0, this data set has 125.0: expected the same"),
        ({"eeg_rate": 125.0, "height": 8}, None),  # it does not look at the frames
        ({"frame_rate": 0.4, "height": 4, "width": 6}, None),  # of earlier versions
    ]:
        other = dataclasses.replace(stored, inputs={**stored.inputs, "clips": clips})
        model_file.save(folder / "other", other)
        teacher = dataclasses.replace(DISTILL.teacher, pretrained="other")
        run = dataclasses.replace(DISTILL, teacher=teacher)
        if words is None:
            made(split, run)
        else:
            with pytest.raises(UserError, match=words):
                made(split, run)
            with pytest.raises(UserError, match=words):
                teacher_outputs.identity(run, source, folder)


def test_a_step_alone_is_by_default_that_of_a_run_by_default():
    names = ("key_encoder_decay", "key_encoder_every", "teacher_trainable")
    fields = {field.name: field.default for field in dataclasses.fields(Distill)}
    assert {name: fields[name] for name in names} == {
        name: getattr(DISTILL, name) for name in names
    }
    assert (fields["unlabelled"], fields["pseudo_label_confidence"]) == (False, None)
