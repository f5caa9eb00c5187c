"""The sweeps of `configs/sweeps`: what their rows are, and that they share runs."""

import importlib
from dataclasses import replace

import pytest

from sacd_jax import objectives
from sacd_jax.sweeps import plan, table
from sacd_jax.sweeps.sweep_config import SweepConfig


def config_of(name: str, *size: str) -> SweepConfig:
    return importlib.import_module(f"configs.sweeps.{name}").get_config(*size)


SWEEPS = [
    *(
        (name, size)
        for name in ("table2", "table4", "table5", "figure5", "switches")
        for size in ("paper", "demo")
    ),
    ("table3",),
]


@pytest.mark.parametrize("arguments", SWEEPS, ids="-".join)
def test_the_papers_sweeps_resolve(arguments):
    found = config_of(*arguments)
    rows = {(row.group, row.name): row for row in found.rows.values()}
    paper = set(table.PAPER[found.paper])
    if arguments == ("table3",):
        assert paper <= set(rows)
    else:
        assert paper - set(rows) <= {("", "R3D")}
        assert found.dataset.simulated == (arguments[1] == "demo")
    rivals = [key for key, row in found.rows.items() if row.run.task == "boost"]
    assert rivals == ([] if arguments == ("table3",) else ["rival", "rival_neighbours"])
    for row in found.rows.values():
        run = row.run
        assert run.student == rows["", "R3D"].run.student if row.name == "R3D" else True
        if run.objective:
            objectives.create(run.objective.name, run.objective.weights, **run.objective.options)
            assert run.teacher.pretrained in found.teachers
            assert found.teachers[run.teacher.pretrained].student.name == run.teacher.name


@pytest.mark.parametrize("size", ["paper", "demo"])
def test_one_key_means_one_run_in_every_sweep(size):
    known: dict = {}
    for name in ("table2", "table4", "table5", "figure5", "switches"):
        found = config_of(name, size)
        rows = {key: row.run for key, row in found.rows.items()}
        for key, run in (rows | found.teachers).items():
            assert known.setdefault(key, run) == run, (name, key)
    assert {"baseline", "attnsleep-sacd", "attnsleep"} <= set(known)


def test_table_4_is_the_experiments_a_to_g_on_networks_trained_once():
    found = config_of("table4", "demo")
    assert [row.name for row in found.rows.values()][2:9] == list("ABCDEFG")
    for planned in plan.row_runs(found, (0,), ("both-*",)):
        needs = ("video",) if planned.name.startswith("both-e") else ("eeg", "video")
        assert tuple(sorted(planned.needs)) == needs
    assert found.rows["both-f"].run.passes == found.rows["baseline"].run.passes


def test_figure_5_has_three_panels_of_sixteen_and_one_point_more():
    found = config_of("figure5", "paper")
    assert sum(row.run.task == "distill" for row in found.rows.values()) == 38


def test_a_ninth_method_stands_in_table_2_once_its_name_is_in_the_registry(monkeypatch):
    from configs.sweeps import table2

    monkeypatch.setitem(objectives._REGISTRY, "sp", "sacd_jax.objectives.sp:Sp")
    try:
        found = importlib.reload(table2).get_config("demo")
    finally:
        monkeypatch.undo()
        importlib.reload(table2)
    teachers = ("AttnSleep", "DeepSleepNet", "Modified-SEN")
    groups = [row.group for row in found.rows.values() if row.name == "sp"]
    assert groups == [f"{teacher}, not in the paper" for teacher in teachers]


@pytest.mark.parametrize("size", ["full", "demo"])
def test_the_study_over_nights_learns_from_the_studys_own_runs(size):
    study, over = config_of("simulated_study", size), config_of("study_context", size)
    assert over.teachers == study.teachers and over.dataset == study.dataset
    shared = [key for key in over.rows if not key.startswith("context-")]
    assert {key: over.rows[key].run for key in shared} == {
        key: study.rows[key].run for key in shared
    }
    lenders = {row.run.embeddings_of for row in over.rows.values()} - {None}
    assert lenders == {"teacher", "long-baseline", "long-sacd", "long-kd"}


@pytest.mark.parametrize("size", ["full", "demo"])
def test_a_rival_has_the_labels_of_the_students_beside_it(size):
    study, found = config_of("simulated_study", size), config_of("study_labels", size)
    assert found.teachers == study.teachers and found.dataset == study.dataset
    own = {key: row.run for key, row in found.rows.items() if key in study.rows}
    assert own == {key: study.rows[key].run for key in own}
    assert set(found.rows) - set(own) == {"labels4-rival", "labels16-rival"}
    shares = {"labels of 4": 4 / 64, "labels of 16": 16 / 64, "labels of all": 1.0}
    for row in found.rows.values():
        expected = 0.0 if row.name.endswith("no labels") else shares[row.group]
        assert row.run.label_fraction == expected


@pytest.mark.parametrize("size", ["full", "demo"])
def test_the_study_of_rhythm_changes_the_student_alone(size):
    study, found = config_of("simulated_study", size), config_of("study_rhythm", size)
    assert found.teachers == study.teachers and found.dataset == study.dataset
    for name in ("baseline", "sacd"):
        with_branch = found.rows[f"rhythm-{name}"].run
        without = study.rows[f"long-{name}"].run
        assert dict(with_branch.student.options).pop("rhythm") == 64
        assert replace(with_branch, student=without.student) == without
    lenders = {row.run.embeddings_of for row in found.rows.values()} - {None}
    assert lenders == {"rhythm-baseline", "rhythm-sacd"}
