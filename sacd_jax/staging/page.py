"""The page of a staged night: the hypnogram first, then what to think of it."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib.dates as dates
import numpy as np
from matplotlib.axes import Axes

from input_pipeline.stages import CLIP_SECONDS, STAGES
from sacd_jax.report import html, plots, tables
from sacd_jax.staging.staged_night import LOW_CONFIDENCE, StagedNight
from sacd_jax.staging.statistics import DEFINITIONS

# Light to deep; REM apart. Told from each other by colour-blind readers and in grey print.
STAGE_COLOURS = {
    "W": "#E69F00",
    "REM": "#CC79A7",
    "N1": "#A6D0EC",
    "N2": "#4C97C9",
    "N3": "#08457E",
}
_ORDER = ("N3", "N2", "N1", "REM", "W")
_UNSCORED = "#DDDDDD"


def night_figure(night: StagedNight) -> bytes:
    """Hypnogram, hypnodensity, movement and breathing over the night, as a PNG."""
    figure = plots.new_figure(10.0, 6.4)
    panels = figure.subplots(4, 1, sharex=True, height_ratios=[3, 2, 1, 1])
    edges = _edges(night)
    _hypnogram(panels[0], night, edges)
    _density(panels[1], night, edges)
    centres = edges[:-1] + np.diff(edges) / 2
    panels[2].fill_between(centres, np.nan_to_num(night.movement), color="#555555", linewidth=0)
    panels[2].set_ylabel("movement", fontsize=8)
    panels[2].set_yticks([])
    panels[3].plot(centres, night.breaths_a_minute, ".", color="#009E73", markersize=2)
    panels[3].set_ylabel("breaths\na minute", fontsize=8)
    panels[3].set_ylim(5, 35)
    for panel in panels:
        plots.plain_axes(panel, "y")
    panels[-1].set_xlim(edges[0], edges[-1])
    if night.start is None:
        panels[-1].set_xlabel("hours since the start of the video (no clock is known)", fontsize=8)
    else:
        panels[-1].xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
        panels[-1].set_xlabel("clock time", fontsize=8)
    return plots.to_png(figure)


def _edges(night: StagedNight) -> np.ndarray:
    seconds = np.arange(len(night) + 1) * CLIP_SECONDS
    if night.start is None:
        return seconds / 3600
    return dates.date2num(night.start) + seconds / 86400


def _hypnogram(axes: Axes, night: StagedNight, edges: np.ndarray) -> None:
    stage = night.stage
    height = np.array([_ORDER.index(name) for name in STAGES], float)
    axes.stairs(
        np.where(stage >= 0, height[stage], np.nan), edges, baseline=None, color="#222222", lw=1.1
    )
    rem = np.flatnonzero(stage == STAGES.index("REM"))
    axes.hlines(
        np.full(len(rem), height[STAGES.index("REM")]),
        edges[rem],
        edges[rem + 1],
        color=STAGE_COLOURS["REM"],
        linewidth=4,
    )
    for at in np.flatnonzero(stage < 0):
        axes.axvspan(edges[at], edges[at + 1], color=_UNSCORED, linewidth=0, zorder=0)
    low = np.flatnonzero(night.low_confidence)
    axes.plot(edges[low], np.full(len(low), -0.6), "|", color="#C0392B", markersize=4)
    axes.set_yticks(range(len(_ORDER)), _ORDER)
    axes.set_ylim(-0.9, 4.4)
    axes.set_title(
        f"stages (grey: not scored; red marks: probability below {LOW_CONFIDENCE:g})",
        loc="left",
        fontsize=9,
        fontweight="bold",
    )


def _density(axes: Axes, night: StagedNight, edges: np.ndarray) -> None:
    shares = np.nan_to_num(night.probabilities)
    centres = edges[:-1] + np.diff(edges) / 2
    axes.stackplot(
        centres,
        [shares[:, STAGES.index(name)] for name in _ORDER],
        colors=[STAGE_COLOURS[name] for name in _ORDER],
        labels=_ORDER,
        linewidth=0,
    )
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.5, 1])
    axes.set_ylabel("probability", fontsize=8)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7, frameon=False)


def night_page(night: StagedNight, statistics: Mapping[str, Any], picture: bytes, name: str) -> str:
    """One self-contained HTML document; no frame of the video is in it."""
    banners = []
    if night.model.get("simulated"):
        banners.append(
            "The network learned from simulated nights: what it says of a person's night means "
            "nothing."
        )
    title = f"Sleep stages from video: {name}"
    return html.page(title, _parts(night, statistics, picture), banners)


def _parts(night: StagedNight, statistics: Mapping[str, Any], picture: bytes) -> Iterator[str]:
    yield html.paragraph(_answer(statistics), "answer")
    for doubt in statistics["doubts"]:
        yield html.paragraph(f"Doubtful: {doubt}", "warn")
    yield html.picture(
        picture,
        "Hypnogram, probabilities, movement and breathing over the night",
        "Top: most likely stage of every 30 s. Below: how likely each stage is. Movement: change "
        "from picture to picture. Breathing: the strongest rhythm in the picture, where one stands "
        "out.",
    )
    yield html.heading("Statistics")
    yield html.table(_table(statistics))
    yield html.table(_stages(statistics))
    yield html.heading("What could not be scored")
    yield html.paragraph(_unscored(statistics))
    for note in night.notes:
        yield html.paragraph(f"Video: {note}", "soft")
    yield html.heading("How the network was trained and tested")
    yield html.definitions((key, _fact(value)) for key, value in night.model.items())


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _minutes(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f} min"


def _answer(statistics: Mapping[str, Any]) -> str:
    began = statistics["start"]
    clock = (
        f"The video begins at {began} (known from: {statistics['clock']}). "
        if began
        else ("No clock is known: times count from the start of the video. ")
    )
    return clock + (
        f"Of {_minutes(statistics['time_in_bed'])} in bed, "
        f"{_minutes(statistics['total_sleep_time'])} were sleep; "
        f"{_minutes(statistics['unscored'])} could not be scored."
    )


def _table(statistics: Mapping[str, Any]) -> tables.Table:
    rows = []
    for key, meaning in DEFINITIONS.items():
        value = statistics[key]
        if key in ("sleep_efficiency", "sleep_maintenance"):
            text = "–" if value is None else f"{value:.1f} %"
        elif key in ("awakenings", "stage_shifts"):
            text = str(value)
        else:
            text = _minutes(value)
        label = key.replace("_", " ").replace("rem ", "REM ")
        rows.append(tuple(tables.Cell(each) for each in (label, text, meaning)))
    return tables.Table("", ("", "value", "definition"), tuple(rows), prose=(2,))


def _stages(statistics: Mapping[str, Any]) -> tables.Table:
    rows = []
    for name, minutes in statistics["stage_minutes"].items():
        share = statistics["stage_percent"].get(name)
        cells = (name, _minutes(minutes), "–" if share is None else f"{share:.1f} %")
        rows.append(tuple(tables.Cell(each) for each in cells))
    for classes in ("4", "3", "2"):
        view = statistics["minutes_by_view"][classes]
        text = ", ".join(f"{name} {minutes:.1f}" for name, minutes in view.items())
        rows.append(tuple(tables.Cell(each) for each in (f"{classes} classes", text, "")))
    note = (
        "Fewer classes: the likeliest one where probabilities of its stages are added up, so their "
        "minutes may differ from the sums of the stages above."
    )
    return tables.Table("", ("stage", "minutes", "of sleep"), tuple(rows), (note,), prose=(1,))


def _unscored(statistics: Mapping[str, Any]) -> str:
    counts = statistics["not_scored"]
    if not counts:
        return "Every epoch was scored."
    return (
        "; ".join(
            f"{reason}: {count} epochs ({count * CLIP_SECONDS / 60:.1f} min)"
            for reason, count in counts.items()
        )
        + ". They have no stage; none was guessed."
    )
