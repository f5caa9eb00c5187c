"""A picture by which a person can judge an alignment."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64

from input_pipeline.alignment.match import Match
from input_pipeline.alignment.reading import PsgSide, VideoSide
from input_pipeline.alignment.signals import (
    GRID_RATE,
    WINDOW_BINS,
    WINDOW_SECONDS,
    bin_centres,
)
from input_pipeline.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VIDEO, _PSG, _LINE = "#d98c00", "#173f66", "#b5403f"
_MINUTES = 10
_WAVE_SECONDS = 60


def draw_match(path: Path, title: str, video: VideoSide, psg: PsgSide, match: Match) -> None:
    """Draws the search, the windows' own offsets, and movement and breathing on the clock found.

    Args:
        path: PNG to write, whole or not at all.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 10), layout="constrained")
    figure.suptitle(title)
    upper, movement, breathing = figure.subfigures(3, 1, height_ratios=(1.25, 1, 1))
    _draw_search(*upper.subplots(1, 2), match)
    _draw_movement(movement.subplots(), video, psg, match)
    _draw_breathing(breathing.subplots(), video, psg, match)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png")


def _draw_search(score: "Axes", line: "Axes", match: Match) -> None:
    score.plot(match.lags_s, match.score, color=_PSG, linewidth=0.8)
    score.axhline(match.chance, color=_LINE, linestyle="--", label="best of 40 chance matches")
    score.set(
        xlabel="change of the offset, s",
        ylabel="standard deviations of chance",
        title="How well each offset fits",
    )
    score.legend(loc="best")
    hours, own = match.window_s / 3600, match.window_lag_s
    line.plot(hours, own, ".", color=_PSG, label="windows of 2 min")
    line.plot(hours, match.line_s, color=_LINE, label="line")
    middle = float(np.median(match.line_s))
    reach = float(np.nanmax(np.abs(own - middle), initial=0.3))
    line.set(
        xlabel="hours of the video",
        ylabel="change of the offset, s",
        title="Windows placed alone",
        ylim=(middle - 1.1 * reach, middle + 1.1 * reach),
    )
    line.ticklabel_format(useOffset=False)
    line.legend(loc="best")


def _draw_movement(axes: "Axes", video: VideoSide, psg: PsgSide, match: Match) -> None:
    on_psg = _on_psg_clock(psg.movement, match, len(video.movement))
    both = np.minimum(video.movement, on_psg)
    span = min(_MINUTES * 60 * GRID_RATE, len(both))
    sums = np.convolve(both, np.ones(span), "valid")
    part = slice(int(sums.argmax()), int(sums.argmax()) + span)
    minutes = bin_centres(len(both))[part] / 60
    axes.fill_between(minutes, video.movement[part], color=_VIDEO, label="video")
    axes.fill_between(minutes, -on_psg[part], color=_PSG, label="PSG (downwards)")
    axes.set(xlabel="minutes of the video", title="Movement on the clock found")
    axes.set_yticks([])
    axes.legend(loc="upper right")


def _draw_breathing(axes: "Axes", video: VideoSide, psg: PsgSide, match: Match) -> None:
    if not psg.breathing or not len(match.window_s):
        axes.set(title="No effort belt in the PSG")
        axes.set_axis_off()
        return
    belts = [_on_psg_clock(belt, match, len(video.movement)) for belt in psg.breathing]
    best, shown = -1.0, None
    for window in np.unique((match.window_s // WINDOW_SECONDS).astype(int)):
        part = slice(window * WINDOW_BINS, (window + 1) * WINDOW_BINS)
        for belt in belts:
            wave = belt[part]
            size = np.linalg.norm(wave)
            if len(wave) < WINDOW_BINS or size == 0:
                continue
            shares = video.breathing[window] @ (wave / size)
            if float(np.linalg.norm(shares)) > best:
                best = float(np.linalg.norm(shares))
                shown = part, video.breathing[window].T @ shares, wave / size
    if shown is None:
        axes.set_axis_off()
        return
    part, seen, wave = shown
    few = slice(0, _WAVE_SECONDS * GRID_RATE)
    minutes = bin_centres(len(video.movement))[part][few] / 60
    axes.plot(minutes, seen[few], color=_VIDEO, label="video")
    axes.plot(minutes, wave[few], color=_PSG, label="effort belt")
    axes.set(xlabel="minutes of the video", title="Breathing on the clock found, clearest window")
    axes.set_yticks([])
    axes.legend(loc="upper right")


def _on_psg_clock(
    signal: Float64[np.ndarray, " bins"], match: Match, bins: int
) -> Float64[np.ndarray, " {bins}"]:
    """A signal of the PSG at the bins of the video."""
    moments = match.clock.psg_seconds(bin_centres(bins))
    return np.interp(moments, bin_centres(len(signal)), signal, left=0, right=0)
