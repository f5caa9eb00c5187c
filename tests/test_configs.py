"""Every config file resolves, and what it names can be made; nothing is computed."""

import functools
import json
from dataclasses import MISSING, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import s3ve_baseline, s3ve_distill, s3ve_teacher
from input_pipeline.errors import UserError
from input_pipeline.fingerprints import fingerprint
from sacd_jax import models, objectives
from sacd_jax.command_line import load_config
from sacd_jax.config import EncoderConfig, Experiment, ObjectiveConfig, RunConfig
from sacd_jax.models.encoder import EncoderSpec, output_spec
from sacd_jax.models.lags import with_lags
from sacd_jax.objectives import DataSpec
from sacd_jax.schema import as_json
from sacd_jax.sweeps.sweep_config import SweepConfig
from sacd_jax.tasks import optimizer
from sacd_jax.training import rival

ROOT = Path(__file__).resolve().parent.parent

CHOICES: dict[str, tuple[str, ...]] = {
    "demo": ("miniature", "size=miniature,seed=1"),
    "context": ("miniature", "size=miniature,seed=1"),
    "s3ve_teacher": tuple(f"teacher={teacher}" for teacher in s3ve_teacher.TEACHERS),
    "s3ve_baseline": ("r2plus1d_18", "student=r3d_18", "batch=256"),
    "s3ve_distill": (
        "r3d_18",
        "method=fitnet",
        *(f"teacher={teacher}" for teacher in s3ve_teacher.TEACHERS),
        *(f"student=r2plus1d_18,method={method}" for method in objectives.available()),
    ),
    "s3ve_reverse": ("e", "g", *(f"experiment={letter},size=demo" for letter in "efg")),
    "s3ve_fusion": ("a", "b", "c", "experiment=a,size=demo", "experiment=d,size=demo"),
    "ucf51_distill": (
        "audio",
        "method=crd,student=r3d_18",
        *(f"method={method}" for method in objectives.available()),
    ),
}
"""What is tried of each file beside its default."""


def config_of(file: str, choices: str = "") -> Experiment:
    return load_config(f"configs/{file}.py:{choices}", Experiment)


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
        "clip_embedding": jax.ShapeDtypeStruct((run.batch_size, 512), jnp.float32),
        "clip_logits": jax.ShapeDtypeStruct((run.batch_size, 5), jnp.float32),
    }


@functools.cache
def spec(network: str, classes: int, options: str, batch: tuple[Any, ...]) -> EncoderSpec:
    return output_spec(models.create(network, classes, **json.loads(options)), dict(batch))


def spec_of(
    encoder: EncoderConfig, classes: int, batch: dict[str, jax.ShapeDtypeStruct], lags: int
) -> EncoderSpec:
    options = dict(encoder.options)
    if options.get("domains") == "subjects":  # known once there are data
        options["domains"] = 80
    options = with_lags(encoder.name, options, lags)
    return spec(encoder.name, classes, json.dumps(options), tuple(batch.items()))


def check(experiment: Experiment) -> None:
    classes = 51 if experiment.dataset.ucf51 else 5
    for run in experiment.runs.values():
        if run.task == "boost":
            assert run.student.name == rival.NAME
            continue
        batch = batch_of(experiment, run)
        lags = len(run.sampling.lags_s)
        student = spec_of(run.student, classes, batch, lags)
        assert student.num_classes == classes
        assert run.embeddings_of is None or run.embeddings_of in experiment.runs
        optimizer.make(run.optimizer, total_steps=100)
        if run.task == "classify":
            continue
        assert run.teacher is not None and run.objective is not None
        lender = experiment.runs[run.teacher.pretrained]
        assert lender.student.name == run.teacher.name
        teacher = spec_of(lender.student, classes, batch, lags)
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
    check(config_of(file))
    for choices in CHOICES[file]:
        check(config_of(file, choices))


def test_the_students_of_a_distillation_differ_in_the_objective_alone() -> None:
    for method in objectives.available():
        runs = s3ve_distill.get_config("r3d_18", method).runs
        assert list(runs) == ["teacher", "baseline", method]
        assert (
            replace(
                runs[method], task="classify", teacher=None, objective=None, teacher_cache=False
            )
            == runs["baseline"]
        )
        assert runs["baseline"] == s3ve_baseline.get_config("r3d_18").runs[""]
        assert runs["teacher"] == s3ve_teacher.get_config("attnsleep").runs[""]


def test_written_out_options_are_the_methods_own() -> None:
    for method in objectives.available():
        objective = s3ve_distill.get_config(method=method).runs[method].objective
        assert objective is not None
        made = objectives.create(method, objective.weights, **objective.options)
        assert vars(made) == vars(objectives.create(method))


def test_recorded_nights_follow_the_papers_settings() -> None:
    runs = s3ve_distill.get_config().runs
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
        ("s3ve_teacher.py:sleepnet", "teacher 'sleepnet' has no recipe: did you mean 'deepsleepn"),
        ("s3ve_teacher.py:teachr=sen", "choice 'teachr' is not known: did you mean 'teacher'?"),
        ("s3ve_baseline.py:r3d_19", "encoder 'r3d_19' is not known: did you mean 'r3d_18'?"),
        ("s3ve_baseline.py:attnsleep", "student 'attnsleep' sees no video"),
        ("s3ve_distill.py:teacher=psg", "teacher 'psg' has no recipe: expected one of attnsleep"),
        ("s3ve_distill.py:r3d_18,crd", "choice 'crd': expected NAME=VALUE"),
        ("s3ve_distill.py:method=sacdd", "objective 'sacdd' is not known: did you mean 'sacd'?"),
        ("s3ve_reverse.py:h", "experiment 'h' is not known: expected one of e, f, g"),
        ("s3ve_fusion.py:size=dem", "size 'dem' is not known: did you mean 'demo'?"),
        ("ucf51_distill.py:sacdd", "method 'sacdd' is not known: did you mean 'sacd'?"),
        ("ucf51_distill.py:student=r3d_19", "student 'r3d_19' is not known: did you mean 'r3d_1"),
    ],
)
def test_an_unknown_choice_is_one_line(file: str, words: str) -> None:
    with pytest.raises(UserError) as error:
        load_config(f"configs/{file}", Experiment)
    assert str(error.value).startswith(words) and "\n" not in str(error.value)


COMMAND = ("sacd_jax.train", "--config=configs/s3ve_distill.py:student=r3d_18,method=crd")


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
    runs = s3ve_teacher.get_config("deepsleepnet").runs
    assert list(runs) == ["deepsleepnet_features", "deepsleepnet"]
    first, second = runs.values()
    assert (first.batch_mode, first.batch_size, first.passes) == ("balanced", 100, 100)
    assert (second.batch_mode, second.batch_size) == ("sequences", 250)
    assert second.consecutive_clips == 25
    assert second.student.parts == {"features": "deepsleepnet_features"}
    rates = second.optimizer
    assert rates.learning_rate * rates.factors["features"] == pytest.approx(1e-6)
    assert (rates.learning_rate, rates.clip_norm) == (1e-4, 10.0)
    sen = s3ve_teacher.get_config("sen").runs[""]
    assert sen.student.options["domains"] == "subjects" and sen.batch_size == 64


def said(value: Any) -> Any:
    """What a config says beyond the defaults, so that a new setting or option moves no golden."""
    if isinstance(value, ObjectiveConfig):
        own = vars(objectives.create(value.name))
        options = {name: found for name, found in value.options.items() if found != own[name]}
        return [value.name, as_json(options), as_json(value.weights)]
    if is_dataclass(value):
        default = {
            f.name: f.default if f.default_factory is MISSING else f.default_factory()
            for f in fields(value)
        }
        found = {name: getattr(value, name) for name in default}
        return {name: said(found[name]) for name in default if found[name] != default[name]}
    return {k: said(v) for k, v in value.items()} if isinstance(value, dict) else as_json(value)


GOLDEN = Path(__file__).parent / "golden" / "configs.json"
"""File:choices -> fingerprint of what it says; `python -m tests.test_configs` writes it anew."""


def fingerprints() -> dict[str, str]:
    found = {
        f"{file}:{choices}": fingerprint(said(config_of(file, choices)))[:16]
        for file, tried in CHOICES.items()
        for choices in ("", *tried)
    }
    for file in sorted(path.stem for path in (ROOT / "configs" / "sweeps").glob("*.py")):
        if file not in ("__init__", "settings"):
            for choices in ("",) if file == "table3" else ("", "size=demo"):
                sweep = said(load_config(f"configs/sweeps/{file}.py:{choices}", SweepConfig))
                for row, each in {"": sweep, **sweep.pop("rows")}.items():
                    found[f"sweeps/{file}:{choices} {row}".strip()] = fingerprint(each)[:16]
    return found


def test_every_config_still_says_what_it_said() -> None:
    """A run of an earlier commit must stay the run of that name: goldens move on purpose only."""
    golden, found = json.loads(GOLDEN.read_text()), fingerprints()
    assert {name: found.get(name) for name in golden} == golden  # a new method adds to them


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps(fingerprints(), indent=1) + "\n")
