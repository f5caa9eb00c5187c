"""Every config file resolves, and what it names can be made; nothing is computed."""

import functools
import importlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import s3ve_baseline, s3ve_distill, s3ve_teacher
from input_pipeline.errors import UserError
from sacd_jax import models, objectives
from sacd_jax.config import EncoderConfig, Experiment, RunConfig, resolve
from sacd_jax.models.encoder import EncoderSpec, output_spec
from sacd_jax.objectives import DataSpec
from sacd_jax.tasks import optimizer

ROOT = Path(__file__).resolve().parent.parent

ARGUMENTS: dict[str, tuple[str, ...]] = {
    "demo": ("full", "miniature"),
    "s3ve_teacher": s3ve_teacher.TEACHERS,
    "s3ve_baseline": ("r2plus1d_18", "r3d_18"),
    "s3ve_distill": (
        "r3d_18",
        ",fitnet",
        *(f",,{teacher}" for teacher in s3ve_teacher.TEACHERS),
        *(f"r2plus1d_18,{method}" for method in objectives.available()),
    ),
    "s3ve_reverse": ("e", "g", "e,demo", "f,demo", "g,demo"),
    "s3ve_fusion": ("a", "b", "c", "a,demo", "d,demo"),
    "ucf51_distill": ("audio", "crd,r3d_18", *objectives.available()),
}
"""What is tried of each file beside its default."""


def config_of(file: str, *argument: str) -> ConfigDict:
    config = importlib.import_module(f"configs.{file}").get_config(*argument)
    if config.dataset.name == "ucf51":
        config.dataset.ucf51.embeddings = "features.tar.gz"
    return config


def batch_of(experiment: Experiment, run: RunConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes of a batch as the networks of a run see it."""
    data = experiment.dataset
    stored = data.ucf51 or data.clips
    height, width = run.augment.crop or (stored.height, stored.width)
    frames = run.sampling.moments * len(run.sampling.lags_s)
    video = (run.batch_size, frames, height, width, 3 if data.ucf51 else 1)
    return {
        "video": jax.ShapeDtypeStruct(video, jnp.uint8),
        "eeg": jax.ShapeDtypeStruct((run.batch_size, data.clips.samples), jnp.float32),
        "audio_embedding": jax.ShapeDtypeStruct((run.batch_size, 512), jnp.float32),
    }


@functools.cache
def spec(network: str, classes: int, options: str, batch: tuple[Any, ...]) -> EncoderSpec:
    return output_spec(models.create(network, classes, **json.loads(options)), dict(batch))


def spec_of(
    encoder: EncoderConfig, classes: int, batch: dict[str, jax.ShapeDtypeStruct]
) -> EncoderSpec:
    options = dict(encoder.options)
    if options.get("domains") == "subjects":  # known once there are data
        options["domains"] = 80
    return spec(encoder.name, classes, json.dumps(options), tuple(batch.items()))


def check(experiment: Experiment) -> None:
    classes = 51 if experiment.dataset.ucf51 else 5
    for run in experiment.runs.values():
        batch = batch_of(experiment, run)
        student = spec_of(run.student, classes, batch)
        assert student.num_classes == classes
        optimizer.make(run.optimizer, total_steps=100)
        if run.task == "classify":
            continue
        assert run.teacher is not None and run.objective is not None
        lender = experiment.runs[run.teacher.pretrained]
        assert lender.student.name == run.teacher.name
        teacher = spec_of(lender.student, classes, batch)
        objective = objectives.create(
            run.objective.name, run.objective.weights, **run.objective.options
        )
        labels = np.arange(1000, dtype=np.int32) % classes
        data = DataSpec(len(labels), labels, classes, run.batch_size, 1000 // run.batch_size)
        init = functools.partial(
            objective.init, student_spec=student, teacher_spec=teacher, data_spec=data
        )
        jax.eval_shape(init, jax.random.key(0))


@pytest.mark.parametrize(
    "file", sorted(path.stem for path in (ROOT / "configs").glob("*.py") if path.stem[0] != "_")
)
def test_what_a_config_names_can_be_made(file: str) -> None:
    check(resolve(config_of(file)))
    for argument in ARGUMENTS[file]:
        check(resolve(config_of(file, argument)))


def test_the_students_of_a_distillation_differ_in_the_objective_alone() -> None:
    for method in objectives.available():
        runs = resolve(s3ve_distill.get_config(f"r3d_18,{method}")).runs
        assert list(runs) == ["teacher", "baseline", method]
        assert (
            replace(
                runs[method], task="classify", teacher=None, objective=None, teacher_cache=False
            )
            == runs["baseline"]
        )
        assert runs["baseline"] == resolve(s3ve_baseline.get_config("r3d_18")).runs[""]
        assert runs["teacher"] == resolve(s3ve_teacher.get_config("attnsleep")).runs[""]


def test_written_out_options_are_the_methods_own() -> None:
    for method in objectives.available():
        objective = resolve(s3ve_distill.get_config(f",{method}")).runs[method].objective
        assert objective is not None
        made = objectives.create(method, objective.weights, **objective.options)
        assert vars(made) == vars(objectives.create(method))


def test_recorded_nights_follow_the_papers_settings() -> None:
    runs = resolve(s3ve_distill.get_config()).runs
    sacd, teacher = runs["sacd"], runs["teacher"]
    assert sacd.student.name == "r2plus1d_18" and sacd.objective is not None
    assert sacd.objective.weights == {"graph": 0.5, "contrast": 1.0, "jsd": 1.0}
    rate = optimizer.schedule(sacd.optimizer, 8000)
    np.testing.assert_allclose(
        [rate(0), rate(3999), rate(4001), rate(6001)], [1e-3, 1e-3, 1e-4, 1e-5]
    )
    rate = optimizer.schedule(teacher.optimizer, 5800)
    np.testing.assert_allclose(
        [rate(0), rate(999), rate(1001), rate(5799)], [1e-3, 1e-3, 1e-4, 1e-4]
    )


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("s3ve_teacher.py:sleepnet", "teacher 'sleepnet' has no recipe: expected attnsleep"),
        ("s3ve_baseline.py:r3d_19", "encoder 'r3d_19' is not known: did you mean 'r3d_18'?"),
        ("s3ve_baseline.py:attnsleep", "student 'attnsleep' sees no video"),
        ("s3ve_distill.py:r3d_18,sacd,psg", "teacher 'psg' has no recipe: expected attnsleep"),
        ("s3ve_distill.py:a,b,c,d", "expected STUDENT,METHOD,TEACHER"),
        ("s3ve_reverse.py:h", "experiment 'h': expected e, f, g"),
        ("s3ve_fusion.py:d,tiny", "size 'tiny': expected paper or demo"),
        ("s3ve_distill.py:r3d_18,sacdd", "objective 'sacdd' is not known: did you mean 'sacd'?"),
    ],
)
def test_an_unknown_choice_is_one_line(file: str, words: str) -> None:
    name, _, argument = file.partition(".py:")
    with pytest.raises(UserError, match=words.replace("?", r"\?")):
        config_of(name, argument)


COMMAND = ("sacd_jax.train", "--config=configs/s3ve_distill.py:r3d_18,crd")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "error: manifest nights.csv: no such file"),
        (["--config=s3ve_teacher.py:sleepnet"], "error: teacher 'sleepnet' has no recipe"),
    ],
)
def test_the_manifest_is_named_on_the_command_line(
    run_python, tmp_path: Path, arguments: list[str], words: str
) -> None:
    result = run_python(
        *COMMAND, f"--workdir={tmp_path}", *arguments, check=False, cwd=tmp_path, devices=1
    )
    assert result.returncode == 1
    assert result.stderr.startswith(words) and result.stderr.count("\n") == 1


def test_teachers_learn_by_their_own_recipes() -> None:
    runs = resolve(s3ve_teacher.get_config("deepsleepnet")).runs
    assert list(runs) == ["deepsleepnet_features", "deepsleepnet"]
    first, second = runs.values()
    assert (first.batch_mode, first.batch_size, first.passes) == ("balanced", 100, 100)
    assert (second.batch_mode, second.group_size, second.batch_size) == ("sequences", 25, 250)
    assert second.student.parts == {"features": "deepsleepnet_features"}
    rates = second.optimizer
    assert rates.learning_rate * rates.factors["features"] == pytest.approx(1e-6)
    assert (rates.learning_rate, rates.clip_norm) == (1e-4, 10.0)
    sen = resolve(s3ve_teacher.get_config("sen")).runs[""]
    assert sen.student.options["domains"] == "subjects" and sen.batch_size == 64
