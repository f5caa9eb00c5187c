"""How well the sleep statistics of whole nights agree with the scorer's (Bland and Altman).

Statistics are of a night from lights off to lights on. Data sets often hold windows of a night, or
nights with holes; of those nothing is compared, for a window's efficiency or latency means nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped

from input_pipeline.stages import CLIP_SECONDS, STAGES, UNKNOWN
from sacd_jax.report.sleep_statistics import SleepStatistics, consecutive, sleep_statistics
from sacd_jax.report.statistics import LEVEL, Estimate
from sacd_jax.runs.predictions import Predictions

WHOLE_HOURS = 4.0
"""A shorter recording is a window or a nap."""

MOST_MISSING = 0.05
"""Share of a night's clips that may be missing or unscored."""

FEWEST_SUBJECTS = 3
"""Below this no limits of agreement are given."""

FIGURES: Mapping[str, str] = {
    "total_sleep_time": "total sleep time, min",
    "sleep_efficiency": "sleep efficiency, %",
    "sleep_onset_latency": "sleep onset latency, min",
    "wake_after_sleep_onset": "wake after sleep onset, min",
    "rem_latency": "REM latency, min",
    **{f"minutes/{name}": f"{name}, min" for name in STAGES},
}
"""What is compared -> its name with its unit."""


@dataclass(frozen=True)
class Agreement:
    """One statistic in truth and prediction, one pair a subject (the mean of several nights).

    Attributes:
        subjects: in whom both are defined.
        truth: their values from the scored stages.
        predicted: their values from the predicted stages.
        bias: mean of predicted − truth with its 95 % interval.
        deviation: standard deviation of the differences.
        lower: lower limit of agreement, bias − 1.96 deviations, with its interval.
        upper: upper limit of agreement.
    """

    subjects: Shaped[np.ndarray, " subjects"]
    truth: Float[np.ndarray, " subjects"]
    predicted: Float[np.ndarray, " subjects"]
    bias: Estimate
    deviation: float
    lower: Estimate
    upper: Estimate


@dataclass(frozen=True)
class NightAgreement:
    """Agreement of a run on the whole nights of a split.

    Attributes:
        nights: that were compared.
        short: nights that are windows of less than `WHOLE_HOURS`.
        holes: nights of which more than `MOST_MISSING` is missing or unscored.
        figures: of `FIGURES`; without any night there are none.
    """

    nights: int
    short: int
    holes: int
    figures: dict[str, Agreement]


def night_agreement(predictions: Predictions) -> NightAgreement:
    """Compares the statistics of every whole night of a split, averaged for each subject."""
    pairs: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {}
    short = holes = 0
    for night in np.unique(predictions.night_id):
        here = predictions.night_id == night
        clip_index, stage = predictions.clip_index[here], predictions.stage[here]
        truth, _ = consecutive(clip_index, stage)
        # Where nobody scored, nothing is compared.
        said, _ = consecutive(
            clip_index, np.where(stage >= 0, predictions.predicted[here], UNKNOWN)
        )
        if len(truth) * CLIP_SECONDS < 3600 * WHOLE_HOURS:
            short += 1
        elif (truth < 0).mean() > MOST_MISSING:
            holes += 1
        else:
            both = _values(sleep_statistics(truth)), _values(sleep_statistics(said))
            pairs.setdefault(str(predictions.subject_id[here][0]), []).append(both)
    figures = {}
    for name in FIGURES if pairs else ():
        values = {
            subject: [
                (t[name], p[name]) for t, p in nights if np.isfinite([t[name], p[name]]).all()
            ]
            for subject, nights in sorted(pairs.items())
        }
        means = {subject: np.mean(each, axis=0) for subject, each in values.items() if each}
        columns = np.array(list(means.values())).reshape(-1, 2).T
        figures[name] = bland_altman(np.array(list(means)), *columns)
    return NightAgreement(sum(map(len, pairs.values())), short, holes, figures)


def bland_altman(
    subjects: Shaped[np.ndarray, " subjects"],
    truth: Float[np.ndarray, " subjects"],
    predicted: Float[np.ndarray, " subjects"],
) -> Agreement:
    """Bias and 95 % limits of agreement with their 95 % intervals.

    Bland and Altman 1999, "Measuring agreement in method comparison studies": the variance of a
    limit is s² (1/n + 1.96² / (2 (n − 1))), Student's t with n − 1 degrees of freedom. What too few
    subjects do not define is nan.
    """
    from scipy import stats  # slow to import

    differences, count, nan = predicted - truth, len(truth), math.nan
    bias = float(differences.mean()) if count else nan
    if count < FEWEST_SUBJECTS:
        nothing = Estimate(nan, nan, nan)
        return Agreement(
            subjects, truth, predicted, Estimate(bias, nan, nan), nan, nothing, nothing
        )
    deviation = float(differences.std(ddof=1))
    t, z = (
        float(each)
        for each in (stats.t.ppf((1 + LEVEL) / 2, count - 1), stats.norm.ppf((1 + LEVEL) / 2))
    )
    wide_bias = t * deviation / math.sqrt(count)
    wide_limit = t * deviation * math.sqrt(1 / count + z**2 / (2 * (count - 1)))
    lower, upper = bias - z * deviation, bias + z * deviation
    return Agreement(
        subjects,
        truth,
        predicted,
        Estimate(bias, bias - wide_bias, bias + wide_bias),
        deviation,
        Estimate(lower, lower - wide_limit, lower + wide_limit),
        Estimate(upper, upper - wide_limit, upper + wide_limit),
    )


def _values(found: SleepStatistics) -> dict[str, float]:
    values = {}
    for name in FIGURES:
        kind, _, stage = name.partition("/")
        value = found.stage_minutes[stage] if stage else getattr(found, kind)
        values[name] = math.nan if value is None else float(value)
    return values
