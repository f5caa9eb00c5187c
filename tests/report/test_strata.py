"""Groups of subjects: who is in which, and figures only where there are enough."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from input_pipeline.stages import VIEWS
from sacd_jax.report import comparison, comparison_files, comparison_tables
from sacd_jax.report.comparison_page import comparison_page
from sacd_jax.report.strata import FEWEST_SUBJECTS, Grouping, groupings, strata
from tests.report.conftest import Night, write_run


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    night = Night(subjects=14)
    people = {"age": np.repeat([np.nan, 17.9, *np.arange(18, 66, 4)], 100)}
    people["sex"] = np.repeat(["", "M", "M", "M", *"FFFFFFFFFF"], 100)
    run = write_run(tmp_path_factory.mktemp("runs") / "run", night, 0.7, 1)
    with np.load(run / "predictions_test.npz") as file:
        np.savez(run / "predictions_test.npz", **file, **people)
    return night, people, comparison.compare({"run": run}, {}, {}, resamples=200)


def test_who_is_in_which_group(compared) -> None:
    _, _, results = compared
    said = results.runs[0].predictions
    severity, sex, age = groupings(said, results.subjects)
    assert severity.group.tolist() == np.resize([0, 1, 2, 3], 14).tolist()
    assert sex.group.tolist() == [-1, 1, 1, 1] + 10 * [0]
    assert age.group.tolist() == [-1, 0] + 6 * [1] + 5 * [2] + [3]


def test_a_subject_of_several_nights_is_in_the_group_of_their_mean(compared) -> None:
    _, _, results = compared
    said = results.runs[0].predictions
    first = said.subject_id == "S01"  # AHI 2
    second = first & (np.cumsum(first) > 50)
    several = replace(
        said,
        night_id=np.where(second, "S01_2", said.night_id),
        ahi=np.where(second, 40.0, np.where(said.subject_id == "S02", np.nan, said.ahi)),
        age=np.where(second, 70.0, said.age),
        sex=np.where(second, "M", said.sex),
    )
    severity, sex, age = groupings(several, results.subjects)
    assert severity.group[:3].tolist() == [2, -1, 2]
    assert (sex.group[0], age.group[0]) == (1, 3)  # nothing is known of the first night


def test_figures_of_a_group_in_every_view(compared) -> None:
    night, people, results = compared
    found = results.strata["run"]["sex"]
    assert (found["male"].subjects, found["male"].views) == (3, {})
    women = found["female"]
    chosen = (people["sex"] == "F") & (night.stage >= 0)
    assert (women.subjects, women.clips) == (10, chosen.sum())
    truth, predicted = night.stage[chosen], results.runs[0].predictions.predicted[chosen]
    for view, (_, label) in VIEWS.items():
        seen, said = (np.array(label)[each] for each in (truth, predicted))
        kappa, accuracy = (women.views[view][name] for name in ("kappa", "accuracy"))
        assert kappa.value == pytest.approx(cohen_kappa_score(seen, said))
        assert accuracy.value == pytest.approx((seen == said).mean())
        assert accuracy.low < accuracy.value < accuracy.high
    stored = comparison_files.as_json(results)["rows"]["run"]["strata"]["age"]
    assert stored["18 to 39"]["views"]["3"]["accuracy"]["value"] > 0.5


def test_the_page_has_a_table_a_grouping_and_says_what_is_not_known(compared) -> None:
    _, _, results = compared
    page = comparison_page(results)
    for words in ("By severity of apnoea (AHI)", "By sex", "By age", "Not known of 1 subject."):
        assert words in page
    table = comparison_tables.strata_table(results, results.groupings[1])
    assert [row[0].text for row in table.rows] == ["female: run", "male"]
    assert (table.rows[1][1].text, table.rows[1][3].text) == ("3", "–")


def test_a_group_at_the_floor_has_figures() -> None:
    counts = np.tile(np.diag([9, 1, 9, 5, 5]) + 1, (FEWEST_SUBJECTS + 1, 1, 1))
    by = Grouping("half", ("one", "other"), np.array([0] * FEWEST_SUBJECTS + [1]))
    found = strata(counts, by, 50)
    assert found["one"].views and not found["other"].views
