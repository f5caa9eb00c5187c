"""A study's judgement: fixed before its first run, held to afterwards, corrected for its rows."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from configs.sweeps import simulated_study
from input_pipeline.errors import UserError
from input_pipeline.night import Night as RecordedNight
from input_pipeline.simulation.subject import make_subject
from input_pipeline.splits import make_splits
from sacd_jax import evaluate, objectives
from sacd_jax.config import as_json, build
from sacd_jax.sweeps import plan, preregistration
from sacd_jax.sweeps.sweep_config import Judgement, Row, SweepConfig
from tests.report.conftest import Night
from tests.test_sweep import dataset, finish, small  # noqa: F401 - a fixture

JUDGED = replace(small(), name="study", judgement=Judgement())


def judged(tmp_path: Path, dataset: Path) -> Path:  # noqa: F811
    path = preregistration.freeze(JUDGED, tmp_path, dataset)
    assert path == tmp_path / "study.preregistered.json"
    return path


def test_the_table_is_judged_by_what_was_fixed(tmp_path, dataset, capsys):  # noqa: F811
    path, night = judged(tmp_path, dataset), Night()
    skills = {"baseline": 0.4, "pkt": 0.4, "sacd": 0.8}
    for number, key in enumerate(key for key in JUDGED.rows for _ in range(2)):
        run = plan.run_of(JUDGED, key, number % 2)
        finish(run, tmp_path, dataset, night, skills[key], number)
    arguments = ["--workdir", str(tmp_path), "--preregistered", str(path)]
    evaluate.main([*arguments, "--figure", "accuracy", "--test", "subjects_and_seeds"])
    printed = capsys.readouterr().out
    value = json.loads((tmp_path / "study.json").read_text())
    rows = {row["name"]: row for row in value["rows"]}
    p = {name: rows[name]["over_subjects_and_seeds"]["accuracy"]["p"] for name in ("PKT", "SACD")}
    assert rows["SACD"]["verdict"] == {"p": pytest.approx(2 * p["SACD"]), "tests": 2, "mark": "▲"}
    assert rows["PKT"]["verdict"]["mark"] == "≈" and rows["R(2+1)D"]["verdict"] is None
    assert rows["PKT"]["verdict"]["p"] == pytest.approx(max(p["PKT"], 2 * p["SACD"]))
    for words in ("fixed before the first run", "corrected by Holm", "detects", "▲ (p 0.0"):
        assert words in printed


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (["--figure", "macro_f1"], "figure as 'accuracy' before the first look, now it is 'mac"),
        (["--split", "validation"], "split as 'test' before the first look, now it is 'valid"),
        (["--test", "wilcoxon"], "test as 'subjects_and_seeds' before the first look"),
        (["--correction", "none"], "correction as 'holm' before the first look, now it is 'no"),
    ],
)
def test_another_figure_split_or_test_is_refused(tmp_path, dataset, asked, words):  # noqa: F811
    path = judged(tmp_path, dataset)
    with pytest.raises(UserError, match=words) as error:
        evaluate.main(["--workdir", str(tmp_path), "--preregistered", str(path), *asked])
    assert "\n" not in str(error.value)


def test_figure_and_test_are_the_files(tmp_path):
    with pytest.raises(UserError, match="--figure is for the judgement of a sweep: expected --pre"):
        evaluate.main(["--workdir", str(tmp_path), "--figure", "accuracy"])


def test_the_file_is_written_before_the_first_look_and_not_changed_after_it(
    tmp_path,
    dataset,  # noqa: F811
):
    path = judged(tmp_path, dataset)
    assert preregistration.freeze(JUDGED, tmp_path, dataset) == path
    assert preregistration.read(path) == (JUDGED, tmp_path / "data" / "simulated-0")
    longer = replace(JUDGED.rows["pkt"].run, passes=9)
    rows = {**JUDGED.rows, "pkt": Row("PKT", longer, "AttnSleep")}
    for changed, words in (
        (replace(JUDGED, judgement=Judgement("kappa")), "fixed judgement.figure as 'accuracy'"),
        (
            replace(JUDGED, rows={**rows, "x": Row("X", longer, "AttnSleep")}),
            "fixed 3 rows before the first look, now x is one of them",
        ),
        (replace(JUDGED, rows=rows), "fixed rows.pkt.run.passes as 2.0 before the first look, now"),
    ):
        with pytest.raises(UserError, match=words):
            preregistration.freeze(changed, tmp_path, dataset)
    with pytest.raises(UserError, match="fixed the data set simulated-0 before .* is simulated-1"):
        preregistration.freeze(JUDGED, tmp_path, dataset.with_name("simulated-1"))
    path.write_text(path.read_text().replace('"accuracy"', '"kappa"'))
    with pytest.raises(UserError, match="preregistration .* judge by the file as it was written"):
        preregistration.read(path)

    path.unlink()
    finish(plan.run_of(JUDGED, "sacd", 0), tmp_path, dataset, Night(), 0.8)
    with pytest.raises(UserError, match="row sacd is tested already, so its judgement cannot be"):
        preregistration.freeze(JUDGED, tmp_path, dataset)
    assert preregistration.freeze(small(), tmp_path, dataset) is None


@pytest.mark.parametrize("size", ["full", "demo"])
def test_the_study_resolves_and_can_be_written_down(size):
    study = simulated_study.get_config(size)
    assert build(SweepConfig, json.loads(json.dumps(as_json(study)))) == study
    rows = {(row.group, row.name) for row in study.rows.values()}
    assert {("labels of 4", "plain student"), ("no labels", "SACD")} <= rows
    assert len([key for key in study.rows if key.startswith("control-")]) == 5
    for row in study.rows.values():
        if (objective := row.run.objective) is not None:
            objectives.create(objective.name, objective.weights, **objective.options)
            assert row.run.teacher.pretrained in study.teachers


def test_64_simulated_subjects_train_16_validate_and_25_test(tmp_path):
    settings = simulated_study.get_config().dataset
    ahis = [make_subject(0, n, 0, 0).ahi_target for n in range(settings.simulation.nights)]
    nights = [
        RecordedNight(f"n{number}", f"s{number}", tmp_path, tmp_path, ahi=ahi)
        for number, ahi in enumerate(ahis)
    ]
    split = make_splits(nights, settings.split)
    assert [len(part) for part in (split.train, split.validation, split.test)] == [64, 16, 25]
    tested = Counter(name for name, of in split.groups.items() for s in of if s in split.test)
    assert sorted(tested.values()) == [6, 6, 6, 7]
