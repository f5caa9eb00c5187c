"""Configs: every key is known, typed and consistent, or one line says which is not."""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import demo
from input_pipeline.datasets import DatasetSettings
from input_pipeline.errors import UserError
from sacd_jax import config as configs
from sacd_jax.config import (
    OptimizerConfig,
    RunConfig,
    as_json,
    build,
    find_config_file,
    resolve,
    with_defaults,
)


def run_values(**changes):
    return {"task": "classify", "student": {"name": "mlp"}, **changes}


def test_demo_resolves_and_its_runs_stand_in_order():
    for size in ("full", "miniature"):
        experiment = resolve(demo.get_config(size))
        assert list(experiment.runs) == ["teacher", "baseline", "sacd"]
        assert experiment.dataset.simulation.nights >= 12
        sacd, baseline = experiment.runs["sacd"], experiment.runs["baseline"]
        # The two differ in the objective alone.
        assert sacd.student == baseline.student and sacd.optimizer == baseline.optimizer
        assert sacd.passes == baseline.passes and sacd.batch_size == baseline.batch_size


def test_a_run_survives_json():
    run = resolve(demo.get_config()).runs["sacd"]
    assert build(RunConfig, json.loads(json.dumps(as_json(run)))) == run


def test_one_training_needs_no_runs():
    experiment = resolve(
        ConfigDict({"dataset": {"name": "s3ve", "manifest": "nights.csv"}, **run_values()})
    )
    assert list(experiment.runs) == [""]
    assert experiment.dataset.manifest == Path("nights.csv")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_sise": 3}, "config.batch_sise is no setting: did you mean 'batch_size'?"),
        ({"batch_size": "many"}, "config.batch_size is 'many', expected int"),
        ({"batch_size": True}, "config.batch_size is True, expected int"),
        ({"batch_size": 0}, "config.batch_size is 0, expected at least 1"),
        ({"passes": -1}, "config.passes is -1.0, expected more than 0"),
        ({"task": "learn"}, "config.task is 'learn', expected one of"),
        ({"task": "distill"}, "config.teacher is not set, expected for task 'distill'"),
        ({"objective": {"name": "sacd"}}, "config.objective is set, but task is 'classify'"),
        ({"student": "mlp"}, "config.student is 'mlp', expected a group of settings"),
        ({"student": {}}, "config.student.name is not set"),
        (
            {"optimizer": {"milestones": 0.5}},
            "config.optimizer.milestones is 0.5, expected a tuple",
        ),
        (
            {"augment": {"crop": (40,)}},
            r"config.augment.crop is \(40,\), expected \(height, width\)",
        ),
        ({"batch_mode": "sorted"}, "config.batch_mode is 'sorted', expected"),
    ],
)
def test_wrong_settings_are_named(changes, words):
    values = {"dataset": {"name": "s3ve", "manifest": "nights.csv"}, **run_values(**changes)}
    with pytest.raises(UserError, match=words):
        resolve(ConfigDict(values))


def test_settings_beside_runs_are_refused():
    values = {
        "dataset": {"name": "s3ve", "manifest": "a.csv"},
        "runs": {"a": run_values()},
        "seed": 1,
    }
    with pytest.raises(UserError, match="config.seed stands beside config.runs"):
        resolve(ConfigDict(values))


def test_defaults_are_filled_in_at_every_depth():
    filled = with_defaults(RunConfig, run_values(optimizer={"learning_rate": 0.5}))
    assert filled["optimizer"] == {**as_json(OptimizerConfig()), "learning_rate": 0.5} | {
        "milestones": (0.5, 0.75)
    }
    assert filled["batch_size"] == RunConfig.batch_size and "teacher" not in filled
    assert with_defaults(DatasetSettings, {"name": "s3ve"})["clips"]["frame_rate"] == 2.0


def test_a_run_has_a_name_that_the_command_line_can_set():
    config = demo.get_config()
    config.runs["second-stage"] = config.runs.sacd
    config.order = (*config.order, "second-stage")
    with pytest.raises(UserError, match="config.runs has 'second-stage', expected a name of"):
        resolve(config)


def test_order_must_name_the_runs():
    values = {
        "dataset": {"name": "s3ve", "manifest": "a.csv"},
        "runs": {"a": run_values()},
        "order": ("b",),
    }
    with pytest.raises(UserError, match="config.order is .*expected the names in config.runs"):
        resolve(ConfigDict(values))


def test_integers_serve_as_floats():
    assert build(RunConfig, run_values(passes=3)).passes == 3.0


def test_config_files_are_found_in_the_installation(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = find_config_file("configs/demo.py:miniature")
    assert found.endswith("configs/demo.py:miniature") and Path(found.split(":")[0]).is_file()
    assert find_config_file("demo.py").endswith("demo.py")
    with pytest.raises(UserError, match="config file configs/nothing.py is not there"):
        find_config_file("configs/nothing.py")


COMMAND = """
import sys
from absl import flags
from input_pipeline.command_errors import one_line_errors
from sacd_jax import config
config.define_flags()
with one_line_errors():
    values = config.parse_flags(sys.argv, "an example")
    run = config.resolve(values.config).runs["sacd"]
    print(run.optimizer.learning_rate, run.student.options)
"""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--config.runs.sacd.optimizer.learning_rate=0.5"], 0, "0.5 {"),
        (["--config.runs.sacd.student.options.pool=True"], 0, "'pool': True"),
        (["--config.runs.sacd.student.options.shortcut=A"], 0, "'shortcut': 'A'"),
        (["--config.runs.sacd.student.options.dtype=None"], 0, "'dtype': None"),
        (["--config.runs.sacd.optimizer.learning_rat=0.5"], 1, "learning_rate"),
        (["--config.runs.sadc.batch_size=16"], 1, "sacd"),
        (["--config.run.sacd.batch_size=16"], 1, "runs"),
        (["--config.runs.sacd.batch_size=many"], 1, "error: command line:"),
        (["--wrokdir=x"], 1, "error: command line:"),
        (["stray"], 1, "error: command line: 'stray' is no flag"),
    ],
)
def test_command_line(run_python, tmp_path, arguments, code, words):
    result = run_python(
        COMMAND, "--config=configs/demo.py", f"--workdir={tmp_path}", *arguments, check=False
    )
    assert result.returncode == code, result.stderr
    output = result.stdout if code == 0 else result.stderr
    assert words in output
    assert code == 0 or (output.startswith("error:") and output.count("\n") == 1)


@pytest.mark.parametrize("missing", ["--config", "--workdir"])
def test_missing_flags_are_named(run_python, missing):
    given = {"--config": "configs/demo.py", "--workdir": "x"}
    del given[missing]
    result = run_python(COMMAND, *(f"{k}={v}" for k, v in given.items()), check=False)
    assert result.returncode == 1
    assert result.stderr == f"error: {missing} is missing; example: an example\n"


def test_help_shows_an_example(run_python):
    result = run_python(COMMAND, "--help")
    assert "an example" in result.stdout and "--config" in result.stdout


def test_unknown_field_suggestion_needs_a_likeness():
    with pytest.raises(UserError, match=r"config.zzz is no setting: expected one of \["):
        configs.build(RunConfig, run_values(zzz=1))
