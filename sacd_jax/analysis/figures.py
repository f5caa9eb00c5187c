"""The figures of an analysis. Every function takes plain arrays and returns a new figure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from input_pipeline.stages import AHI_GROUPS, CLIP_SECONDS, STAGES
from sacd_jax.analysis.ahi import ALPHA, TARGETS, Correlations
from sacd_jax.report.plots import COLOURS, FAINT, INK, WRONG, new_figure, plain_axes

STAGE_COLOURS = ("#E69F00", "#56B4E9", "#0072B2", "#D55E00", "#CC79A7")
"""W orange, N1 light blue, N2 blue, N3 red, REM purple, as in the paper's Fig. 10."""

LEVEL_COLOURS = ("#009E73", "#0072B2", "#E69F00", "#D55E00")
"""Normal green, mild blue, moderate orange, severe red, as in the paper's Fig. 8."""

_PERMUTED = "#999999"


def caption(figure: Figure, text: str) -> Figure:
    """The figure with small print below it."""
    figure.supxlabel(text, x=0.01, ha="left", fontsize=7, color="#666666")
    return figure


def ahi_correlations(found: Sequence[Correlations]) -> Figure:
    """Distribution of rho over channels (Fig. 7): a panel a target, a box a stage.

    Whiskers reach over all channels; grey beside it the same embeddings with one permutation of the
    AHI. Below stands the share of channels with p < .05, after Benjamini and Hochberg, and on the
    mean of the permutations.
    """
    figure = new_figure(12.0, 7.4)
    panels = figure.subplots(2, 3, sharey=True)
    for axes, target in zip(panels.flat, TARGETS, strict=False):
        own = [one for one in found if one.target == target]
        plain_axes(axes, "y")
        axes.axhline(0, color=INK, linewidth=0.7)
        for values, shift, colour in (
            ([one.rho for one in own], -0.17, COLOURS[0]),
            ([one.permuted_rho for one in own], 0.17, _PERMUTED),
        ):
            axes.boxplot(
                [value[np.isfinite(value)] for value in values],
                positions=np.arange(len(own)) + shift,
                widths=0.28,
                whis=(0, 100),
                patch_artist=True,
                boxprops={"facecolor": colour, "alpha": 0.55, "edgecolor": colour},
                whiskerprops={"color": colour},
                capprops={"color": colour},
                medianprops={"color": INK},
            )
        axes.set_xticks(
            range(len(own)),
            [
                f"{STAGES[one.stage]} (n = {one.subjects})\n{one.passing:.0%} pass\n"
                f"BH {one.passing_adjusted:.0%}\nperm. {one.permuted_passing.mean():.0%}"
                for one in own
            ],
        )
        axes.tick_params(axis="x", labelsize=7, length=0)
        axes.set_title(target, fontsize=10, fontweight="bold")
        axes.set_ylim(-1.02, 1.02)
    for axes in panels[:, 0]:
        axes.set_ylabel("Spearman's rho of a channel", fontsize=8)
    last = panels.flat[-1]
    last.set_axis_off()
    last.legend(
        handles=[
            Patch(color=COLOURS[0], alpha=0.55, label="subjects' AHI"),
            Patch(color=_PERMUTED, alpha=0.55, label="AHI permuted"),
        ],
        loc="upper left",
        handletextpad=0.6,
        title=f"n: subjects with clips of the stage\npass: share of channels with p < {ALPHA:g}\n"
        "BH: the same after Benjamini and Hochberg\nperm.: mean share of all permutations",
        title_fontsize=8,
        alignment="left",
        fontsize=8,
        frameon=False,
    )
    return figure


@dataclass(frozen=True)
class Panel:
    """Points in two dimensions with their kinds."""

    title: str
    points: Float[np.ndarray, "points 2"] | None  # None: there is nothing to draw
    kind: Int[np.ndarray, " points"]


def scatter(
    panels: Sequence[Panel], names: Sequence[str], colours: Sequence[str], across: int = 3
) -> Figure:
    """Points in two dimensions, a panel each, coloured by kind; axes have no meaning.

    Args:
        panels: their `kind` indexes `names` and `colours`.
        names: of kinds, in the legend.
        colours: of kinds.
        across: panels in a row.
    """
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    figure = new_figure(3.9 * across, 3.7 * down + 0.4)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat[len(panels) :]:
        axes.set_axis_off()
    for axes, panel in zip(grid.flat, panels, strict=False):
        axes.set_title(panel.title, fontsize=9, fontweight="bold")
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set_color(FAINT)
        if panel.points is None:
            axes.text(0.5, 0.5, "too few", ha="center", color="#888888", transform=axes.transAxes)
            continue
        size = float(np.clip(3000 / len(panel.points), 4, 40))
        colour = np.array(colours)[panel.kind]
        axes.scatter(*panel.points.T, s=size, c=colour, alpha=0.75, linewidths=0)
    handles = [
        Line2D([], [], color=colour, marker="o", linestyle="", label=name)
        for name, colour in zip(names, colours, strict=True)
    ]
    figure.legend(
        handles=handles,
        loc="outside upper center",
        ncols=len(names),
        fontsize=8,
        frameon=False,
        handletextpad=0.2,
    )
    return figure


def level_names() -> list[str]:
    """The AHI groups as they stand in a legend."""
    limits = ("below 5", "5 to 15", "15 to 30", "above 30")
    return [f"{name} (AHI {limit})" for name, limit in zip(AHI_GROUPS, limits, strict=True)]


@dataclass(frozen=True)
class ShownClip:
    """A clip, the truth and what networks said."""

    stage: int
    before: int  # stage of the clips around, -1 unknown
    after: int
    said: Mapping[str, Float[np.ndarray, " classes"]]  # network -> probabilities
    eeg: Float[np.ndarray, " samples"]  # microvolt
    frames: UInt8[np.ndarray, "frames height width channels"] | None = None


_FRAMES = 4


def clips(shown: Sequence[ShownClip], limit_uv: float = 100.0) -> Figure:
    """EEG of each clip with the truth and what the networks said, red where wrong (Figs. 11 to 13).

    Args:
        shown: with frames in all of them or in none.
        limit_uv: the axis goes to plus and minus this many microvolts.
    """
    frames = shown[0].frames is not None
    figure = new_figure(10.0, len(shown) * (2.6 if frames else 1.5) + 0.3)
    for part, clip in zip(np.atleast_1d(figure.subfigures(len(shown), 1)), shown, strict=True):
        ratios = [1.2, 1.5] if frames else [1]
        grid = part.add_gridspec(len(ratios), _FRAMES, height_ratios=ratios)
        axes = part.add_subplot(grid[0, :])
        seconds = np.linspace(0, CLIP_SECONDS, len(clip.eeg), endpoint=False)
        axes.plot(seconds, clip.eeg, color=INK, linewidth=0.5)
        axes.set_xlim(0, CLIP_SECONDS)
        axes.set_ylim(-limit_uv, limit_uv)
        axes.set_ylabel("EEG, µV", fontsize=7)
        plain_axes(axes, "x")
        axes.set_xlabel("seconds", fontsize=7, labelpad=1)
        axes.set_title(f"{STAGES[clip.stage]}{_around(clip)}", **_TITLE, loc="left")
        _verdicts(part, clip)
        if clip.frames is not None:
            at = np.linspace(0, len(clip.frames) - 1, _FRAMES).round().astype(int)
            for column, frame in enumerate(clip.frames[at]):
                picture = part.add_subplot(grid[1, column])
                grey = frame.mean(-1) if frame.shape[-1] == 1 else frame
                picture.imshow(grey, cmap="gray", vmin=0, vmax=255)
                picture.set_axis_off()
    return figure


_TITLE = {"fontsize": 9, "fontweight": "bold", "color": INK, "pad": 3}


def _around(clip: ShownClip) -> str:
    before, after = (STAGES[one] if one >= 0 else "?" for one in (clip.before, clip.after))
    return f"  (before: {before}, after: {after})"


def _verdicts(part, clip: ShownClip) -> None:
    axes = part.axes[0]
    places = np.linspace(0.55, 1.0, len(clip.said))
    for place, (name, probabilities) in zip(places, clip.said.items(), strict=True):
        said = int(np.argmax(probabilities))
        axes.text(
            place,
            1.03,
            f"{name}: {STAGES[said]} {probabilities[said]:.0%}",
            transform=axes.transAxes,
            ha="right",
            fontsize=9,
            color=COLOURS[2] if said == clip.stage else WRONG,
        )
