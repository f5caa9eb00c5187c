"""Figures show what they are given."""

import subprocess
import sys

import numpy as np
import pytest

from input_pipeline.stages import STAGES
from sacd_jax.report import plots
from sacd_jax.report.statistics import Estimate


def test_png_bytes_without_address_and_date():
    png = plots.to_png(plots.confusion_matrices({"run": np.eye(5, dtype=int)}), dpi=40)
    assert png.startswith(b"\x89PNG")
    assert b"http" not in png and b"tEXt" not in png


def test_confusion_matrix_shows_shares_counts_and_absent_stages():
    counts = np.diag([30, 1, 4, 0, 2])
    counts[0, 1] = 10
    figure = plots.confusion_matrices({"run": counts})
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert "75%" in texts and "25%" in texts and "30" in texts
    assert "no clips of N3" in texts


def test_more_matrices_than_fit_in_a_row():
    figure = plots.confusion_matrices({str(at): np.eye(5, dtype=int) for at in range(4)})
    assert sum(axes.get_visible() for axes in figure.axes) == 4


def test_hypnogram_has_gaps_and_thick_rem():
    truth = np.array([0, 0, 2, -1, -1, 4, 4, 3])
    figure = plots.hypnogram({"truth": truth, "run": np.full(8, 4)}, start=100)
    axes = figure.axes[0]
    drawn = axes.patches[0].get_data()
    assert np.isnan(drawn.values).tolist() == (truth < 0).tolist()
    assert drawn.edges[0] == pytest.approx(50)  # minutes: 100 clips of 30 s
    order = [label.get_text() for label in axes.get_yticklabels()]
    heights = dict(zip(order, axes.get_yticks(), strict=True))
    assert heights["W"] > heights["REM"] > heights["N1"] > heights["N2"] > heights["N3"]
    (thick,) = [lines for lines in axes.collections if lines.get_linewidth()[0] > 3]
    assert len(thick.get_segments()) == 2
    assert "33 % of clips right" in figure.axes[1].get_title(loc="left")


def _estimates(value: float) -> dict[str, Estimate]:
    names = ("accuracy", *(f"recall/{stage}" for stage in STAGES))
    return {name: Estimate(value, value - 0.05, value + 0.05) for name in names}


def test_bars_and_dots_of_figures_that_are_not_defined():
    rows = {"one": _estimates(0.5), "two": _estimates(0.7)}
    rows["two"]["recall/N3"] = Estimate(np.nan, np.nan, np.nan)
    colours = {"one": "#000000", "two": "#ff0000"}
    bars = plots.recall_bars(rows, colours)
    heights = [patch.get_height() for patch in bars.axes[0].patches]
    assert heights == pytest.approx([50] * 5 + [70, 70, 70, 0, 70])
    dots = plots.scores(rows, {"accuracy": "accuracy"}, colours)
    assert [line.get_xdata()[0] for line in dots.axes[0].lines] == pytest.approx([50, 70])
    plots.to_png(bars, dpi=30)
    plots.to_png(dots, dpi=30)


def test_subject_bars_are_sorted_and_leave_out_undefined():
    figure = plots.subject_differences(["a", "b", "c"], np.array([0.01, np.nan, 0.05]), "points")
    assert [patch.get_height() for patch in figure.axes[0].patches] == pytest.approx([5, 1])
    assert [label.get_text() for label in figure.axes[0].get_xticklabels()] == ["c", "a"]


def test_curves_skip_what_was_never_logged():
    steps = np.arange(100.0)
    nothing = np.array([])
    figure = plots.curves(
        {"loss": {"one": (steps, steps), "two": (nothing, nothing)}},
        {"one": "#000000", "two": "#ff0000"},
    )
    labels = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert labels == ["one"]
    # a straight line stays straight under the running mean
    np.testing.assert_allclose(figure.axes[0].lines[1].get_ydata()[5:-5], steps[5:-5])


def test_distances_start_at_zero():
    steps = np.arange(10.0)
    figure = plots.graph_distances((steps, steps * 0 + 0.8), (steps, steps * 0 + 1.2))
    assert figure.axes[0].get_ylim()[0] == 0


def test_pyplot_is_not_touched():
    # in a process of its own: other libraries of the suite import pyplot
    code = "import sys, sacd_jax.report.plots; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
