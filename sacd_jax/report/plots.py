"""Figures of a report. Every function takes plain arrays and returns a new matplotlib figure.

Figures are made without pyplot and draw with Agg: no window, no global state, safe in threads.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from input_pipeline.stages import CLIP_SECONDS, STAGES
from sacd_jax.report.statistics import Estimate

# Okabe and Ito's colours: told apart by colour-blind readers and in grey print.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00")
"""Of runs, in order."""

GREYS = ("#BBBBBB", "#999999", "#777777", "#555555")
"""Of rows that are no runs: majority stage, ceilings."""

INK, FAINT, WRONG = "#222222", "#DDDDDD", "#C0392B"
_ROWS = LinearSegmentedColormap.from_list("share", ["#FFFFFF", "#9CC4E4", "#0B4F8A"])

# Top to bottom in a hypnogram: wake, REM, then ever deeper sleep.
_HEIGHT = {"W": 4, "REM": 3, "N1": 2, "N2": 1, "N3": 0}
_HEIGHTS = np.array([_HEIGHT[name] for name in STAGES], dtype=float)


def to_png(figure: Figure, dpi: int = 160) -> bytes:
    """The figure as a PNG file's bytes, without addresses or dates in its metadata."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of this size in inches, drawn with Agg."""
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def plain_axes(axes: Axes, grid: Literal["x", "y", "both"]) -> None:
    """Few lines, small figures, a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("#888888")
    axes.tick_params(colors=INK, labelsize=8, length=3)
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)


def confusion_matrices(
    counts: Mapping[str, Int[np.ndarray, "classes classes"]], names: Sequence[str] = STAGES
) -> Figure:
    """Confusion matrices side by side: share of the true stage's clips in percent, count below."""
    across = min(3, len(counts))
    down = -(-len(counts) // across)
    figure = new_figure(3.5 * across, 3.3 * down)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(counts) :]:
        axes.set_visible(False)
    for axes, (title, matrix) in zip(grid.flat, counts.items(), strict=False):
        totals = matrix.sum(-1, keepdims=True)
        share = np.where(totals > 0, 100 * matrix / np.maximum(totals, 1), np.nan)
        axes.imshow(np.nan_to_num(share), cmap=_ROWS, vmin=0, vmax=100, aspect="auto")
        for truth, predicted in np.ndindex(*matrix.shape):
            if not totals[truth, 0]:
                continue
            dark = share[truth, predicted] > 62
            colour = "white" if dark else INK
            axes.text(
                predicted,
                truth - 0.12,
                f"{share[truth, predicted]:.0f}%",
                ha="center",
                va="center",
                fontsize=9,
                color=colour,
                fontweight="bold" if truth == predicted else "normal",
            )
            axes.text(
                predicted,
                truth + 0.24,
                f"{matrix[truth, predicted]}",
                ha="center",
                va="center",
                fontsize=6,
                color=colour,
                alpha=0.8,
            )
        for truth in np.flatnonzero(totals[:, 0] == 0):
            axes.text(
                (len(names) - 1) / 2,
                truth,
                f"no clips of {names[truth]}",
                ha="center",
                va="center",
                fontsize=7,
                color="#888888",
            )
        axes.set_xticks(range(len(names)), names)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0, labelsize=8)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("predicted", fontsize=8)
        axes.set_ylabel("true stage", fontsize=8)
        axes.set_title(title, fontsize=10, fontweight="bold")
    return figure


def hypnogram(
    rows: Mapping[str, Int[np.ndarray, " slots"]],
    *,
    start: int = 0,
    clip_seconds: float = CLIP_SECONDS,
    colours: Mapping[str, str] | None = None,
) -> Figure:
    """Stages over one night: the first row is the truth, below it the predictions of each run.

    REM is drawn thick, as sleep laboratories do; slots without a stage are gaps; under each
    prediction a red mark stands where it differs from the truth.

    Args:
        rows: name -> stage of consecutive slots, -1 where there is none; equal lengths.
        start: index of the first slot in the night.
        clip_seconds: length of a slot.
        colours: name -> colour.
    """
    hours = len(next(iter(rows.values()))) * clip_seconds / 3600
    unit, scale = ("hours", 3600.0) if hours > 2 else ("minutes", 60.0)
    edges = (start + np.arange(len(next(iter(rows.values()))) + 1)) * clip_seconds / scale
    figure = new_figure(10.0, 0.4 + 1.35 * len(rows))
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    truth = next(iter(rows.values()))
    for place, (axes, (name, stage)) in enumerate(zip(panels, rows.items(), strict=True)):
        colour = INK if place == 0 else (colours or {}).get(name, COLOURS[(place - 1) % 6])
        height = np.where(stage >= 0, _HEIGHTS[stage], np.nan)
        axes.stairs(height, edges, baseline=None, color=colour, linewidth=1.2)
        rem = np.flatnonzero(stage == STAGES.index("REM"))
        axes.hlines(
            np.full(len(rem), _HEIGHT["REM"]), edges[rem], edges[rem + 1], color=colour, linewidth=4
        )
        title = name
        if place:
            both = (truth >= 0) & (stage >= 0)
            wrong = both & (truth != stage)
            axes.broken_barh(_slots(edges, wrong), (-0.75, 0.3), color=WRONG, linewidth=0)
            if both.any():
                title += f": {100 * (1 - wrong.sum() / both.sum()):.0f} % of clips right"
        axes.broken_barh(
            _slots(edges, truth < 0), (-0.75, 5.15), color="#F3F3F3", linewidth=0, zorder=0
        )
        axes.set_title(title, loc="left", fontsize=9, fontweight="bold", color=colour, pad=3)
        axes.set_yticks(_HEIGHTS, STAGES)
        axes.set_ylim(-0.75, 4.4)
        plain_axes(axes, "y")
    panels[-1].set_xlim(edges[0], edges[-1])
    panels[-1].set_xlabel(f"{unit} since the recording's start", fontsize=8)
    return figure


def _slots(edges: np.ndarray, chosen: np.ndarray) -> list[tuple[float, float]]:
    """Start and width of each chosen slot."""
    at = np.flatnonzero(chosen)
    return list(zip(edges[at], edges[at + 1] - edges[at], strict=True))


def scores(
    rows: Mapping[str, Mapping[str, Estimate]],
    figures: Mapping[str, str],
    colours: Mapping[str, str],
) -> Figure:
    """Dots with intervals: one panel a figure, one line a row, shared order.

    Args:
        rows: row -> figure -> estimate in [0, 1].
        figures: figure -> panel title; values are shown in percent.
        colours: row -> colour.
    """
    figure = new_figure(10.0, 0.75 + 0.3 * len(rows))
    panels = figure.subplots(1, len(figures), sharey=True, squeeze=False)[0]
    for axes, (key, title) in zip(panels, figures.items(), strict=True):
        for place, (name, found) in enumerate(rows.items()):
            estimate = found[key]
            if np.isfinite(estimate.low):
                axes.hlines(
                    place,
                    100 * estimate.low,
                    100 * estimate.high,
                    color=colours[name],
                    linewidth=3,
                    alpha=0.45,
                )
            axes.plot(100 * estimate.value, place, "o", color=colours[name], markersize=6)
            if np.isfinite(estimate.value):
                axes.annotate(
                    f"{100 * estimate.value:.0f}",
                    (100 * estimate.value, place),
                    xytext=(0, 5),
                    textcoords="offset points",
                    ha="center",
                    fontsize=7,
                    color=INK,
                )
        axes.set_title(title, fontsize=9, fontweight="bold")
        axes.set_xlim(min(0, axes.get_xlim()[0]), 100)
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.7)
        plain_axes(axes, "x")
    return figure


def recall_bars(
    rows: Mapping[str, Mapping[str, Estimate]],
    colours: Mapping[str, str],
    names: Sequence[str] = STAGES,
) -> Figure:
    """Recall of each stage as bars with intervals, one bar a row; absent stages are left empty."""
    figure = new_figure(10.0, 3.2)
    axes = figure.subplots()
    width = 0.82 / len(rows)
    for place, (name, found) in enumerate(rows.items()):
        each = [found[f"recall/{stage}"] for stage in names]
        value = 100 * np.array([estimate.value for estimate in each])
        low = 100 * np.array([estimate.low for estimate in each])
        high = 100 * np.array([estimate.high for estimate in each])
        at = np.arange(len(names)) + (place - (len(rows) - 1) / 2) * width
        axes.bar(at, np.nan_to_num(value), width * 0.92, color=colours[name], label=name)
        spread = np.isfinite(low) & np.isfinite(value)
        axes.vlines(at[spread], low[spread], high[spread], color=INK, linewidth=1)
    axes.set_xticks(range(len(names)), names)
    axes.set_ylim(0, 100)
    axes.set_ylabel("recall, % of the stage's clips", fontsize=8)
    plain_axes(axes, "y")
    axes.legend(
        fontsize=8,
        frameon=False,
        ncols=min(len(rows), 4),
        loc="upper right",
        bbox_to_anchor=(1, 1.18),
    )
    return figure


def subject_differences(
    subjects: Sequence[str],
    difference: Float[np.ndarray, " subjects"],
    label: str,
) -> Figure:
    """One bar a test subject: how much a figure rose or fell, in points, sorted."""
    defined = np.flatnonzero(np.isfinite(difference))
    order = defined[np.argsort(-difference[defined], kind="stable")]
    values = 100 * difference[order]
    figure = new_figure(10.0, 2.4)
    axes = figure.subplots()
    axes.bar(
        range(len(order)),
        values,
        width=0.7,
        color=[COLOURS[2] if value >= 0 else COLOURS[1] for value in values],
    )
    axes.axhline(0, color=INK, linewidth=0.8)
    few = len(order) <= 40
    axes.set_xticks(range(len(order)) if few else [], [subjects[at] for at in order] if few else [])
    axes.tick_params(axis="x", rotation=45 if few and len(order) > 10 else 0)
    axes.set_ylabel(label, fontsize=8)
    axes.set_xlabel("test subjects", fontsize=8)
    plain_axes(axes, "y")
    return figure


Curve = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]


def curves(
    panels: Mapping[str, Mapping[str, Curve]],
    colours: Mapping[str, str],
    *,
    lowest_zero: bool = False,
) -> Figure:
    """Curves over training steps: one panel a quantity, one line a run; empty curves are left out.

    Args:
        panels: title -> name -> (steps, values).
        colours: name -> colour.
        lowest_zero: whether the y axes start at zero.
    """
    figure = new_figure(10.0, 3.0)
    for axes, (title, runs) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for name, (steps, values) in runs.items():
            if not len(steps):
                continue
            smooth = _smoothed(values)
            if len(values) > 20:
                axes.plot(steps, values, color=colours[name], linewidth=0.6, alpha=0.25)
            marker = "o" if len(values) <= 40 else ""
            axes.plot(
                steps,
                smooth,
                color=colours[name],
                linewidth=1.8,
                marker=marker,
                markersize=3,
                label=name,
            )
        if lowest_zero:
            axes.set_ylim(bottom=0)
        axes.set_title(title, fontsize=9, fontweight="bold")
        axes.set_xlabel("training step", fontsize=8)
        plain_axes(axes, "both")
        if axes.lines:
            axes.legend(fontsize=8, frameon=False)
    return figure


def _smoothed(values: np.ndarray) -> np.ndarray:
    """Centred running mean over about a fifteenth of the curve; short curves stay as they are."""
    half = len(values) // 30
    total = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    low, high = np.maximum(at - half, 0), np.minimum(at + half + 1, len(values))
    return (total[high] - total[low]) / (high - low)


def graph_distances(positive: Curve, negative: Curve) -> Figure:
    """Distances of a group's own graph pair and of foreign pairs over training (SACD's L_D).

    The structure loss carries a signal only while the first lies below the second.
    """
    own, foreign = "same group (positive)", "other groups (negative)"
    return curves(
        {"distance between the graphs of video and EEG": {own: positive, foreign: negative}},
        {own: COLOURS[2], foreign: COLOURS[1]},
        lowest_zero=True,
    )
