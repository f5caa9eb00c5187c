"""Statistics of a staged night by the AASM's definitions, as plain JSON."""

from dataclasses import asdict
from typing import Any

from input_pipeline.stages import CLIP_SECONDS, VIEWS
from sacd_jax.report.sleep_statistics import sleep_statistics
from sacd_jax.staging.plausibility import doubts
from sacd_jax.staging.staged_night import StagedNight

DEFINITIONS = {
    "time_in_bed": "TIB: minutes of video, taken for lights off to lights on",
    "total_sleep_time": "TST: minutes of N1, N2, N3 and REM",
    "sleep_efficiency": "SE: TST in percent of TIB",
    "sleep_onset_latency": "SOL: minutes from the start to the first epoch of sleep",
    "persistent_sleep_latency": "LPS: minutes from the start to the first 10 unbroken minutes of "
    "sleep",
    "rem_latency": "minutes from sleep onset to the first REM",
    "wake_after_sleep_onset": "WASO: minutes awake from sleep onset to the end",
    "sleep_period_time": "SPT: minutes from sleep onset to the end of the last sleep",
    "sleep_maintenance": "TST in percent of SPT",
    "awakenings": "spells of wake between sleep",
    "stage_shifts": "changes of stage within the sleep period",
    "unscored": "minutes that could not be scored: neither sleep nor wake, but part of TIB, of SPT "
    "and of the latencies that they lie in",
}
"""What each figure is."""


def night_statistics(night: StagedNight) -> dict[str, Any]:
    """All figures of a night; None where the night does not define one."""
    views = {}
    for classes in VIEWS:
        names, label = night.view(classes)
        views[str(classes)] = {
            name: float((label == k).sum()) * CLIP_SECONDS / 60 for k, name in enumerate(names)
        }
    reasons = sorted({reason for reason in night.reasons if reason})
    return {
        "start": None if night.start is None else night.start.isoformat(sep=" "),
        "clock": night.clock or "not known: times are relative to the start of the video",
        "epochs": len(night),
        "not_scored": {reason: night.reasons.count(reason) for reason in reasons},
        "low_confidence_epochs": int(night.low_confidence.sum()),
        **asdict(sleep_statistics(night.stage)),
        "minutes_by_view": views,
        "doubts": doubts(night),
        "definitions": DEFINITIONS,
    }
