"""Tables in their three forms, and the table of a sweep."""

import io
import json
import math

import numpy as np
import pytest

from sacd_jax.report import paper_results, tables
from sacd_jax.report.statistics import Estimate
from sacd_jax.report.tables import Cell, MethodRow, Table

TABLE = Table(
    "A title",
    ("", "accuracy", "kappa"),
    ((Cell("one"), Cell("51.2", "48–55"), Cell("0.40")), (Cell("two|2"), Cell("–"), Cell("0.5"))),
    ("A note.",),
)


def _counts(skill: float, subjects: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    right = rng.binomial(40, skill, size=(subjects, 5))
    counts = np.zeros((subjects, 5, 5), int)
    for at in range(5):
        counts[:, at, at] = right[:, at]
        counts[:, at, (at + 1) % 5] = 40 - right[:, at]
    return counts


def test_markdown():
    assert tables.markdown(TABLE) == (
        "**A title**\n\n|  | accuracy | kappa |\n|---|---:|---:|\n| one | 51.2 (48–55) | 0.40 |\n"
        "| two\\|2 | – | 0.5 |\n\nA note.\n"
    )


def test_plain_text_keeps_columns_and_puts_details_below():
    lines = tables.plain(TABLE).splitlines()
    assert lines[3] == "one        51.2   0.40"
    assert lines[4] == "          48–55"
    assert lines[5] == "two|2         –    0.5"


def test_drawn_on_a_terminal_and_plain_elsewhere():
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream, terminal = io.StringIO(), Terminal()
    tables.show(TABLE, stream)
    tables.show(TABLE, terminal)
    assert "─" not in stream.getvalue() and "\x1b" not in stream.getvalue()
    assert "51.2" in terminal.getvalue() and "A note." in terminal.getvalue()
    assert "━" in terminal.getvalue() or "─" in terminal.getvalue()


@pytest.mark.parametrize(
    ("name", "value", "signed", "printed"),
    [
        ("accuracy", 0.5249, False, "52.5"),
        ("accuracy", -0.012, True, "−1.2"),
        ("kappa", 0.473, False, "0.47"),
        ("kappa", 0.02, True, "+0.02"),
        ("recall/N1", math.nan, False, "–"),
    ],
)
def test_numbers(name: str, value: float, signed: bool, printed: str):
    assert tables.number(name, value, signed) == printed


def test_cells_without_an_interval():
    assert tables.estimate_cell("accuracy", Estimate(0.5, math.nan, math.nan)).detail == ""
    assert tables.estimate_cell("kappa", Estimate(0.0, 0.0, 0.0)).detail == ""
    assert tables.estimate_cell("accuracy", Estimate(0.5, 0.42, 0.58)).detail == "42–58"


def test_method_table_mean_spread_paper_and_judgement():
    rows = [
        MethodRow("R(2+1)D", {seed: _counts(0.5, seed=seed) for seed in range(3)}),
        MethodRow("SACD", {seed: _counts(0.7, seed=9 + seed) for seed in range(3)}, "AttnSleep"),
        MethodRow("PKT", {seed: _counts(0.5, seed=20 + seed) for seed in range(3)}, "AttnSleep"),
        MethodRow("CRD", {0: _counts(0.6)}, "AttnSleep"),
        MethodRow("IFD", {}, "AttnSleep"),
    ]
    text, value = tables.method_table(
        rows,
        reference="R(2+1)D",
        paper=paper_results.TABLE_2,
        title="Table II",
        notes=["Simulated nights."],
    )
    json.dumps(value, allow_nan=False)
    by_name = {row["name"]: row for row in value["rows"]}
    sacd = by_name["SACD"]
    accuracies = [
        np.trace(c.sum(0)) / c.sum() for c in (_counts(0.7, seed=9 + seed) for seed in range(3))
    ]
    assert sacd["accuracy"]["values"] == pytest.approx(accuracies)
    assert sacd["accuracy"]["mean"] == pytest.approx(np.mean(accuracies))
    assert sacd["accuracy"]["std"] == pytest.approx(np.std(accuracies, ddof=1))
    assert sacd["accuracy"]["paper"] == 0.644
    assert sacd["against_reference"]["accuracy"]["verdict"] == "better"
    assert sacd["against_reference"]["accuracy"]["value"] == pytest.approx(
        np.mean(accuracies) - by_name["R(2+1)D"]["accuracy"]["mean"]
    )
    assert by_name["PKT"]["against_reference"]["accuracy"]["verdict"] == "within noise"
    assert by_name["CRD"]["accuracy"]["std"] is None
    assert by_name["IFD"]["accuracy"] == {
        "mean": None,
        "std": None,
        "values": [],
        "paper": 0.611,
    }
    assert by_name["R(2+1)D"]["against_reference"] is None
    lines = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    assert " ± " in lines["| AttnSleep: SACD"] and "(64.4)" in lines["| AttnSleep: SACD"]
    assert "▲" in lines["| AttnSleep: SACD"] and "≈" in lines["| AttnSleep: PKT"]
    assert " ± " not in lines["| AttnSleep: CRD"]
    assert "Simulated nights." in text and "within noise" in text


def test_a_row_without_runs_or_the_papers_figures_is_left_out():
    def names(rows: list[MethodRow], **more) -> list[str]:
        _, value = tables.method_table(rows, reference="base", columns=("accuracy",), **more)
        return [row["name"] for row in value["rows"]]

    empty = [MethodRow("base", {}), MethodRow("IFD", {}, "AttnSleep"), MethodRow("new", {})]
    assert names(empty) == ["base", "IFD", "new"]
    with_runs = [*empty[1:], MethodRow("kd", {0: _counts(0.5)})]
    assert names(with_runs) == ["kd"]
    assert names(with_runs, paper=paper_results.TABLE_2) == ["IFD", "kd"]


def test_a_missing_reference_of_the_group_is_not_replaced_by_another():
    few = [MethodRow("base", {}, "few labels"), MethodRow("kd", {0: _counts(0.5)}, "few labels")]
    rows = [MethodRow("base", {0: _counts(0.9)}), *few]
    _, value = tables.method_table(rows, reference="base", columns=("accuracy",))
    assert [row["group"] for row in value["rows"]] == ["", "few labels"]
    assert value["rows"][1]["against_reference"] is None


def test_what_hangs_on_one_seed_is_within_noise():
    """All subjects gain, but under one of three seeds alone."""
    rows = [
        MethodRow("base", {seed: _counts(0.5, seed=seed) for seed in range(3)}),
        MethodRow("lucky", {seed: _counts((0.9, 0.5, 0.5)[seed], seed=seed) for seed in range(3)}),
    ]
    text, value = tables.method_table(rows, reference="base", columns=("accuracy",))
    record = value["rows"][1]
    assert record["against_reference"]["accuracy"]["verdict"] == "better"  # over subjects alone
    found = record["over_subjects_and_seeds"]["accuracy"]
    assert found["p"] > 0.2 and found["seeds"] == 3 and found["detectable"] > found["value"]
    assert f"≈ (p {found['p']:.2f}, detects {100 * found['detectable']:.1f})" in text


def test_method_table_of_other_classes_without_reference():
    counts = {0: np.stack([np.eye(3, dtype=int) * 4, np.ones((3, 3), int)])}
    text, value = tables.method_table(
        [MethodRow("CCL", counts)], columns=("accuracy",), names=("a", "b", "c")
    )
    assert value["rows"][0]["accuracy"]["mean"] == pytest.approx(15 / 21)
    assert "within noise" not in text and "paper" not in text


def test_the_papers_figures():
    sacd = paper_results.TABLE_2["AttnSleep", "SACD"]
    assert (sacd.accuracy, sacd.macro_f1, sacd.kappa) == (0.644, 0.589, 0.60)
    assert sacd.figure("recall/REM") == 0.678 and sacd.figure("mcc") is None
    assert len(paper_results.TABLE_2) == 2 + 3 * 7
    assert all(len(row.recall or ()) == 5 for row in paper_results.TABLE_2.values())
    assert paper_results.TABLE_3["", "SACD"].recall is None
    assert paper_results.TABLE_3["", "SACD"].figure("recall/W") is None
    assert paper_results.TABLE_4["", "D"].figure("recall/W") == 0.969
    full = paper_results.TABLE_5["", "full"]
    assert full.recall == sacd.recall and full.accuracy == sacd.accuracy
    assert max(paper_results.FIGURE_5.values()) == paper_results.FIGURE_5[0.5, 1.0, 1.0]
