"""How hard simulated nights are: plain classifiers on the files as they are read back.

These are the figures of docs/simulator.md. No neural network is used, and the simulator is tuned on
these figures alone, never on the results of a distillation method.
"""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.clips import ClipSettings, clips
from input_pipeline.night import read_manifest
from input_pipeline.picture_features import pixel_statistics
from input_pipeline.progress import Progress
from input_pipeline.simulation import ceiling
from input_pipeline.simulation.nights import MANIFEST
from input_pipeline.simulation.settings import SimulationSettings
from input_pipeline.stages import AHI_GROUPS, STAGES

FOLDS = 3


def eeg_features(eeg: Float[np.ndarray, "clips samples"], rate: float) -> np.ndarray:
    """Band powers, their shares, and how envelopes vary over the clip: float [clips, _]."""
    from scipy.signal import butter, sosfiltfilt

    seconds = int(rate)
    pieces = eeg[:, : eeg.shape[1] // (2 * seconds) * 2 * seconds]
    ranges = np.ptp(pieces.reshape(len(eeg), -1, 2 * seconds), axis=2)
    columns = [np.percentile(ranges, [10, 50, 90], axis=1).T]
    power = []
    for low, high in ((0.5, 2), (2, 4), (4, 8), (8, 12), (12, 15.5), (16, 30)):
        wave = sosfiltfilt(butter(4, [low, high], "band", fs=rate, output="sos"), eeg, axis=1)
        wave = wave[:, : wave.shape[1] // seconds * seconds].reshape(len(eeg), -1, seconds)
        envelope = np.sqrt((wave**2).mean(axis=2))
        columns.append(np.percentile(envelope, [10, 50, 90, 99], axis=1).T)
        power.append((wave**2).mean(axis=(1, 2)))
    bands = np.stack(power, axis=1)
    columns += [bands, bands / bands.sum(axis=1, keepdims=True)]
    return np.log(np.concatenate(columns, axis=1) + 1e-6)


def measure(settings: SimulationSettings, out: Path) -> list[dict[str, object]]:
    """Cross-validates over subjects how well EEG, pixels and the hidden truth predict the stages.

    Args:
        settings: what the nights in `out` were simulated with.
        out: folder that `simulate_nights` wrote.

    Returns:
        one row per set of features: name, accuracy, macro F1, kappa, recall of each stage.
    """
    from sklearn.metrics import cohen_kappa_score, f1_score, recall_score

    nights = read_manifest(out / MANIFEST)
    form = ClipSettings(settings.frame_rate, settings.height, settings.width, settings.eeg_rate)
    table: dict[str, list] = {key: [] for key in ("night_id", "subject_id", "clip_index", "stage")}
    eeg, pixels = [], []
    with Progress("read nights", len(nights), "night") as progress:
        for night in nights:
            for clip in clips(night, form):
                for key, column in table.items():
                    column.append(clip[key])
                eeg.append(clip["eeg"])
                pixels.append(pixel_statistics(clip["video"]))
            progress.advance()
    rows = {key: np.array(column) for key, column in table.items()}
    stage, fold = rows["stage"], _folds(rows["subject_id"])
    features = {
        "EEG, hand-crafted features": eeg_features(np.stack(eeg), settings.eeg_rate),
        "pixels, simple statistics": np.stack(pixels),
    }
    predicted = {name: np.empty(len(stage), int) for name in (*features, *ceiling.NAMES)}
    truth = _true_stages(out, rows)
    for part in range(FOLDS):
        train, test = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        for name, columns in features.items():
            predicted[name][test] = ceiling.fit_predict(columns[train], stage[train], columns[test])
        splits = [
            SimpleNamespace(**{key: column[part_rows] for key, column in rows.items()})
            for part_rows in (train, test)
        ]
        for name, values in ceiling.ceiling(out, *splits).items():
            predicted[name][test] = values
    predicted["majority stage"] = np.full(len(stage), np.bincount(stage).argmax())
    predicted["true stages (scorer's errors)"] = truth
    return [
        {
            "name": name,
            "accuracy": float(np.mean(values == stage)),
            "macro F1": float(f1_score(stage, values, average="macro")),
            "kappa": float(cohen_kappa_score(stage, values)),
            **dict(zip(STAGES, recall_score(stage, values, average=None), strict=True)),
        }
        for name, values in predicted.items()
    ]


def _folds(subjects: np.ndarray) -> Int[np.ndarray, " clips"]:
    """Fold of each clip: subjects stay whole, and every AHI group is spread over the folds."""
    names, number = np.unique(subjects, return_inverse=True)
    if len(names) < FOLDS * len(AHI_GROUPS):
        raise ValueError(f"{len(names)} subjects, expected {FOLDS * len(AHI_GROUPS)} or more")
    return number // len(AHI_GROUPS) % FOLDS


def _true_stages(out: Path, rows: dict[str, np.ndarray]) -> Int[np.ndarray, " clips"]:
    stages = np.empty(len(rows["stage"]), int)
    for night_id in np.unique(rows["night_id"]):
        here = rows["night_id"] == night_id
        with np.load(ceiling.truth_path(out, str(night_id))) as truth:
            stages[here] = truth["stage"][rows["clip_index"][here]]
    return stages


def as_markdown(results: list[dict[str, object]]) -> str:
    """The rows as a table."""
    header = list(results[0])
    lines = ["| " + " | ".join(header) + " |", "|---" * len(header) + "|"]
    for row in results:
        cells = [value if isinstance(value, str) else f"{value:.3f}" for value in row.values()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
