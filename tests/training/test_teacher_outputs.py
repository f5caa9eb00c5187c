"""Stored outputs of a teacher: the same training as with its network, never another teacher's."""

import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file

from input_pipeline.digests import write_verified_json
from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling
from input_pipeline.source import open_split
from sacd_jax import cache_teacher, models, parallel
from sacd_jax.config import EncoderConfig, ObjectiveConfig, OptimizerConfig, RunConfig
from sacd_jax.models.encoder import forward
from sacd_jax.runs import log, model_file, run_folder
from sacd_jax.tasks.by_name import TASKS
from sacd_jax.training import teacher_outputs
from sacd_jax.training.loop import train
from sacd_jax.training.meters import CLOCK
from tests.input_pipeline.fake_nights import fake_dataset

COMMON = {
    "sampling": Sampling(moments=4),
    "batch_size": 16,
    "passes": 2.0,
    "log_every_steps": 1,
    "optimizer": OptimizerConfig(learning_rate=0.01),
}
TEACHER = RunConfig("classify", EncoderConfig("mlp", {"width": 8, "embedding_dim": 12}), **COMMON)
STUDENT = EncoderConfig("mlp", {"input_key": "video", "width": 8, "embedding_dim": 12})

OBJECTIVES = {
    # Between them they read embedding, logits and stages.
    "sacd": ObjectiveConfig(
        "sacd", {"clips_per_graph": 4, "bank_size": 24, "hardest": 8}, {"graph": 0.0}
    ),
    "ifd": ObjectiveConfig("ifd", {}),
}


def distilling(objective: str, cached: bool) -> RunConfig:
    teacher = EncoderConfig("mlp", pretrained="teacher")
    method = OBJECTIVES[objective]
    return RunConfig("distill", STUDENT, teacher, method, teacher_cache=cached, **COMMON)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[Path, Path]:
    """A built data set, and the folder of runs with a finished teacher."""
    folder = tmp_path_factory.mktemp("experiment")
    dataset = fake_dataset(folder)
    train(TEACHER, folder / "runs" / "teacher", dataset)
    return dataset, folder / "runs"


@pytest.fixture
def runs(experiment, tmp_path) -> tuple[Path, Path]:
    """A copy of them without a cache."""
    dataset, finished = experiment
    ignored = shutil.ignore_patterns("teacher_cache")
    shutil.copytree(finished / "teacher", tmp_path / "teacher", ignore=ignored)
    return dataset, tmp_path


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_training_with_the_cache_equals_training_without(runs, objective):
    dataset, folder = runs
    for name, cached in (("network", False), ("cache", True)):
        train(distilling(objective, cached), folder / name, dataset)
    network, cache = (log.read(folder / name).lines for name in ("network", "cache"))
    assert len(network) == len(cache) == 10  # 8 steps, 2 validations
    clock = CLOCK | {"split"}
    for one, other in zip(network, cache, strict=True):
        assert one.keys() == other.keys()
        values = {key: one[key] for key in one.keys() - clock}
        assert values == pytest.approx({key: other[key] for key in values}, rel=1e-4, abs=1e-6)
    weights = [
        load_file(folder / name / "model" / model_file.FILE_NAME) for name in ("network", "cache")
    ]
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=1e-4, atol=1e-6)


def test_neither_the_network_nor_its_input_is_needed(runs):
    dataset, folder = runs
    source, mesh = open_split(dataset, "train"), parallel.make_mesh()
    run = distilling("ifd", True)
    stored = teacher_outputs.outputs(run, source, mesh, folder)
    task = TASKS[run.task].make(run, source, mesh, 10, folder, stored)
    assert task.input_keys == ("video",)
    assert jax.tree.leaves(task.init(0).teacher) == []


def test_rows_are_what_the_network_says_of_them(runs):
    dataset, folder = runs
    source = open_split(dataset, "train")
    stored = teacher_outputs.outputs(distilling("ifd", True), source, parallel.make_mesh(), folder)
    assert set(stored) == {"teacher_embedding", "teacher_logits", "teacher_stage_0"}
    model = model_file.load(folder / "teacher")
    encoder = models.create(model.encoder, model.num_classes, **model.options)
    eeg = np.stack([source[row]["eeg"] for row in range(len(source))])
    output, _ = forward(encoder, model.variables, {"eeg": eeg}, train=False)
    np.testing.assert_allclose(stored["teacher_embedding"], output.embedding, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stored["teacher_logits"], output.logits, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(stored["teacher_stage_0"], output.stages[0], rtol=1e-4, atol=1e-5)


def test_a_cache_of_other_weights_or_other_data_is_refused(runs):
    dataset, folder = runs
    source, mesh, run = open_split(dataset, "train"), parallel.make_mesh(), distilling("ifd", True)
    teacher_outputs.outputs(run, source, mesh, folder)
    other = open_split(dataset, "validation")
    cache = folder / "teacher" / "teacher_cache"
    shutil.copytree(cache / "train", cache / "validation")
    with pytest.raises(UserError, match="made from other data .*compute it again"):
        teacher_outputs.outputs(run, other, mesh, folder)

    model = model_file.load(folder / "teacher")
    model.variables["params"]["classifier"]["bias"][0] += 1e-6
    model_file.save(folder / "teacher" / "model", model)
    with pytest.raises(UserError, match="made from other weights .*compute it again"):
        teacher_outputs.outputs(run, source, mesh, folder)


def test_the_command_fills_keeps_and_replaces(runs, capsys):
    dataset, folder = runs
    teacher = folder / "teacher"
    values = run_folder.read_config(teacher)
    write_verified_json(teacher / "config.json", values | {"dataset": str(dataset)})
    cache_teacher.main(["--workdir", str(teacher)])
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 9 and "float32" in printed[0]
    first = np.load(teacher / "teacher_cache" / "test" / "teacher_logits.npy")

    cache_teacher.main(["--workdir", str(teacher), "--split", "test"])
    words = capsys.readouterr()
    assert words.out == "" and "kept" in words.err

    model = model_file.load(teacher)
    model.variables["params"]["classifier"]["bias"][0] += 1
    model_file.save(teacher / "model", model)
    cache_teacher.main(["--workdir", str(teacher), "--split", "test"])
    second = np.load(teacher / "teacher_cache" / "test" / "teacher_logits.npy")
    np.testing.assert_allclose(second - first, [[1, 0, 0, 0, 0]] * len(first), atol=1e-5)


@pytest.mark.slow
def test_a_network_with_a_state_goes_through_each_night_in_order(experiment, tmp_path):
    dataset, _ = experiment
    source = open_split(dataset, "test")
    encoder = models.create("deepsleepnet", 5, hidden=4, bottleneck=6, eeg_scale=30.0)
    first = {"eeg": np.zeros((1, 1, 3750), np.float32)}
    variables = encoder.init(jax.random.key(0), first, train=False)
    options = {"hidden": 4, "bottleneck": 6, "eeg_scale": 30.0}
    model = model_file.Model("deepsleepnet", 5, options, variables)
    run = replace(TEACHER, eval_batch_size=50)
    teacher_outputs.store(tmp_path / "cache", model, source, run, parallel.make_mesh())
    found = np.load(tmp_path / "cache" / "teacher_logits.npy")

    apply = jax.jit(lambda batch: encoder.apply(variables, batch, train=False))
    for night in source.table.runs():  # unbroken pieces: each is shorter than a sequence
        eeg = np.zeros((1, 25, 3750), np.float32)  # padded as the loader does
        eeg[0, : len(night)] = [source[row]["eeg"] for row in night]
        np.testing.assert_allclose(
            found[night], apply({"eeg": eeg}).logits[: len(night)], rtol=1e-3, atol=1e-4
        )


def test_a_teacher_that_reads_video_cannot_be_stored(experiment, tmp_path):
    dataset, _ = experiment
    source = open_split(dataset, "test")
    model = model_file.Model("mlp", 5, STUDENT.options, {})
    with pytest.raises(UserError, match="teacher mlp reads video, .* cannot be stored"):
        teacher_outputs.store(tmp_path / "c", model, source, TEACHER, parallel.make_mesh())
    assert list(tmp_path.iterdir()) == []
