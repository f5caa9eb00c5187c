"""Sweeps: which runs there are, how they are started, what stands in the table."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.datasets import DatasetSettings
from input_pipeline.datasets.dataset_files import DatasetInfo
from input_pipeline.errors import UserError
from sacd_jax.config import EncoderConfig, ObjectiveConfig, RunConfig, as_json
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.sweeps import children, plan, table, training
from sacd_jax.sweeps.plan import Planned
from sacd_jax.sweeps.sweep_config import Row, SweepConfig
from tests.report.conftest import Night, write_run


def small(**changes) -> SweepConfig:
    """A sweep of a baseline and two methods with one teacher."""
    alone = RunConfig("classify", EncoderConfig("mlp"), passes=2)
    teacher = EncoderConfig("mlp", pretrained="attnsleep")

    def distilled(method: str) -> RunConfig:
        return replace(alone, task="distill", teacher=teacher, objective=ObjectiveConfig(method))

    values = {
        "name": "table2",
        "dataset": DatasetSettings("s3ve", manifest=Path("nights.csv")),
        "teachers": {"attnsleep": alone},
        "rows": {
            "baseline": Row("R(2+1)D", alone),
            "pkt": Row("PKT", distilled("pkt"), "AttnSleep"),
            "sacd": Row("SACD", distilled("sacd"), "AttnSleep"),
        },
        "seeds": (0, 1),
        "reference": "R(2+1)D",
        "paper": "table2",
    }
    return SweepConfig(**{**values, **changes})


def all_runs(of: SweepConfig) -> list[Planned]:
    return plan.with_lenders(of, plan.row_runs(of, of.seeds))


def names(runs) -> list[str]:
    return [run.name for run in runs]


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """What a table knows of the data."""
    folder = tmp_path / "data" / "simulated-0"
    folder.mkdir(parents=True)
    counts = {"test": {"clips": 800}}
    DatasetInfo("simulated", "0", True, "paper_val", 2.0, 60, 48, 56, 1, 125.0, 3750, counts).write(
        folder
    )
    return folder


def finish(
    planned: Planned, workdir: Path, dataset: Path, night: Night, skill: float, seed: int = 0
) -> None:
    """Leaves a run's folder as a finished training does."""
    folder = write_run(workdir / plan.RUNS / planned.name, night, skill, seed, steps=50)
    begin(planned, workdir, dataset)
    assert folder.is_dir()


def begin(planned: Planned, workdir: Path, dataset: Path) -> None:
    folder = workdir / plan.RUNS / planned.name
    folder.mkdir(parents=True, exist_ok=True)
    stored = {"dataset": os.path.relpath(dataset, folder), "run": as_json(planned.run)}
    (folder / "config.json").write_text(json.dumps(stored))


class Child:
    """In place of a process: ends at once."""

    def __init__(self, returncode: int = 0):
        self.returncode = returncode

    def poll(self) -> int:
        return self.returncode

    def terminate(self) -> None:
        raise AssertionError("it has ended")


def test_a_sweep_trains_its_teachers_then_its_rows_seed_by_seed():
    found = small()
    runs = all_runs(found)
    assert names(runs) == [
        "attnsleep",
        *("baseline-seed0", "pkt-seed0", "sacd-seed0"),
        *("baseline-seed1", "pkt-seed1", "sacd-seed1"),
    ]
    assert [run.run.seed for run in runs] == [0, 0, 0, 0, 1, 1, 1]
    assert [run.needs for run in runs[:3]] == [(), (), ("attnsleep",)]


def over_nights(of: str) -> RunConfig:
    return replace(
        RunConfig("classify", EncoderConfig("context"), batch_mode="sequences"), embeddings_of=of
    )


def test_a_row_over_another_rows_embeddings_brings_the_run_of_its_seed():
    rows = {"over": Row("over nights", over_nights("sacd")), **small().rows}
    rows["above"] = Row("the teacher over nights", over_nights("attnsleep"))
    found = small(rows=rows)
    runs = plan.with_lenders(found, plan.row_runs(found, [3], ["over"]))
    assert names(runs) == ["attnsleep", "sacd-seed3", "over-seed3"]
    assert runs[-1].run.embeddings_of == "sacd-seed3"
    assert runs[-1].needs == ("sacd-seed3",)
    runs = plan.with_lenders(found, plan.row_runs(found, [3]))
    assert sorted(names(runs)) == sorted({*names(runs)})
    assert names(runs)[:3] == ["attnsleep", "sacd-seed3", "over-seed3"]
    assert (runs[-1].run.embeddings_of, runs[-1].needs) == ("attnsleep", ("attnsleep",))


def test_rows_are_chosen_by_key_and_bring_their_teacher():
    found = small()
    assert names(plan.with_lenders(found, plan.row_runs(found, [3], ["base*"]))) == [
        "baseline-seed3"
    ]
    chosen = plan.with_lenders(found, plan.row_runs(found, [3], ["sacd", "pkt"]))
    assert names(chosen) == ["attnsleep", "pkt-seed3", "sacd-seed3"]
    with pytest.raises(UserError, match=r"'sadc' fits no row, expected some of baseline, pkt"):
        plan.row_runs(found, [0], ["sadc"])


@pytest.mark.parametrize("of", [1, 2, 4, 9])
def test_shares_hold_every_run_exactly_once(of):
    found = small()
    runs = plan.row_runs(found, (0, 1, 2))
    shares = [plan.share(runs, index, of) for index in range(of)]
    assert sorted(name for part in shares for name in names(part)) == sorted(names(runs))
    sizes = [len(part) for part in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(("index", "of"), [(2, 2), (-1, 2), (0, 0)])
def test_a_share_that_is_not_there_is_refused(index, of):
    with pytest.raises(UserError, match=f"--index {index} --of {of}: expected"):
        plan.share(plan.row_runs(small(), [0]), index, of)


RUN = RunConfig("classify", EncoderConfig("mlp"))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "R3D"}, "reference is 'R3D', expected the name of a row"),
        ({"seeds": (0, 0)}, "seeds is (0, 0), expected different seeds"),
        ({"seeds": ()}, "seeds is (), expected different seeds"),
        ({"rows": {"a": Row("x", RUN), "b": Row("x", RUN)}}, "rows has several rows of group and"),
        ({"rows": {"a.b": Row("x", RUN)}}, "rows has 'a.b', expected a name of letters, digits"),
        (
            {"rows": {"a": Row("x", over_nights("b")), "b": Row("y", over_nights("attnsleep"))}},
            "rows.a.run.embeddings_of is 'b', which learns from embeddings itself",
        ),
        ({"rows": {"a": Row("x", over_nights("a"))}}, "rows.a.run.embeddings_of is 'a', which"),
        ({"teachers": {"../x": RUN}}, "teachers has '../x', expected a name of letters, digits"),
    ],
)
def test_a_mistake_in_a_sweep_is_named(changes, words):
    with pytest.raises(UserError) as error:
        small(**changes)
    assert str(error.value).startswith(words)


def test_the_list_tells_how_far_each_run_is(tmp_path, dataset):
    found = small()
    runs = all_runs(found)
    finish(runs[0], tmp_path, dataset, Night(clips=10), 0.8)
    begin(runs[1], tmp_path, dataset)
    begin(Planned(runs[2].name, runs[0].run), tmp_path, dataset)  # another run of that name
    shown = table.listing(found, runs, tmp_path / plan.RUNS)
    states = [row[1].text for row in shown.rows]
    assert states[:3] == [plan.DONE, plan.BEGUN, plan.OTHER]
    assert set(states[3:]) == {plan.MISSING}
    assert shown.notes == ("1 of 7 runs done.",)


def test_a_run_on_other_data_is_another_run(tmp_path, dataset):
    run = all_runs(small())[0]
    begin(run, tmp_path, tmp_path / "data" / "simulated-1")
    assert plan.state(run, tmp_path / plan.RUNS, dataset) == plan.OTHER
    assert plan.state(run, tmp_path / plan.RUNS) == plan.BEGUN


def test_a_sweep_goes_on_after_a_stop(tmp_path, dataset):
    found = small()
    runs = all_runs(found)
    night = Night(clips=10)
    started: list[str] = []

    def start(planned: Planned):
        if len(started) == 3:
            raise KeyboardInterrupt
        started.append(planned.name)
        finish(planned, tmp_path, dataset, night, 0.7)
        return Child()

    with pytest.raises(KeyboardInterrupt):
        training.train_missing(found, runs, start, tmp_path, dataset, 1)
    first = list(started)
    assert first == names(runs)[:3]
    started.clear()
    more = [run for run in runs if run.name not in ("sacd-seed1",)]
    assert training.train_missing(found, more[:5], start, tmp_path, dataset, 2) == {}
    assert started == names(runs)[3:5]  # nothing twice
    assert training.train_missing(found, runs[:5], start, tmp_path, dataset, 1) == {}
    assert started == names(runs)[3:5]


def test_a_failing_run_is_named_and_does_not_stop_the_others(tmp_path, dataset, capsys):
    found = small()
    runs = all_runs(found)
    logs = tmp_path / "logs"
    logs.mkdir()
    started = []

    def start(planned: Planned):
        started.append(planned.name)
        log = children.log_file(logs, planned.name)
        log.write_text("loading\nerror: pkt went wrong at step 3\n\n")
        return Child(int(planned.name == "pkt-seed0"))

    failed = training.train_missing(found, runs, start, tmp_path, dataset, 2)
    assert failed == {"pkt-seed0": "pkt went wrong at step 3"}
    assert sorted(started) == sorted(names(runs))
    assert "pkt-seed0 failed: pkt went wrong at step 3" in capsys.readouterr().err


def test_runs_wait_for_their_teacher_and_fall_with_it(tmp_path, dataset):
    found = small()
    started = []

    class Slow(Child):
        looks = 0

        def poll(self):
            self.looks += 1
            if self.looks < 3:
                assert not {"pkt-seed0", "sacd-seed0"} & set(started)
                return None
            return self.returncode

    def start(planned: Planned):
        started.append(planned.name)
        return Slow(-9) if planned.name == "attnsleep" else Child()

    failed = training.train_missing(found, all_runs(found)[:4], start, tmp_path, dataset, 4)
    assert started == ["attnsleep", "baseline-seed0"]
    assert failed == {
        "attnsleep": "ended by signal SIGKILL",
        "pkt-seed0": "needs attnsleep",
        "sacd-seed0": "needs attnsleep",
    }


def test_an_interrupted_sweep_ends_its_children(tmp_path, dataset):
    found = small()
    processes = []

    def start(planned: Planned):
        if processes:
            raise KeyboardInterrupt
        code = "import time; print('up', flush=True); time.sleep(600)"
        process = subprocess.Popen(
            [sys.executable, "-S", "-c", code],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        process.stdout.readline()
        process.stdout.close()
        processes.append(process)
        return process

    with pytest.raises(KeyboardInterrupt):
        training.train_missing(found, all_runs(found), start, tmp_path, dataset, 2)
    assert processes[0].returncode == -signal.SIGTERM


def test_a_child_gets_the_sweeps_arguments_and_one_thread(tmp_path, monkeypatch):
    called = {}

    def start_module(module, arguments, environment, **options):
        called.update(module=module, arguments=arguments, environment=environment)
        options["stdout"].write("hello\n")

    monkeypatch.setattr(children, "start_module", start_module)
    monkeypatch.setenv("XLA_FLAGS", "--xla_force_host_platform_device_count=2")
    run = all_runs(small())[1]
    arguments = ["--config=table2.py", "--workdir=x"]
    children.starter("sacd_jax.sweep", arguments, tmp_path / "logs", jobs=2)(run)
    assert called["arguments"] == [*arguments, "--run=baseline-seed0"]
    flags = called["environment"]["XLA_FLAGS"].split()
    assert "--xla_cpu_multi_thread_eigen=false" in flags
    assert "--xla_force_host_platform_device_count=2" in flags
    assert children.log_file(tmp_path / "logs", run.name).read_text() == "hello\n"
    children.starter("sacd_jax.sweep", arguments, tmp_path / "logs", jobs=1)(run)
    assert called["environment"] is None


def test_one_run_is_trained_where_the_sweep_looks_for_it(tmp_path, dataset, monkeypatch):
    called = []
    monkeypatch.setattr(training, "train", lambda *arguments: called.append(arguments))
    runs = all_runs(small())
    training.train_one("sacd-seed1", runs, tmp_path, dataset)
    assert called == [(runs[-1].run, tmp_path / plan.RUNS / "sacd-seed1", dataset)]
    with pytest.raises(UserError, match="no run 'sacd'; --list shows them"):
        training.train_one("sacd", runs, tmp_path, dataset)


def test_a_run_over_nights_finds_the_training_clips_embeddings(tmp_path, dataset, monkeypatch):
    done = []
    monkeypatch.setattr(training, "train", lambda _, folder, __: done.append(folder.name))

    def evaluate(folder: Path, split: str) -> None:
        done.append(f"{folder.name} {split}")
        folder.mkdir(parents=True)
        RunFolder(folder).predictions(split).touch()

    monkeypatch.setattr(training, "evaluate_run", evaluate)
    rows = {**small().rows, "over": Row("over nights", over_nights("sacd"))}
    runs = all_runs(small(rows=rows))
    for _ in range(2):
        training.train_one("over-seed1", runs, tmp_path, dataset)
    assert done == ["sacd-seed1 train", "over-seed1", "over-seed1"]


def test_the_table_shows_means_the_papers_figures_and_what_is_noise(tmp_path, dataset):
    found = small()
    night = Night()
    skills = {"baseline": 0.4, "pkt": 0.4, "sacd": 0.8}
    for seed, (key, skill) in enumerate((key, skills[key]) for key in found.rows for _ in range(2)):
        finish(plan.run_of(found, key, seed % 2), tmp_path, dataset, night, skill, seed)
    finish(all_runs(found)[0], tmp_path, dataset, night, 0.9, 9)
    other = Planned("pkt-seed7", found.rows["baseline"].run)  # of other settings: left out
    finish(other, tmp_path, dataset, night, 0.99, 8)

    path = table.write(found, tmp_path / plan.RUNS, dataset, tmp_path, resamples=200)
    text, value = path.read_text(), json.loads(path.with_suffix(".json").read_text())
    rows = {row["name"]: row for row in value["rows"]}
    assert rows["PKT"]["seeds"] == [0, 1]
    for name, key in (("R(2+1)D", "baseline"), ("SACD", "sacd")):
        each = []
        for seed in (0, 1):
            with np.load(tmp_path / plan.RUNS / f"{key}-seed{seed}/predictions_test.npz") as file:
                scored = file["stage"] >= 0
                each.append((file["logits"].argmax(-1) == file["stage"])[scored].mean())
        assert rows[name]["accuracy"]["mean"] == pytest.approx(np.mean(each))
        assert rows[name]["accuracy"]["std"] == pytest.approx(np.std(each, ddof=1))
    assert rows["SACD"]["accuracy"]["paper"] == 0.644
    assert rows["SACD"]["against_reference"]["accuracy"]["verdict"] == "better"
    assert rows["PKT"]["against_reference"]["accuracy"]["verdict"] == "within noise"
    assert rows["R(2+1)D"]["against_reference"] is None
    assert value["data"]["simulated"] and value["data"]["split_mode"] == "paper_val"
    for words in ("64.4", "▲", "≈", "Simulated nights", "a leak", "attnsleep ", "seeds 0, 1"):
        assert words in text


def test_a_table_says_what_its_runs_were_computed_in(tmp_path, dataset):
    found, night, runs = small(), Night(), tmp_path / plan.RUNS

    def notes() -> str:
        path = table.write(found, runs, dataset, tmp_path, resamples=200)
        return json.loads(path.with_suffix(".json").read_text())["notes"][-1]

    for key, device, precision in [("baseline", "cpu", "float32"), ("sacd", "H100", "bfloat16")]:
        for seed in (0, 1):
            planned = plan.run_of(found, key, seed)
            finish(planned, tmp_path, dataset, night, 0.5, seed)
            folder = RunFolder(runs / planned.name)
            stored = {**json.loads(folder.config.read_text()), "precision": precision}
            folder.config.write_text(json.dumps(stored))
            folder.versions.write_text(json.dumps({"device": device}))
        if key == "baseline":
            assert notes() == "Computed in float32 on cpu."
    assert notes() == (
        "Not all computed alike. In float32 on cpu: R(2+1)D; bfloat16 on H100: AttnSleep: SACD."
    )


def test_a_table_of_nothing_says_so(tmp_path, dataset):
    path = table.write(small(), tmp_path / plan.RUNS, dataset, tmp_path)
    assert "no finished run: all rows" in path.read_text()


@pytest.mark.slow
def test_a_sweep_in_several_processes_is_refused(run_python, tmp_path):
    result = run_python(
        "sacd_jax.sweep",
        "--config=tests/toy_sweep.py",
        f"--workdir={tmp_path}",
        env={"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1234"},
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith("error: a sweep starts a process for every run itself")
