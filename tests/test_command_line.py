"""The command line: choices of a config file, settings by path, and one line for what is wrong."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from configs import demo
from input_pipeline.errors import UserError
from sacd_jax.command_line import Parser, chosen, find_config_file, load_config, override
from sacd_jax.config import Experiment
from sacd_jax.schema import as_json
from sacd_jax.sweeps.sweep_config import SweepConfig

EXAMPLE = "python -m sacd_jax.train --config configs/demo.py --workdir runs/demo"


def parse(*arguments: str):
    parser = Parser("Trains.", EXAMPLE)
    parser.add_argument("--runs")
    return parser.parse(arguments, Experiment)


def leaves(value, path: str = "") -> dict[str, object]:
    """Path -> value of every setting that is no group."""
    if isinstance(value, dict) and value:
        return {
            full: leaf
            for name, below in value.items()
            for full, leaf in leaves(below, f"{path}.{name}" if path else name).items()
        }
    return {path: value}


OTHER = {
    "select": ("best", "last"),
    "precision": ("float32", "bfloat16"),
    "schedule": ("constant", "step"),
    "class_weights": ("inverse", "none"),
    "crop": ("(8, 8)",),
    "ratio": ("(0.25, 0.5)",),
    "milestones": ("(0.125,)",),
}
"""Setting -> values to try, where a setting is no number, no switch and no free word."""

NOT_ALONE = (
    "task",
    "batch_mode",
    "mode",
    "lags_s",
    "scale",
    "teacher_cache",
    "teacher_trainable",
    "unlabelled",
    "accumulate",
    "data_shares",
    "measure_terms",
    "ogm_ge",
    "teacher_control",
    "teacher_folds",
)
"""Settings that others must go with."""


def another(name: str, value: object) -> str | None:
    """A valid value of a setting that is not its own, as the command line writes it."""
    if name in NOT_ALONE or value is None:
        return None
    if name in OTHER:
        return next(text for text in OTHER[name] if text != str(value))
    if isinstance(value, bool):
        return str(not value)
    if isinstance(value, str):
        return "sgd" if value != "sgd" else "adam"
    if isinstance(value, dict | list):
        return None
    return "0.375" if isinstance(value, float) else "7"


@pytest.mark.parametrize("file", ["demo", "s3ve_distill", "s3ve_fusion", "ucf51_distill"])
def test_a_setting_of_one_run_moves_no_other(file: str) -> None:
    """Every leaf of every run; runs that began as one value included."""
    experiment = load_config(f"configs/{file}.py", Experiment)
    before, tried = leaves(as_json(experiment)), 0
    for path, value in before.items():
        text = another(path.rpartition(".")[2], value)
        if text is None or not path.startswith("runs."):
            continue
        after = leaves(as_json(override(experiment, [(path, text)])))
        moved = {key for key in before | after if before.get(key) != after.get(key)}
        assert moved == {path}, (path, text)
        tried += 1
    assert tried > 60
    assert leaves(as_json(experiment)) == before


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("runs.sacd.seed=1", "runs.sacd.seed", 1),
        ("runs.sacd.augment.crop=(24,24)", "runs.sacd.augment.crop", [24, 24]),
        ("runs.sacd.augment.crop=()", "runs.sacd.augment.crop", []),
        ("runs.sacd.optimizer.learning_rate=1e-3", "runs.sacd.optimizer.learning_rate", 1e-3),
        ("runs.sacd.optimizer.learning_rate=1", "runs.sacd.optimizer.learning_rate", 1.0),
        ("runs.sacd.optimizer.factors={'stem': 0}", "runs.sacd.optimizer.factors", {"stem": 0.0}),
        ("runs.sacd.optimizer.factors.stem=0", "runs.sacd.optimizer.factors", {"stem": 0.0}),
        ("runs.sacd.teacher_cache=True", "runs.sacd.teacher_cache", True),
        ("runs.sacd.student.pretrained=weights/r3d", "runs.sacd.student.pretrained", "weights/r3d"),
        ("runs.sacd.student.pretrained=18", "runs.sacd.student.pretrained", "18"),
        ("runs.sacd.student.options.width=0.0625", "runs.sacd.student.options.width", 0.0625),
        ("runs.sacd.student.options.pool=True", "runs.sacd.student.options.pool", True),
        ("runs.sacd.student.options.shortcut=A", "runs.sacd.student.options.shortcut", "A"),
        ("runs.sacd.student.options.dtype=None", "runs.sacd.student.options.dtype", None),
        ("runs.teacher.student.options.eeg_scale=9", "runs.teacher.student.options.eeg_scale", 9.0),
        ("runs.sacd.objective.options.margin=0.3", "runs.sacd.objective.options.margin", 0.3),
        ("runs.sacd.objective.options.graph.a=3", "runs.sacd.objective.options.graph.a", 3),
        ("runs.sacd.objective.weights.graph=2", "runs.sacd.objective.weights.graph", 2.0),
        ("dataset.split_file=a.json", "dataset.split_file", "a.json"),
        ("dataset.simulation.nights=20", "dataset.simulation.nights", 20),
    ],
)
def test_a_setting_is_read_as_its_type_wants(text: str, path: str, value) -> None:
    found = as_json(parse("--config=configs/demo.py", "--workdir=x", f"--config.{text}").config)
    for name in path.split("."):
        found = found[name]
    assert found == value and type(found) is type(value)


def test_a_setting_without_a_run_is_that_of_every_run() -> None:
    """What launch/demo.sh tells: one seed for all trainings, and one for the whole experiment."""
    trainings = parse("--config=configs/demo.py", "--workdir=x", "--config.seed=1").config
    assert {run.seed for run in trainings.runs.values()} == {1}
    assert trainings.dataset == demo.get_config().dataset
    everything = load_config("configs/demo.py:seed=1", Experiment)
    assert everything.runs == trainings.runs
    simulation = everything.dataset.simulation
    assert simulation is not None and (simulation.seed, everything.dataset.split.seed) == (1, 1)
    one = override(trainings, [("seed", "2"), ("runs.sacd.seed", "3"), ("runs.*.passes", "4")])
    assert [run.seed for run in one.runs.values()] == [2, 2, 2, 2, 3]
    assert {run.passes for run in one.runs.values()} == {4.0}


def test_the_last_of_two_settings_holds_and_flags_may_stand_apart() -> None:
    found = parse(
        *("--config", "configs/demo.py", "--workdir", "x", "--config.seed", "1"),
        *("--config.seed=2", "--config=configs/demo.py:miniature"),
    )
    assert {run.seed for run in found.config.runs.values()} == {2}
    assert found.config.runs["sacd"].passes == 1.0


def test_a_sweep_takes_settings_of_all_rows_of_one_and_of_teachers() -> None:
    sweep = load_config("configs/sweeps/table5.py:size=demo,teacher=sen", SweepConfig)
    assert list(sweep.teachers) == ["sen"]
    settings = [
        *(("row.passes", "8"), ("teachers.sen.passes", "20"), ("seeds", "(5,)")),
        ("rows.sen-sacd.run.optimizer.learning_rate", "0.5"),
    ]
    found = override(sweep, settings)
    assert {row.run.passes for row in found.rows.values()} == {8.0}
    rates = {key: row.run.optimizer.learning_rate for key, row in found.rows.items()}
    assert [key for key, rate in rates.items() if rate == 0.5] == ["sen-sacd"]
    assert found.teachers["sen"].passes == 20.0 and found.seeds == (5,)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config.runs.sacd.optimizer.learning_rat=1"], "config.runs.sacd.optimizer.learning_r"),
        (["--config.runs.sadc.batch_size=16"], "config.runs.sadc is not there: did you mean"),
        (["--config.run.sacd.batch_size=16"], "config.run is no setting: did you mean 'runs'?"),
        (["--config.sed=16"], "config.sed is no setting: did you mean 'seed'?"),
        (["--config.batch_size=0"], "config.batch_size is 0, expected at least 1"),
        (["--config.runs.sacd.batch_size=many"], "config.runs.sacd.batch_size is 'many', ex"),
        (["--config.runs.sacd.teacher_cache=2"], "config.runs.sacd.teacher_cache is '2', expected"),
        (["--config.runs.sacd.passes=((((("], "config.runs.sacd.passes is '(((((', expected float"),
        (["--config.runs.sacd.passes=" + "9" * 5000], "config.runs.sacd.passes is '9999"),
        (["--config.runs..seed=1"], "command line: --config.runs..seed: expected --config.KEY=VAL"),
        (["--config.seed"], "command line: --config.seed: expected --config.KEY=VALUE"),
        (["--wrokdir=x"], "command line: --wrokdir is no flag: did you mean '--workdir'?"),
        (["stray"], "command line: 'stray' is no flag"),
        (["--runs"], "command line: argument --runs: expected one argument"),
        (["--config=configs/demo.py:sise=miniature"], "choice 'sise' is not known: did you mean"),
        (["--config=configs/demo.py:minature"], "size 'minature' is not known: did you mean 'mini"),
        (["--config=configs/demo.py:seed=x"], "choice seed is 'x', expected int"),
        (["--config=configs/demo.py:full,miniature"], "choice 'miniature': expected NAME=VALUE"),
        (["--config=configs/nothing.py"], "config file configs/nothing.py is not there"),
        (["--config=sweeps/table5.py"], "config file sweeps/table5.py makes a SweepConfig, expect"),
        (["--config=configs/__init__.py"], "config file configs/__init__.py has no function get_c"),
    ],
)
def test_a_mistake_is_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError) as error:
        parse("--config=configs/demo.py", "--workdir=x", *arguments)
    assert str(error.value).startswith(words) and "\n" not in str(error.value)


@pytest.mark.parametrize("missing", ["--config", "--workdir"])
def test_missing_flags_are_named(missing: str) -> None:
    given = {"--config": "configs/demo.py", "--workdir": "x"}
    del given[missing]
    with pytest.raises(UserError) as error:
        parse(*(f"{k}={v}" for k, v in given.items()))
    assert str(error.value) == f"{missing} is missing; example: {EXAMPLE}"


def test_help_shows_an_example(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        parse("--help")
    printed = capsys.readouterr().out
    assert end.value.code == 0 and EXAMPLE in printed and "--config.KEY=VALUE" in printed


def test_choices_may_hold_anything_but_a_comma() -> None:
    def make(manifest: str, network: str = "mlp", seed: int = 0) -> None: ...

    assert chosen(make, "/a b/x=1.csv,seed=3") == {"manifest": "/a b/x=1.csv", "seed": 3}
    assert chosen(make, "network=r3d_18,manifest=a=b") == {"network": "r3d_18", "manifest": "a=b"}


def test_config_files_are_found_in_the_installation(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("configs/demo.py", "demo.py"):
        found = find_config_file(file)
        assert found.is_file() and found.parts[-2:] == ("configs", "demo.py")


def test_what_the_launcher_of_the_demo_documents_is_accepted(root: Path) -> None:
    text = (root / "launch" / "demo.sh").read_text()
    own = text.rpartition("sacd_jax.train ")[2].replace('"$@"', "").split()
    documented = re.findall(r"^#   bash launch/demo.sh ?(.*?)(?:  +.*)?$", text, re.MULTILINE)
    configs = [parse(*own, *line.split()).config for line in documented]
    seeds = [{run.seed for run in config.runs.values()} for config in configs]
    assert seeds == [{0}, {1}, {1}]


HEARS_INTERRUPTS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
"""A parent in the background may have had them ignored."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_imports_ends_a_command_without_a_traceback(root, number):
    command = [sys.executable, "-c", HEARS_INTERRUPTS, "-m", "sacd_jax.train", "--help"]
    with subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE) as started:
        while "numpy" not in Path(f"/proc/{started.pid}/maps").read_text():
            time.sleep(0.01)
        started.send_signal(number)
        assert started.stderr.read() == b""
        assert started.wait() == -number  # as shells have it: 130 and 143
