"""A figure of one simulated night: hypnogram, EEG of each stage, frames, breathing and motion."""

from pathlib import Path

import numpy as np

from input_pipeline.clips import ClipSettings, clips
from input_pipeline.errors import UserError
from input_pipeline.files import whole_file
from input_pipeline.night import Night
from input_pipeline.simulation.night_writer import truth_path
from input_pipeline.simulation.nights import MANIFEST
from input_pipeline.simulation.settings import SimulationSettings
from input_pipeline.stages import CLIP_SECONDS, STAGES

_SECONDS_OF_EEG = 10
_COLOURS = ("#d98c00", "#7fb2d9", "#3f7fb5", "#173f66", "#b5403f")


def draw_night(settings: SimulationSettings, night: Night, folder: Path, path: Path) -> None:
    """Draws a night from its files as the readers return them; lines marked "hidden" are the truth.

    Args:
        settings: what the night was simulated with.
        night: the night.
        folder: folder of the nights, with `truth/`.
        path: image file to write; its suffix chooses the format.
    """
    from matplotlib.figure import Figure

    form = ClipSettings(settings.frame_rate, settings.height, settings.width, settings.eeg_rate)
    records = list(clips(night, form))
    with np.load(truth_path(folder, night.night_id)) as file:
        truth = dict(file)
    figure = Figure(figsize=(13, 11.5), layout="constrained")
    top, middle, bottom = figure.subfigures(3, 1, height_ratios=(3.6, 3.3, 2.3))
    figure.suptitle(
        f"Simulated night {night.night_id}: {night.sex}, {night.age:.0f} years, AHI {night.ahi:.0f}"
    )
    _draw_course(top, records, truth, settings)
    examples = _examples(records, truth)
    _draw_eeg(middle, examples, settings.eeg_rate)
    _draw_frames(bottom, examples)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def choose_night(nights: list[Night], folder: Path, night_id: str | None) -> Night:
    """The night with that id, or the one whose rarest stage lasts longest.

    Raises:
        UserError: no night has that id.
    """
    if night_id is not None:
        found = [night for night in nights if night.night_id == night_id]
        if not found:
            raise UserError(f"night {night_id}: not in {folder / MANIFEST}")
        return found[0]

    def rarest(night: Night) -> int:
        with np.load(truth_path(folder, night.night_id)) as truth:
            return int(np.bincount(truth["stage"], minlength=len(STAGES)).min())

    return max(nights, key=rarest)


def _draw_course(panel, records: list[dict], truth: dict, settings: SimulationSettings) -> None:
    axes = panel.subplots(4, 1, sharex=True, height_ratios=(2, 1, 1, 1))
    depth = np.array([4, 2, 1, 0, 3])  # W on top, then REM, N1, N2, N3
    minutes = np.arange(len(truth["stage"]) + 1) * CLIP_SECONDS / 60
    scored = truth["scored"]
    axes[0].stairs(depth[truth["stage"]], minutes, color="black", baseline=None, label="truth")
    wrong = np.flatnonzero(scored != truth["stage"])
    axes[0].plot(
        minutes[wrong] + 0.25, depth[scored[wrong]], "x", color="#b5403f", label="mis-scored"
    )
    order = np.argsort(depth)
    axes[0].set_yticks(range(len(STAGES)), [STAGES[stage] for stage in order])
    axes[0].legend(loc="upper right", fontsize=8, ncols=2)
    time = np.arange(len(truth["abdomen"])) / float(truth["rate"]) / 60
    axes[1].plot(time, truth["abdomen"], color="#3f7fb5", linewidth=0.3)
    axes[1].set_ylabel("abdomen\n(hidden)")
    for onset, duration in zip(truth["event_onset"], truth["event_duration"], strict=True):
        axes[1].axvspan(
            onset / 60, (onset + duration) / 60, color="#b5403f", alpha=0.4, linewidth=0
        )
    axes[2].plot(
        time, np.minimum(truth["motion"], 40), color="black", linewidth=0.5, label="movement"
    )
    axes[2].vlines(
        truth["twitch_onset"] / 60, -12, -4, color=_COLOURS[4], linewidth=0.5, label="twitches"
    )
    axes[2].legend(loc="upper right", fontsize=8, ncols=2)
    axes[2].set_ylabel("motion\n(hidden)")
    when = [
        (record["clip_index"] + (k + 1) / len(record["video"])) * CLIP_SECONDS / 60
        for record in records
        for k in range(len(record["video"]) - 1)
    ]
    change = np.concatenate(
        [
            np.abs(np.diff(record["video"].astype(np.float32), axis=0)).mean(axis=(1, 2, 3))
            for record in records
        ]
    )
    axes[3].plot(when, change, color="black", linewidth=0.5)
    axes[3].set_ylabel("change\n(MP4)")
    axes[3].set_xlabel("minutes (apnoeas and hypopnoeas shaded; change is between frames)")
    axes[3].set_xlim(0, minutes[-1])


def _examples(records: list[dict], truth: dict) -> list[tuple[int, dict]]:
    """A clip of each stage that occurs, with little disturbance in its EEG."""
    found = []
    for stage in range(len(STAGES)):
        right = [record for record in records if truth["stage"][record["clip_index"]] == stage]
        if right:
            quiet = sorted(right, key=lambda record: float(np.abs(record["eeg"]).max()))
            found.append((stage, quiet[len(quiet) // 3]))
    return found


def _draw_eeg(panel, examples: list[tuple[int, dict]], rate: int) -> None:
    axes = np.atleast_1d(panel.subplots(len(examples), 1, sharex=True, sharey=True))
    samples = _SECONDS_OF_EEG * rate
    for axis, (stage, record) in zip(axes, examples, strict=True):
        pieces = record["eeg"][: len(record["eeg"]) // samples * samples].reshape(-1, samples)
        axis.plot(np.arange(samples) / rate, pieces[1], color=_COLOURS[stage], linewidth=0.7)
        axis.set_ylabel(STAGES[stage])
        axis.set_ylim(-110, 110)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_title("EEG C3-A2, microvolts (read back from the EDF+)", fontsize=10, loc="left")
    axes[-1].set_xlabel("seconds")


def _draw_frames(panel, examples: list[tuple[int, dict]]) -> None:
    axes = panel.subplots(2, len(examples), squeeze=False)
    for column, (stage, record) in enumerate(examples):
        video = record["video"][..., 0].astype(np.float32)
        axes[0, column].imshow(video[0], cmap="gray", vmin=0, vmax=255)
        axes[0, column].set_title(STAGES[stage], fontsize=10)
        axes[1, column].imshow(video.std(axis=0), cmap="magma", vmin=0, vmax=15)
        for axis in axes[:, column]:
            axis.set_xticks([])
            axis.set_yticks([])
    axes[0, 0].set_ylabel("first frame")
    axes[1, 0].set_ylabel("change in 30 s")
