"""The comparison of runs, from run directories to the page."""

import csv
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics

from input_pipeline.errors import UserError
from sacd_jax.report import comparison, comparison_files, comparison_tables
from sacd_jax.report.comparison_page import comparison_page, typical_night
from sacd_jax.report.night_agreement import night_agreement
from sacd_jax.runs.run_folder import ExperimentFolder
from tests.report.conftest import DATASET_INFO, Night, predict, write_run
from tests.report.test_night_agreement import LATER, NO_REM, TRUTH, WHOLE, predictions_of


@pytest.fixture(scope="module")
def results(runs: dict[str, Path], ceiling: dict[str, np.ndarray]) -> comparison.Results:
    return comparison.compare(runs, ceiling, DATASET_INFO, resamples=500)


def test_rows_and_their_figures(results: comparison.Results, night: Night, ceiling):
    assert [row.name for row in results.rows] == [
        "always W",
        "hidden signals",
        "hidden signals at frame times",
        "EEG teacher",
        "video baseline",
        "video with SACD",
    ]
    scored = night.stage >= 0
    for row in results.rows:
        assert row.counts.shape == (8, 5, 5)
        assert row.counts.sum() == scored.sum()
    found = results.row("hidden signals").figures
    truth, predicted = night.stage[scored], ceiling["hidden signals"][scored]
    assert found["accuracy"].value == pytest.approx((truth == predicted).mean())
    assert found["kappa"].value == pytest.approx(
        sklearn.metrics.cohen_kappa_score(truth, predicted)
    )
    majority = results.rows[0].figures
    assert majority["accuracy"].value == pytest.approx((truth == 0).mean())
    assert majority["kappa"].value == 0


def test_default_difference_is_last_against_the_one_before(results: comparison.Results):
    ((pair, judged),) = results.differences.items()
    assert pair == ("video with SACD", "video baseline")
    ours, theirs = (results.row(name).figures["accuracy"].value for name in pair)
    assert judged["accuracy"].value == pytest.approx(ours - theirs)
    assert judged["accuracy"].subjects == 8


def test_chosen_differences_may_name_a_ceiling(runs, ceiling):
    pairs = [("EEG teacher", "video baseline"), ("video with SACD", "hidden signals")]
    found = comparison.compare(runs, ceiling, {}, differences=pairs, resamples=200)
    assert list(found.differences) == pairs
    assert found.differences[pairs[0]]["accuracy"].verdict == "better"
    assert found.differences[pairs[1]]["accuracy"].verdict == "worse"
    with pytest.raises(UserError, match="no run 'nobody'"):
        comparison.compare(runs, {}, {}, differences=[("nobody", "video baseline")])


def test_each_subject_has_its_figures(results: comparison.Results, night: Night, tmp_path: Path):
    folder = ExperimentFolder(tmp_path)
    comparison_files.write(results, folder)
    with open(folder.subjects, newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 3 * 8
    (run,) = [run for run in results.runs if run.name == "video baseline"]
    for line in (line for line in lines if line["run"] == run.name):
        chosen = (night.subject_id == line["subject"]) & (night.stage >= 0)
        truth, predicted = night.stage[chosen], run.predictions.predicted[chosen]
        assert int(line["clips"]) == chosen.sum()
        assert float(line["accuracy"]) == pytest.approx((truth == predicted).mean())
        assert float(line["kappa"]) == pytest.approx(
            sklearn.metrics.cohen_kappa_score(truth, predicted)
        )
        macro_f1 = sklearn.metrics.f1_score(
            truth, predicted, labels=range(5), average="macro", zero_division=0
        )
        assert float(line["macro_f1"]) == pytest.approx(macro_f1)
    page = folder.page.read_text()
    assert all(str(subject) in page for subject in results.subjects)
    assert "quadratic kappa" in page


def test_json_is_plain_and_complete(results: comparison.Results):
    value = json.loads(json.dumps(comparison_files.as_json(results), allow_nan=False))
    assert value["simulated"] is True and "Simulated" in value["caution"][0]
    row = value["rows"]["video baseline"]
    assert np.array(row["confusion_by_subject"]).sum(0).tolist() == row["confusion"]
    assert set(row["figures"]["recall/N1"]) == {"value", "low", "high"}
    assert row["views"]["2"]["accuracy"] >= row["figures"]["accuracy"]["value"]
    severity = row["strata"]["severity of apnoea (AHI)"]
    assert {name: each["subjects"] for name, each in severity.items()} == {
        "normal": 2,
        "mild": 2,
        "moderate": 2,
        "severe": 2,
    }
    (difference,) = value["differences"]
    assert difference["reference"] == "video baseline"
    assert isinstance(difference["figures"]["accuracy"]["within_noise"], bool)


def test_printed_plainly_where_there_is_no_terminal(results: comparison.Results):
    stream = io.StringIO()
    comparison_files.show(results, stream)
    text = stream.getvalue()
    assert "\x1b" not in text
    assert max(map(len, text.split("Percent")[0].splitlines())) <= 100
    value = 100 * results.row("video baseline").figures["accuracy"].value
    assert re.search(rf"^video baseline +{value:.1f} ", text, re.MULTILINE)
    assert "Simulated nights" in text


class _Checker(HTMLParser):
    """Collects what a page asks a browser to fetch or run, and whether its tags match."""

    void = frozenset({"meta", "img", "br"})

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.fetched += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def _checked(page: str) -> _Checker:
    checker = _Checker()
    checker.feed(page)
    assert checker.open == []
    return checker


def test_the_written_files(results: comparison.Results, tmp_path: Path):
    page_path = comparison_files.write(results, ExperimentFolder(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "report.html",
        "results.json",
        "subjects.csv",
        "table.md",
    ]
    page = page_path.read_text()
    checker = _checked(page)
    assert all(address.startswith("data:image/png;base64,") for address in checker.fetched)
    assert (
        checker.tags.count("img") == 8
    )  # scores, subjects, recall, confusion, reliability, night, 2 curves
    assert "script" not in checker.tags and "link" not in checker.tags
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert page.count("Simulated nights") == 1
    assert "not a medical device" in page
    assert "1.7 min in 1 start: training 90.0%, compiling 10.0%" in page
    times = json.loads((tmp_path / "results.json").read_text())["time"]
    assert times["video baseline"]["goodput"] == 0.9
    table = (tmp_path / "table.md").read_text()
    assert table.count("\n| video with SACD |") == 1
    assert "Simulated nights" in table
    comparison_files.write(results, ExperimentFolder(tmp_path))  # again, over itself


def test_real_nights_have_no_banner_and_a_leak_is_named_everywhere(runs, tmp_path: Path):
    info = {"simulated": False, "split_mode": "paper_val"}
    found = comparison.compare(runs, {}, info, resamples=100)
    page = comparison_page(found)
    assert "Simulated" not in page
    assert "paper_val" in page
    assert "paper_val" in "".join(comparison_tables.main_table(found).notes)
    assert "paper_val" in comparison_files.as_json(found)["caution"][0]
    assert "neither trained on" not in page


def test_the_page_shows_the_data_card(results: comparison.Results):
    stages = {"W": 4001, "N1": 0, "N2": 7, "N3": 0, "REM": 0, "unknown": 52}
    counted = {"subjects": 3, "nights": 4, "clips": 4060, "stages": stages}
    card = {
        "splits": {"train": counted},
        "ahi_groups": {"severe": counted},
        "clock_sources": {"manifest": 4},
        "left_out": {"nights": 2, "clips": {"outside PSG": 811}},
    }
    page = comparison_page(replace(results, dataset_info={"data_card": card}))
    for said in ("Data card", "severe", "4001", "52", "outside PSG", "811", "manifest 4"):
        assert said in page


def test_the_page_says_whether_nights_are_whole(results: comparison.Results):
    assert "No test night is here as a whole" in comparison_page(results)
    nights = [(f"S{at}", TRUTH, NO_REM if at else LATER, WHOLE) for at in range(4)]
    found = night_agreement(predictions_of(nights))
    page = comparison_page(replace(results, nights={run.name: found for run in results.runs}))
    assert "Compared: 4 whole nights." in page and "Sleep statistics: EEG teacher" in page
    assert "No test night" not in page
    _checked(page)


def test_names_are_free(runs, tmp_path: Path):
    odd = {"truth": runs["EEG teacher"], "a|b <i>&": runs["video baseline"]}
    found = comparison.compare(odd, {}, DATASET_INFO, resamples=100)
    page = comparison_page(found)
    assert "a|b &lt;i&gt;&amp;" in page and "<i>" not in page
    _checked(page)
    comparison_files.write(found, ExperimentFolder(tmp_path))
    assert "a\\|b" in (tmp_path / "table.md").read_text()


def test_one_subject_one_run_absent_stages_and_no_log(tmp_path: Path):
    night = Night(subjects=1, stages=(0, 2))
    run = write_run(tmp_path / "run", night, 0.7, 0)
    (run / "metrics.jsonl").unlink()
    found = comparison.compare({"only": run}, {}, {"simulated": True}, resamples=50)
    assert found.differences == {}
    value = comparison_files.as_json(found)["rows"]["only"]["figures"]
    assert value["recall/REM"]["value"] is None and value["accuracy"]["low"] is None
    page = comparison_page(found)
    _checked(page)
    assert "Training" not in page
    assert "no intervals" in "".join(comparison_tables.main_table(found).notes)


def test_subjects_without_ahi_and_without_scored_clips(tmp_path: Path):
    night = Night(subjects=7)
    night.ahi[:] = np.nan
    night.stage[:100] = -1
    runs = {
        name: write_run(tmp_path / name, night, 0.6, at) for at, name in enumerate(("one", "two"))
    }
    found = comparison.compare(runs, {"hidden": predict(night, 0.9, 9)}, {}, resamples=100)
    assert found.differences["two", "one"]["accuracy"].subjects == 6
    assert found.groupings == ()
    assert "severity of apnoea" not in comparison_page(found)


def test_wrong_input_is_refused(runs, ceiling, tmp_path: Path):
    with pytest.raises(UserError, match="no runs"):
        comparison.compare({}, {}, {})
    short = {"hidden": ceiling["hidden signals"][:10]}
    with pytest.raises(UserError, match=r"'hidden' has shape \(10,\)"):
        comparison.compare(runs, short, {})
    night = Night(subjects=2)
    night.stage[:] = -1
    with pytest.raises(UserError, match="no test clip has a stage"):
        comparison.compare({"run": write_run(tmp_path / "run", night, 0.5, 0)}, {}, {})


def test_the_night_that_is_shown_is_neither_best_nor_worst(results: comparison.Results):
    run = results.runs[-1]
    right = run.predictions.predicted == run.predictions.stage
    scored = run.predictions.stage >= 0
    accuracy = {
        night: right[scored & (run.predictions.night_id == night)].mean()
        for night in np.unique(run.predictions.night_id)
    }
    assert sorted(accuracy.values()).index(accuracy[typical_night(run)]) == 3
