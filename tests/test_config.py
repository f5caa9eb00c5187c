"""Runs and experiments: every setting is in its range and fits the others, or one line says so."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from configs import demo
from input_pipeline.datasets import DatasetSettings
from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling
from sacd_jax.command_line import override
from sacd_jax.config import (
    ClassWeights,
    EncoderConfig,
    Experiment,
    ObjectiveConfig,
    RunConfig,
    as_json,
    build,
)
from sacd_jax.tasks.class_weights import class_weights

DATASET = DatasetSettings("s3ve", manifest=Path("nights.csv"))


def run_values(**changes):
    return {"task": "classify", "student": {"name": "mlp"}, **changes}


def test_a_run_survives_json() -> None:
    for run in demo.get_config().runs.values():
        assert build(RunConfig, json.loads(json.dumps(as_json(run)))) == run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_sise": 3}, "config.batch_sise is no setting: did you mean 'batch_size'?"),
        ({"batch_size": "many"}, "config.batch_size is 'many', expected int"),
        ({"batch_size": True}, "config.batch_size is True, expected int"),
        ({"batch_size": 0}, "config.batch_size is 0, expected at least 1"),
        ({"eval_batch_size": 0}, "config.eval_batch_size is 0, expected at least 1"),
        ({"consecutive_clips": -4}, "config.consecutive_clips is -4, expected at least 1"),
        ({"passes": -1}, "config.passes is -1, expected more than 0"),
        ({"passes": float("nan")}, "config.passes is nan, expected a finite number"),
        ({"seed": -1}, "config.seed is -1, expected 0 to 2147483647"),
        ({"seed": 2**31}, "config.seed is 2147483648, expected 0 to 2147483647"),
        ({"log_every_steps": 0}, "config.log_every_steps is 0, expected at least 1"),
        ({"checkpoint_every_passes": 0}, "config.checkpoint_every_passes is 0, expected more"),
        ({"evaluate_every_passes": 0}, "config.evaluate_every_passes is 0, expected more than"),
        ({"key_encoder_decay": 1.1}, "config.key_encoder_decay is 1.1, expected 0 to 1"),
        ({"class_weights": "invers"}, "config.class_weights is 'invers': did you mean 'inverse'?"),
        ({"select": "bst"}, "config.select is 'bst': did you mean 'best'?"),
        ({"task": "learn"}, "config.task is 'learn': expected one of classify, distill"),
        ({"batch_mode": "sorted"}, "config.batch_mode is 'sorted', expected one of shuffled, bal"),
        ({"task": "distill"}, "config: teacher is not set, expected for task 'distill'"),
        ({"objective": {"name": "sacd"}}, "config: objective is set, but task is 'classify'"),
        ({"teacher_cache": True}, "config: teacher_cache is set, but task 'classify' has no"),
        ({"batch_mode": "contiguous", "batch_size": 20}, "config: batch_size is 20, expected a mu"),
        ({"data_shares": 3}, "config: data_shares is 3, expected a divisor of the 16 clips"),
        ({"data_shares": 2, "batch_mode": "balanced"}, "config: data_shares is 2, but batch_mode"),
        ({"student": "mlp"}, "config.student is 'mlp', expected settings"),
        ({"student": {}}, "config.student.name is not set"),
        ({"student": {"name": ""}}, "config.student.name is '', expected a name"),
        ({"optimizer": {"name": "sdg"}}, "config.optimizer.name is 'sdg': did you mean 'sgd'?"),
        ({"optimizer": {"schedule": "x"}}, "config.optimizer.schedule is 'x': expected one of con"),
        ({"optimizer": {"learning_rate": -1}}, "config.optimizer.learning_rate is -1, expected"),
        ({"optimizer": {"clip_norm": float("inf")}}, "config.optimizer.clip_norm is inf, expected"),
        ({"optimizer": {"decay": float("nan")}}, "config.optimizer.decay is nan, expected a fini"),
        ({"optimizer": {"momentum": 1}}, "config.optimizer.momentum is 1, expected 0 to less"),
        ({"optimizer": {"warmup": 2}}, "config.optimizer.warmup is 2, expected 0 to 1"),
        ({"optimizer": {"weight_decay": -1}}, "config.optimizer.weight_decay is -1, expected 0"),
        ({"optimizer": {"factors": {"a": -1}}}, "config.optimizer.factors.a is -1, expected 0 o"),
        ({"optimizer": {"milestones": 0.5}}, "config.optimizer.milestones is 0.5, expected a tu"),
        ({"optimizer": {"milestones": (2,)}}, "config.optimizer.milestones[0] is 2, expected 0"),
        ({"augment": {"crop": (40,)}}, "config.augment.crop is (40,), expected (height, width)"),
        ({"augment": {"crop": (0, 4)}}, "config.augment.crop is (0, 4), expected (height, width)"),
        ({"augment": {"flip": 1.5}}, "config.augment.flip is 1.5, expected 0 to 1"),
        ({"augment": {"scale": (0.5,)}}, "config.augment.scale is (0.5,), expected two ascending"),
        ({"augment": {"scale": (0.5, 1)}}, "config.augment: scale is set, but crop or ratio is no"),
        ({"augment": {"ratio": (2, 1)}}, "config.augment.ratio is (2, 1), expected two ascen"),
        ({"sampling": {"moments": 0}}, "config.sampling: moments 0: expected 1 or more"),
    ],
)
def test_wrong_settings_are_named(changes, words: str) -> None:
    with pytest.raises(UserError) as error:
        build(RunConfig, run_values(**changes))
    assert str(error.value).startswith(words)


def test_the_number_of_frames_a_moment_stands_in_one_place() -> None:
    three = Sampling(moments=6, lags_s=(0, 0.5, 1))
    plain = EncoderConfig("r2plus1d_small", {"pool": True})
    said_twice = EncoderConfig("r2plus1d_small", {"pool": True, "lags": 3})
    run = RunConfig("classify", said_twice, sampling=three)
    # Runs of earlier versions said it twice.
    assert run == RunConfig("classify", plain, sampling=three)
    words = "student.options.lags is 3, but sampling.lags_s has 1: expected lags_s alone"
    with pytest.raises(UserError, match=words):
        RunConfig("classify", said_twice, sampling=Sampling(moments=18))
    part = {"name": "r2plus1d_small", "options": said_twice.options}
    with pytest.raises(UserError, match=r"student.options.first.options.lags is 3"):
        RunConfig("classify", EncoderConfig("fusion", {"first": part}))


SACD = RunConfig(
    "distill",
    EncoderConfig("mlp"),
    EncoderConfig("mlp", pretrained="teacher"),
    ObjectiveConfig("sacd", {"clips_per_graph": 4}),
    batch_mode="contiguous",
    batch_size=8,
    consecutive_clips=2,
)


def test_settings_are_known_by_their_former_names() -> None:
    stored = json.loads(json.dumps(as_json(SACD)))
    stored["group_size"] = stored.pop("consecutive_clips")
    stored["objective"]["options"] = {"group_size": 4}
    assert build(RunConfig, stored) == SACD
    experiment = Experiment(DATASET, {"sacd": SACD, "plain": RunConfig("classify", SACD.student)})
    every = override(experiment, [("group_size", "4"), ("batch_size", "16")])
    assert [run.consecutive_clips for run in every.runs.values()] == [4, 4]
    one = override(experiment, [("runs.plain.group_size", "3")])
    assert [run.consecutive_clips for run in one.runs.values()] == [2, 3]
    bare = replace(SACD, objective=ObjectiveConfig("sacd"))
    option = ("runs.sacd.objective.options.group_size", "8")
    (run,) = override(Experiment(DATASET, {"sacd": bare}), [option]).runs.values()
    assert run.objective == ObjectiveConfig("sacd", {"clips_per_graph": 8})
    with pytest.raises(UserError, match="options.group_size was renamed to clips_per_graph: exp"):
        override(experiment, [option])
    with pytest.raises(UserError, match="config.group_size was renamed to consecutive_clips"):
        build(RunConfig, {**as_json(SACD), "group_size": 2})
    assert ObjectiveConfig("pkt", {"group_size": 4}).options == {"group_size": 4}


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "*"])
def test_a_run_has_a_name_for_folders_and_paths(name: str) -> None:
    run = RunConfig("classify", EncoderConfig("mlp"))
    with pytest.raises(UserError, match="runs has '.*', expected a name of letters, digits"):
        Experiment(DATASET, {"teacher": run, name: run})
    assert list(Experiment(DATASET, {"second-stage": run}).runs) == ["second-stage"]
    with pytest.raises(UserError, match="runs is empty"):
        Experiment(DATASET, {})


def test_the_rules_of_class_weights_are_those_that_there_are() -> None:
    for rule in get_args(ClassWeights):
        class_weights(rule, np.array([10, 20, 30, 20, 5]))
