"""Figures that show how far numbers can be believed: reliability diagrams, Bland-Altman plots."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from sacd_jax.report import plots
from sacd_jax.report.night_agreement import FIGURES, Agreement

_BEFORE = "#999999"


def reliability(
    runs: Mapping[str, tuple[Float[np.ndarray, "bins 3"], Float[np.ndarray, "bins 3"] | None]],
    colours: Mapping[str, str],
) -> Figure:
    """Share of right answers over confidence, one panel a run; below it the clips of each bin.

    Args:
        runs: name -> bins (clips, mean confidence, share right) as the network says, and after its
            temperature or None.
        colours: name -> colour.
    """
    across = min(3, len(runs))
    down = -(-len(runs) // across)
    figure = plots.new_figure(3.4 * across, 4.0 * down)
    grid = figure.subplots(
        2 * down, across, squeeze=False, sharex=True, height_ratios=[3, 1] * down
    )
    for axes in grid.flat:
        axes.set_visible(False)
    for place, (name, (plain, scaled)) in enumerate(runs.items()):
        upper, lower = (grid[2 * (place // across) + at, place % across] for at in (0, 1))
        upper.set_visible(True)
        lower.set_visible(True)
        upper.plot([0, 100], [0, 100], color=plots.FAINT, linewidth=1.2, zorder=0)
        drawn = {"as it says": (plain, _BEFORE, "s")}
        if scaled is not None:
            drawn["with temperature"] = (scaled, colours[name], "o")
        edges = np.linspace(0, 100, len(plain) + 1)
        for label, (bins, colour, marker) in drawn.items():
            filled = bins[:, 0] > 0
            upper.plot(
                100 * bins[filled, 1],
                100 * bins[filled, 2],
                color=colour,
                marker=marker,
                markersize=4,
                linewidth=1.4,
                label=label,
            )
            lower.stairs(bins[:, 0], edges, color=colour, linewidth=1.4)
        last = plain if scaled is None else scaled
        for bin_, count in enumerate(last[:, 0].astype(int)):
            if count:
                lower.annotate(
                    f"{count}",
                    ((edges[bin_] + edges[bin_ + 1]) / 2, count),
                    xytext=(0, 2),
                    textcoords="offset points",
                    ha="center",
                    fontsize=5.5,
                    color=plots.INK,
                )
        upper.set_xlim(0, 100)
        upper.set_ylim(0, 100)
        upper.set_ylabel("clips that are right, %", fontsize=8)
        upper.set_title(name, fontsize=10, fontweight="bold")
        upper.legend(fontsize=7, frameon=False, loc="upper left")
        lower.set_ylabel("clips", fontsize=8)
        lower.margins(y=0.2)
        lower.set_xlabel("probability of the predicted stage, %", fontsize=8)
        for axes in (upper, lower):
            plots.plain_axes(axes, "both")
    return figure


def bland_altman(figures: Mapping[str, Agreement], colour: str) -> Figure:
    """Difference over mean of each statistic, a dot a subject; bias and limits of agreement."""
    across = 3
    down = -(-len(figures) // across)
    figure = plots.new_figure(10.0, 2.5 * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(figures) :]:
        axes.set_visible(False)
    for axes, (name, found) in zip(grid.flat, figures.items(), strict=False):
        difference = found.predicted - found.truth
        axes.axhline(0, color="#888888", linewidth=0.8)
        axes.plot(
            (found.predicted + found.truth) / 2,
            difference,
            "o",
            color=colour,
            markersize=4,
            alpha=0.8,
        )
        lines = (
            (found.bias, "-", "bias"),
            (found.lower, "--", "limit"),
            (found.upper, "--", "limit"),
        )
        for estimate, style, label in lines:
            if np.isfinite(estimate.value):
                axes.axhline(estimate.value, color=plots.INK, linewidth=1.1, linestyle=style)
                axes.annotate(
                    f"{label} {estimate.value:+.0f}".replace("-", "−"),
                    (1, estimate.value),
                    xycoords=("axes fraction", "data"),
                    xytext=(-2, 2),
                    textcoords="offset points",
                    ha="right",
                    fontsize=7,
                )
            if np.isfinite(estimate.low):
                axes.axhspan(estimate.low, estimate.high, color=colour, alpha=0.12, linewidth=0)
        axes.set_title(FIGURES[name], fontsize=9, fontweight="bold")
        plots.plain_axes(axes, "both")
    for axes in grid.flat[len(figures) - across : len(figures)]:
        axes.set_xlabel("mean of scorer and network", fontsize=8)
    for axes in grid[:, 0]:
        axes.set_ylabel("network − scorer", fontsize=8)
    return figure
