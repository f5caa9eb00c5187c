"""What a sleep technician would doubt at a glance."""

import numpy as np

from input_pipeline.stages import CLIP_SECONDS, STAGES
from sacd_jax.staging.staged_night import StagedNight, stage_name

FULL_NIGHT_HOURS = 5.0
EARLY_REM_MINUTES = 15.0
ONE_STAGE_HOURS = 3.0
LOW_SHARE = 1 / 3
STILL_MINUTES = 20.0
HIDDEN_MINUTES = 5.0
"""Unscored minutes that a latency may hold."""
ONE_STAGE_SHARE = 0.8
"""Of all sleep; N2 has about half of it."""
_NOISE = 1.2
"""Movement up to this many times the least of the night is the camera's noise."""


def doubts(night: StagedNight) -> list[str]:
    """Why the staging of a night may be wrong, one sentence each; none for a plausible night."""
    stage, minutes = night.stage, CLIP_SECONDS / 60
    found = []
    unscored = int((~night.scored).sum())
    if unscored > 0.2 * len(night):
        found.append(f"{100 * unscored / len(night):.0f} % of the night could not be scored.")
    low, scored = int(night.low_confidence.sum()), int(night.scored.sum())
    if low > LOW_SHARE * scored:
        found.append(
            f"In {100 * low / scored:.0f} % of the scored epochs no stage has half of the "
            "probability."
        )
    asleep = stage > 0
    rem = stage == STAGES.index("REM")
    if not asleep.any():
        found.append("No sleep was found.")
    else:
        onset = int(asleep.argmax())
        if asleep.sum() * minutes >= FULL_NIGHT_HOURS * 60 and not rem.any():
            found.append("There is no REM sleep in a full night.")
        largest = int(np.bincount(stage[asleep]).argmax())
        share = (stage[asleep] == largest).mean()
        if asleep.sum() * minutes >= ONE_STAGE_HOURS * 60 and share > ONE_STAGE_SHARE:
            found.append(f"{stage_name(largest)} is {100 * share:.0f} % of all sleep.")
        latent = {"sleep": stage[:onset]}
        if rem.any():
            latent["REM sleep"] = stage[onset : int(rem.argmax())]
            if len(latent["REM sleep"]) * minutes < EARLY_REM_MINUTES:
                found.append(
                    f"REM sleep begins {len(latent['REM sleep']) * minutes:g} min after sleep "
                    "onset."
                )
        for name, before in latent.items():
            if (hidden := (before < 0).sum() * minutes) >= HIDDEN_MINUTES:
                found.append(
                    f"{hidden:g} min before the first {name} could not be scored: it may have come "
                    "earlier, and its latency be shorter."
                )
    label, length = max(_runs(stage), key=lambda run: run[1])
    if label >= 0 and length * minutes > ONE_STAGE_HOURS * 60:
        found.append(
            f"One stage, {stage_name(label)}, lasts {length * minutes / 60:.1f} h without a break."
        )
    begin, times = 0, []
    for still, length in _runs(_still(night)):
        if still and length * minutes >= STILL_MINUTES:
            clock = night.clock_time(begin)
            when = f"{clock:%H:%M}" if clock else f"{begin * minutes / 60:.1f} h after the start"
            times.append(f"for {length * minutes:g} min from {when} on")
        begin += length
    if times:
        found.append(
            f"Neither movement nor breathing was seen {', '.join(times)}: was anybody in bed?"
        )
    return found


def _still(night: StagedNight) -> np.ndarray:
    """1 where the picture shows no more change than a camera's noise, and no rhythm; else 0."""
    seen = np.isfinite(night.movement)
    if not seen.any():
        return np.zeros(len(night), int)
    noise = _NOISE * np.nanquantile(night.movement, 0.02)
    still = seen & (np.nan_to_num(night.movement) <= noise) & np.isnan(night.breaths_a_minute)
    return still.astype(int)


def _runs(labels: np.ndarray) -> list[tuple[int, int]]:
    """Label and length of each run of equal labels."""
    edges = np.flatnonzero(np.diff(labels)) + 1
    return [(int(run[0]), len(run)) for run in np.split(labels, edges)]
