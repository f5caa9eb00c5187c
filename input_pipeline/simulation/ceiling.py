"""How well sleep could be staged from what the video shows: classifiers on the hidden truth.

The ceiling is measured, not assumed: a plain classifier is trained on the true breathing and
movements of the training clips, once on the complete signals and once on their samples at the
times of the frames that a network sees. It belongs beside every result on simulated nights.
"""

from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float, Int

from input_pipeline.simulation.night_writer import truth_path
from input_pipeline.stages import CLIP_SECONDS

NAMES = FULL, AT_FRAMES = "hidden signals", "hidden signals at frame times"


class ClipRows(Protocol):
    """Rows of a split's table; other columns are ignored."""

    night_id: np.ndarray
    clip_index: np.ndarray
    stage: np.ndarray


def ceiling(
    nights_dir: Path,
    train: ClipRows,
    test: ClipRows,
    moments: int = 16,
    lags_s: tuple[float, ...] = (0.0, 0.5, 1.0),
    seed: int = 0,
) -> dict[str, Int[np.ndarray, " test"]]:
    """Stages predicted from hidden signals alone.

    Args:
        nights_dir: folder that `simulate_nights` wrote.
        train: clips to learn from; unknown stages are left out.
        test: clips to predict.
        moments: number of moments of a clip at which the network sees frames.
        lags_s: lags of the frames at each moment, seconds.
        seed: of the classifier.

    Returns:
        predicted stage of each test row, from the complete signals and from those at frame times.
    """
    learn = np.flatnonzero(np.asarray(train.stage) >= 0)
    predictions = {}
    for name, describe in (
        (FULL, clip_features),
        (AT_FRAMES, lambda clip: frame_features(clip, moments, lags_s)),
    ):
        known, unknown = (_features(nights_dir, rows, describe) for rows in (train, test))
        predictions[name] = fit_predict(
            known[learn], np.asarray(train.stage)[learn], unknown, seed
        ).astype(np.int32)
    return predictions


def fit_predict(
    features: Float[np.ndarray, "train features"],
    stages: Int[np.ndarray, " train"],
    unknown: Float[np.ndarray, "test features"],
    seed: int = 0,
) -> Int[np.ndarray, " test"]:
    """Predictions of the ceiling's plain classifier (gradient boosting) for unknown clips."""
    from sklearn.ensemble import HistGradientBoostingClassifier
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.06, min_samples_leaf=15, random_state=seed
    )
    with threadpool_limits(1):  # its threads busy-wait, which is slow where cores are shared
        return model.fit(features, stages).predict(unknown)


class HiddenClip:
    """The hidden signals of one clip."""

    SIGNALS = ("chest", "abdomen", "flow", "interval", "motion", "twitch", "posture")

    def __init__(self, truth: dict[str, np.ndarray], clip_index: int):
        self.rate = float(truth["rate"])
        self.begin = clip_index * CLIP_SECONDS
        samples = round(CLIP_SECONDS * self.rate)
        here = slice(clip_index * samples, (clip_index + 1) * samples)
        self.signals = {name: truth[name][here].astype(float) for name in self.SIGNALS}
        onset, duration = truth["movement_onset"], truth["movement_duration"]
        touches = (onset + duration > self.begin) & (onset < self.begin + CLIP_SECONDS)
        self.movement_seconds = duration[touches]
        self.movement_sizes = truth["movement_amplitude"][touches]
        self.resettles = int(truth["movement_resettles"][touches].sum())
        self.frame_rate = float(truth["frame_rate"])
        pace = 1 + 1e-6 * float(truth["sync_drift_ppm"])
        first = (self.begin - float(truth["video_begin"])) / pace * self.frame_rate
        # Frames that fall into the clip; their times in seconds after its start.
        numbers = np.arange(np.ceil(first), np.ceil(first + CLIP_SECONDS * self.frame_rate))
        self.frame_times = (
            float(truth["video_begin"]) + numbers / self.frame_rate * pace - self.begin
        )


def clip_features(clip: HiddenClip) -> Float[np.ndarray, " features"]:
    """Rate, depth and regularity of breathing, effort and flow, amount and kinds of movement."""
    s = clip.signals
    breaths = np.flatnonzero(np.diff(s["interval"]) != 0)
    lengths = s["interval"][np.concatenate([[0], breaths + 1])]
    steps = np.abs(np.diff(lengths)) if len(lengths) > 1 else np.zeros(1)
    pieces = s["chest"].reshape(6, -1), s["abdomen"].reshape(6, -1), s["flow"].reshape(6, -1)
    depth = [piece.std(axis=1) for piece in pieces]
    values = [lengths.mean(), lengths.std(), steps.mean(), steps.max(), lengths.max()]
    for piece in depth:
        values += [piece.mean(), piece.min(), piece.max(), piece.std() / (piece.mean() + 1e-3)]
    values.append(float((s["chest"] * s["abdomen"]).mean() / (depth[0] @ depth[1] / 6 + 1e-6)))
    for name in ("motion", "twitch"):
        signal = s[name].reshape(6, -1)
        values += [signal.mean(), (signal > 0.05).mean(), signal.max(), signal.mean(axis=1).std()]
    values += [len(clip.movement_sizes), clip.movement_seconds.sum(), clip.resettles]
    values += [clip.movement_sizes.max(initial=0), np.count_nonzero(np.diff(s["twitch"]) > 0)]
    return np.array([*values, s["posture"][-1]], float)


def frame_features(
    clip: HiddenClip, moments: int, lags_s: tuple[float, ...]
) -> Float[np.ndarray, " features"]:
    """The same signals, as far as frames at `moments` x `lags_s` can show them."""
    wanted = (np.arange(moments) + 0.5) * CLIP_SECONDS / moments
    wanted = wanted[:, None] + np.array(lags_s) - max(lags_s) / 2
    nearest = np.abs(clip.frame_times[None, None] - wanted[..., None]).argmin(axis=-1)
    samples = np.clip((clip.frame_times[nearest] * clip.rate).round().astype(int), 0, None)
    values: list[float] = []
    for name in ("chest", "abdomen"):
        seen = clip.signals[name][np.minimum(samples, len(clip.signals[name]) - 1)]
        values += [*np.sort(seen.ravel())[[0, -1]], seen.std()]
        if len(lags_s) > 1:
            steps = np.abs(np.diff(seen, axis=1)).ravel()
            values += [steps.mean(), steps.std(), *np.percentile(steps, [10, 50, 90])]
    for name in ("motion", "twitch"):
        seen = clip.signals[name][np.minimum(samples, len(clip.signals[name]) - 1)]
        shown = seen.max(axis=1)
        values += [seen.mean(), (shown > 0.05).mean(), np.median(shown), shown.max(), shown.std()]
    return np.array([*values, clip.signals["posture"][0]], float)


def _features(nights_dir: Path, rows: ClipRows, describe) -> Float[np.ndarray, "rows features"]:
    features: list[np.ndarray | None] = [None] * len(rows.night_id)
    for night_id in np.unique(rows.night_id):
        with np.load(truth_path(Path(nights_dir), str(night_id))) as file:
            truth = dict(file)
        for row in np.flatnonzero(rows.night_id == night_id):
            features[row] = describe(HiddenClip(truth, int(rows.clip_index[row])))
    return np.stack(features)
