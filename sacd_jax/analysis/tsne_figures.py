"""The paper's Figs. 8 to 10 from predictions: a figure and the table of its points each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from input_pipeline.stages import AHI_GROUPS, STAGES
from sacd_jax.analysis import ahi, figures, tsne
from sacd_jax.analysis.figures import LEVEL_COLOURS, STAGE_COLOURS, Panel
from sacd_jax.runs.predictions import Predictions

SHOWN = (STAGES.index("N2"), STAGES.index("N3"))
"""Stages of Figs. 8 and 9."""

_NIGHT_COLOURS = ("#0072B2", "#CC79A7", "#E69F00", "#7F4F24")
"""Blue, pink, yellow, brown, as in the paper's Fig. 9."""

Made = tuple[Figure, tuple[list[str], list[list[Any]]]]


def _points(features: np.ndarray, seed: int) -> np.ndarray | None:
    few = len(features) < tsne.FEWEST_POINTS or features.shape[1] < 2
    return None if few else tsne.embed(features, seed)


def _number(value: float) -> str:
    return f"{value:.4f}"


def subjects(said: Predictions, seed: int) -> Made:
    """Fig. 8: a point a subject, its mean embedding in N2 or N3 in the channels whose rho with the
    AHI level is above `tsne.THRESHOLD`; below it the same with permuted levels."""
    names, means = ahi.stage_means(said.embedding, said.stage, said.subject_id, len(STAGES))
    level = ahi.subject_levels(names, said.subject_id, said.night_id, said.ahi)
    panels, rows = [], []
    for levels, control in (
        (level, "no"),
        (_permuted(level, seed), "yes"),
    ):
        for stage in SHOWN:
            here = (level >= 0) & np.isfinite(means[:, stage]).all(-1)
            features, own = means[here, stage], levels[here]
            few = len(own) < ahi.FEWEST_SUBJECTS
            chosen = np.zeros(features.shape[1], bool)
            if not few:
                chosen = tsne.channels_of_the_ahi(features, own)
            points = _points(features[:, chosen], seed)
            what = "AHI permuted" if control == "yes" else "subjects' AHI"
            title = f"{STAGES[stage]}, {what}: {chosen.sum()} of {len(chosen)} channels"
            panels.append(Panel(title, points, own))
            if points is None:
                continue
            rows += [
                [STAGES[stage], control, name, AHI_GROUPS[one], *map(_number, point)]
                for name, one, point in zip(names[here], own, points, strict=True)
            ]
    figure = figures.scatter(panels, figures.level_names(), LEVEL_COLOURS, across=2)
    return figure, (["stage", "permuted", "subject_id", "ahi_group", "x", "y"], rows)


def _permuted(level: np.ndarray, seed: int) -> np.ndarray:
    permuted, known = level.copy(), level >= 0
    permuted[known] = np.random.default_rng(seed).permutation(level[known])
    return permuted


def nights(said: Predictions, most: int, seed: int) -> Made:
    """Fig. 9: all N2 and N3 clips of one subject of each AHI group, coloured by subject."""
    names, of = np.unique(said.subject_id, return_inverse=True)
    level = ahi.subject_levels(names, said.subject_id, said.night_id, said.ahi)
    shown = tsne.subjects_to_show(said.subject_id, said.stage, level[of], np.array(SHOWN))
    labels = [
        f"{letter}: AHI {np.nanmean(said.ahi[said.subject_id == name]):.0f}"
        for letter, name in zip("ABCD", shown, strict=False)
    ]
    panels, rows = [], []
    for stage in SHOWN:
        clips = np.flatnonzero((said.stage == stage) & np.isin(said.subject_id, shown))
        clips = clips[tsne.sample(len(clips), most, seed)]
        kind = np.array([shown.index(name) for name in said.subject_id[clips]], dtype=int)
        points = _points(said.embedding[clips], seed)
        panels.append(Panel(f"{STAGES[stage]}: {len(clips)} clips", points, kind))
        if points is None:
            continue
        rows += [
            [STAGES[stage], said.night_id[at], int(said.clip_index[at]), *map(_number, point)]
            for at, point in zip(clips, points, strict=True)
        ]
    figure = figures.scatter(panels, labels, _NIGHT_COLOURS[: len(labels)])
    return figure, (["stage", "night_id", "clip_index", "x", "y"], rows)


def stages(runs: Mapping[str, Predictions], most: int, seed: int) -> Made:
    """Fig. 10: scored clips of each run, coloured by true stage."""
    panels, rows = [], []
    for name, said in runs.items():
        clips = np.flatnonzero(said.stage >= 0)
        clips = clips[tsne.sample(len(clips), most, seed)]
        points = _points(said.embedding[clips], seed)
        panels.append(Panel(f"{name}: {len(clips)} clips", points, said.stage[clips]))
        if points is None:
            continue
        rows += [
            [
                name,
                said.night_id[at],
                int(said.clip_index[at]),
                STAGES[said.stage[at]],
                *map(_number, point),
            ]
            for at, point in zip(clips, points, strict=True)
        ]
    figure = figures.scatter(panels, STAGES, STAGE_COLOURS)
    return figure, (["run", "night_id", "clip_index", "stage", "x", "y"], rows)
