"""Offset and drift between two clocks from movement and breathing that both recorded.

The video's windows of two minutes are correlated with the PSG at all offsets of a search range. The
curves are added along every straight line (offset, drift), so that windows too weak to be placed
alone still count; the best line is then fitted to the windows' own best offsets. What chance can do
is measured on the same night: windows of the video against windows of the PSG from other times.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from scipy.fft import irfft, next_fast_len, rfft
from scipy.optimize import least_squares

from input_pipeline.alignment.reading import PsgSide, VideoSide
from input_pipeline.alignment.signals import (
    COMPONENTS,
    GRID_RATE,
    WINDOW_BINS,
    WINDOW_SECONDS,
    bin_centres,
)
from input_pipeline.readers.sync import Clock

SURROGATES = 40
LEAST_WINDOWS = 10
LEAST_CONFIDENCE = 2.0
"""A match must be this much better than the best of `SURROGATES` false ones."""
MOST_AMBIGUOUS = 0.93
"""How good the next best offset may be, as a share of the best one."""
MOST_RESIDUAL_S = 0.5
MOST_UNCERTAIN_S = 0.25
_LOBE_S = 1.25
"""Half a slow breath: another offset this close is the same peak."""
_PARTS = ("first", "middle", "last")
_MOST_WANDER_S = 0.2
"""How far the windows may leave the line together."""
_LEAST_PART = 3.0
"""Standard deviations by which each third of the night must stand out on the line."""


@dataclass(frozen=True)
class Search:
    """How far from what the manifest says the truth may lie."""

    offset_s: float = 180.0
    drift_ppm: float = 200.0

    @property
    def lags_s(self) -> Float64[np.ndarray, " lags"]:
        bins = round(self.offset_s * GRID_RATE)
        return np.arange(-bins, bins + 1) / GRID_RATE

    @property
    def windows_apart(self) -> int:
        """Windows that many places apart never show the same moments within the range."""
        return int(2 * self.offset_s / WINDOW_SECONDS) + 1

    @property
    def least_windows(self) -> int:
        return max(LEAST_WINDOWS, 2 * self.windows_apart + 2)


@dataclass(frozen=True)
class Match:
    """What was found, and what the decision rests on."""

    clock: Clock
    """The best line; worth nothing if `refusal` says why."""
    refusal: str | None
    confidence: float
    """How many times better than the best chance match of the same night."""
    ambiguity: float
    """The next best offset as a share of the best."""
    residual_s: float
    """Root mean square distance of the windows' own offsets from the line, in seconds."""
    uncertainty_s: float
    """Standard error of the line where it is worst within the night, in seconds."""
    lags_s: Float64[np.ndarray, " lags"]
    """Offsets that were tried, relative to the clock the search began with."""
    score: Float64[np.ndarray, " lags"]
    """How good each is at the best drift, in standard deviations of chance."""
    chance: float
    """Best score among the false matches."""
    window_s: Float64[np.ndarray, " windows"]
    """Middle of each window, seconds of the video."""
    window_lag_s: Float64[np.ndarray, " windows"]
    """Each window's own best offset, relative as `lags_s`; NaN where it has none."""
    line_s: Float64[np.ndarray, " windows"]
    """The line at the middle of each window, relative as `lags_s`."""


def match(video: VideoSide, psg: PsgSide, prior: Clock, search: Search) -> Match | str:
    """Finds the line, or says why the two cannot be compared at all.

    Args:
        prior: what is known of the clocks; the search goes `search` to either side of it.
    """
    windows = _windows(video, psg, prior)
    if len(windows) < search.least_windows:
        counts = (len(windows), search.least_windows)
        shared, least = (f"{count * WINDOW_SECONDS / 60:.0f} min" for count in counts)
        return (
            f"by the manifest, video and PSG share {shared}; expected at least {least} for offsets "
            f"up to {search.offset_s:g} s"
        )
    if not video.movement.any() and not video.breathing.any():
        return "nothing moves in the video"
    if not psg.movement.any() and not any(belt.any() for belt in psg.breathing):
        return "nothing moves in the PSG"
    middles = (windows + 0.5) * WINDOW_SECONDS
    drifts = _drifts(search, float(np.ptp(middles)))
    centre_s = float(middles.mean())
    true = _curves(video, psg, windows, windows, prior, search)
    stacks = [[_stack(kind, middles - centre_s, drifts) for kind in true]]
    for i, others in enumerate(_others(windows, search)):
        false = _curves(video, psg, windows, others, prior, search, backwards=bool(i % 2))
        stacks.append([_stack(kind, middles - centre_s, drifts) for kind in false])
    planes = np.zeros((1 + SURROGATES, len(drifts), len(search.lags_s)))
    curves = np.zeros((len(windows), len(search.lags_s)))
    for curve, stack in zip(true, zip(*stacks, strict=True), strict=True):  # movement, breathing
        stacked = np.array(stack)
        mean, deviation = stacked[1:].mean(), stacked[1:].std()
        if deviation > 0:
            planes += (stacked - mean) / deviation
            curves += (curve - mean / len(windows)) / deviation
    spread = max(float(planes[1:].std()), 1e-12)
    planes /= spread
    curves /= spread
    return _decide(planes, curves, middles, drifts, prior, search)


def _windows(video: VideoSide, psg: PsgSide, prior: Clock) -> Int64[np.ndarray, " windows"]:
    """Numbers of the video's windows that lie in the PSG if the prior is right."""
    windows = np.arange(len(video.breathing))
    begin = prior.psg_seconds(windows * float(WINDOW_SECONDS))
    end = prior.psg_seconds((windows + 1) * float(WINDOW_SECONDS))
    return windows[(begin >= 0) & (end <= len(psg.movement) / GRID_RATE)]


def _others(
    windows: Int64[np.ndarray, " windows"], search: Search
) -> list[Int64[np.ndarray, " windows"]]:
    """For each window another one whose moments lie outside the search, at random."""
    rng = np.random.default_rng(0)
    far = [np.flatnonzero(abs(windows - window) >= search.windows_apart) for window in windows]
    return [windows[[rng.choice(choices) for choices in far]] for _ in range(SURROGATES)]


def _drifts(search: Search, seconds: float) -> Float64[np.ndarray, " drifts"]:
    """Drifts to try, in ppm: from one to the next the ends of the night move by a bin."""
    steps = int(np.ceil(search.drift_ppm * 1e-6 * seconds / 2 * GRID_RATE))
    return np.linspace(-search.drift_ppm, search.drift_ppm, 2 * steps + 1)


def _curves(
    video: VideoSide,
    psg: PsgSide,
    windows: Int64[np.ndarray, " windows"],
    others: Int64[np.ndarray, " windows"],
    prior: Clock,
    search: Search,
    *,
    backwards: bool = False,
) -> list[Float64[np.ndarray, "windows lags"]]:
    """How well each window of the video fits the PSG at each offset: by movement, by breathing.

    Args:
        others: windows whose place in the PSG is looked at.
        backwards: turn the PSG's excerpts round in time, for more false matches.
    """
    places = prior.psg_seconds(others * float(WINDOW_SECONDS))

    def excerpts(signal: Float64[np.ndarray, " bins"]) -> Float64[np.ndarray, "windows bins"]:
        bins = WINDOW_BINS + len(search.lags_s) - 1
        moments = places[:, None] + search.lags_s[0] + bin_centres(bins)
        values = np.interp(moments, bin_centres(len(signal)), signal, left=0, right=0)
        return values[:, ::-1] if backwards else values

    motion = video.movement[: len(video.breathing) * WINDOW_BINS]
    motion = np.pad(motion, (0, len(video.breathing) * WINDOW_BINS - len(motion)))
    motion = motion.reshape(-1, WINDOW_BINS)[windows]
    motion = motion - motion.mean(axis=1, keepdims=True)
    movement = _correlate(motion, excerpts(psg.movement))
    breathing = np.zeros_like(movement)
    for belt in psg.breathing:
        wave = excerpts(belt)
        total = np.cumsum(np.pad(wave**2, ((0, 0), (1, 0))), axis=1)
        energy = total[:, WINDOW_BINS:] - total[:, :-WINDOW_BINS]
        energy = np.maximum(energy, 0.01 * np.median(energy) + 1e-12)
        for component in range(COMPONENTS):
            # Squared: which way breathing moves a pixel depends on posture and camera.
            waves = video.breathing[windows, component]
            breathing += _correlate(waves, wave) ** 2 / energy
    return [movement, breathing]


def _correlate(
    short: Float64[np.ndarray, "windows bins"], long: Float64[np.ndarray, "windows more"]
) -> Float64[np.ndarray, "windows lags"]:
    """Sums of products of `short` with `long` from each place at which it lies inside."""
    size = next_fast_len(long.shape[1], real=True)
    products = irfft(np.conj(rfft(short, size)) * rfft(long, size), size)
    return products[:, : long.shape[1] - short.shape[1] + 1]


def _stack(
    curves: Float64[np.ndarray, "windows lags"],
    from_centre_s: Float64[np.ndarray, " windows"],
    drifts_ppm: Float64[np.ndarray, " drifts"],
) -> Float64[np.ndarray, "drifts lags"]:
    """Sum of the curves along each line: at [d, l] the line has offset l at the night's centre."""
    padded = np.pad(curves, ((0, 0), (1, 1)), mode="edge")
    lags = np.arange(curves.shape[1])
    rows = np.arange(len(curves))[:, None]
    stacked = []
    for drift in drifts_ppm:
        shift = np.rint(from_centre_s * drift * 1e-6 * GRID_RATE).astype(int)
        places = np.clip(lags + shift[:, None], -1, curves.shape[1]) + 1
        stacked.append(padded[rows, places].sum(axis=0))
    return np.array(stacked)


def _decide(
    planes: Float64[np.ndarray, "pairs drifts lags"],
    curves: Float64[np.ndarray, "windows lags"],
    middles: Float64[np.ndarray, " windows"],
    drifts: Float64[np.ndarray, " drifts"],
    prior: Clock,
    search: Search,
) -> Match:
    """The line, how sure it is, and whether that is enough."""
    lags = search.lags_s
    best_drift, best_lag = np.unravel_index(int(planes[0].argmax()), planes[0].shape)
    peak = float(planes[0].max())
    chance = max(float(planes[1:].max()), 1.0)
    elsewhere = float(planes[0][:, abs(lags - lags[best_lag]) > _LOBE_S].max())
    coarse = lags[best_lag] + (middles - middles.mean()) * drifts[best_drift] * 1e-6
    own, weights = _own_lags(curves, lags, coarse)
    offset, slope, residual, uncertainty = _fit_line(
        middles, own, weights, max(search.drift_ppm, 1.0) * 1e-6 / 2
    )
    thirds = np.array_split(_along_line(curves, lags, coarse), 3)
    parts = [float(third.sum(axis=0).max()) * 3**0.5 for third in thirds]
    wander = _wander(own - (offset + slope * middles))
    beyond = (abs(slope) - search.drift_ppm * 1e-6) * float(np.ptp(middles)) / 2
    refusal = None
    if peak < LEAST_CONFIDENCE * chance:
        refusal = (
            f"no offset within {search.offset_s:g} s is clearly better than chance (best match "
            f"{peak:.1f}, chance {chance:.1f} standard deviations): another night's video, a "
            "larger offset, or too little to see"
        )
    elif abs(lags[best_lag]) > search.offset_s - 2 or beyond > max(2 * uncertainty, 0.05):
        refusal = "the best match lies at the edge of the search; search further"
    elif elsewhere > MOST_AMBIGUOUS * peak:
        refusal = f"two offsets fit nearly as well ({elsewhere / peak:.2f} of the best)"
    elif min(parts) < _LEAST_PART:
        refusal = (
            f"nothing in the {_PARTS[int(np.argmin(parts))]} third of the night confirms it; a "
            "clock may have jumped"
        )
    elif wander > _MOST_WANDER_S:
        refusal = f"the windows leave the line by {wander:.2f} s together; a clock may have jumped"
    elif not (residual <= MOST_RESIDUAL_S and uncertainty <= MOST_UNCERTAIN_S):
        refusal = (
            f"the windows do not lie on a line (residual {residual:.2f} s, standard error "
            f"{uncertainty:.2f} s)"
        )
    return Match(
        clock=Clock(prior.offset_s + offset, prior.drift_ppm + slope * 1e6),
        refusal=refusal,
        confidence=peak / chance,
        ambiguity=max(elsewhere, 0.0) / peak if peak > 0 else 1.0,
        residual_s=residual,
        uncertainty_s=uncertainty,
        lags_s=lags,
        score=planes[0][best_drift],
        chance=chance,
        window_s=middles,
        window_lag_s=own,
        line_s=offset + slope * middles,
    )


def _along_line(
    curves: Float64[np.ndarray, "windows lags"],
    lags_s: Float64[np.ndarray, " lags"],
    line_s: Float64[np.ndarray, " windows"],
) -> Float64[np.ndarray, "windows near"]:
    """Each window's curve from `_LOBE_S` below the line to `_LOBE_S` above it."""
    near = np.arange(-round(_LOBE_S * GRID_RATE), round(_LOBE_S * GRID_RATE) + 1)
    places = np.rint((line_s - lags_s[0]) * GRID_RATE).astype(int)[:, None] + near
    return np.take_along_axis(curves, np.clip(places, 0, len(lags_s) - 1), axis=1)


def _own_lags(
    curves: Float64[np.ndarray, "windows lags"],
    lags_s: Float64[np.ndarray, " lags"],
    line_s: Float64[np.ndarray, " windows"],
) -> tuple[Float64[np.ndarray, " windows"], Float64[np.ndarray, " windows"]]:
    """Where each window's curve has its peak near the line, to fractions of a bin, and how high it
    is in standard deviations of chance; NaN and 0 where it has none of three."""
    near = _along_line(curves, lags_s, line_s) * len(curves) ** 0.5
    rows, top = np.arange(len(near)), near.argmax(axis=1)
    inner = np.clip(top, 1, near.shape[1] - 2)
    before, peak, after = (near[rows, inner + step] for step in (-1, 0, 1))
    bend = before - 2 * peak + after
    there = (top == inner) & (peak >= 3) & (bend < 0)
    shift = 0.5 * (before - after) / np.where(there, bend, -1)
    first = np.rint((line_s - lags_s[0]) * GRID_RATE) - round(_LOBE_S * GRID_RATE)
    own = lags_s[0] + (first + inner + shift) / GRID_RATE
    return np.where(there, own, np.nan), np.where(there, peak, 0.0)


def _fit_line(
    middles_s: Float64[np.ndarray, " windows"],
    own_s: Float64[np.ndarray, " windows"],
    weights: Float64[np.ndarray, " windows"],
    slope_deviation: float,
) -> tuple[float, float, float, float]:
    """A robust line through the windows' own offsets.

    Args:
        slope_deviation: how large slopes usually are. Few and scattered windows say nothing of the
            drift, and the line then stays flat.

    Returns:
        offset at the video's beginning, slope, root mean square residual (weighted), and the
        line's standard error at the worse end of the night; the latter two are infinite where
        fewer than four windows have an offset.
    """
    there = np.isfinite(own_s)
    if there.sum() < 4:
        return 0.0, 0.0, np.inf, np.inf
    centre, scale = float(middles_s.mean()), max(float(np.ptp(middles_s)) / 2, 1.0)
    place = (middles_s[there] - centre) / scale
    weight = np.sqrt(weights[there] / weights[there].mean())
    design = np.stack([np.ones_like(place), place], axis=1) * weight[:, None]
    target = weight * own_s[there]
    line = np.array([np.median(own_s[there]), 0.0])
    deviation = 0.1
    for _ in range(2):  # the second time with the deviation that the first one found
        likely = np.array([0.0, deviation / (slope_deviation * scale)])
        rows, ends = np.vstack([design, likely]), np.append(target, 0.0)
        line = least_squares(
            lambda x, a, b: a @ x - b, line, args=(rows, ends), loss="soft_l1", f_scale=0.1
        ).x
        left = design @ line - target
        deviation = float((left @ left / (len(left) - 2)) ** 0.5)
    covariance = deviation**2 * np.linalg.inv(rows.T @ rows)
    sides = [np.array([1.0, side]) for side in (-1.0, 1.0)]
    uncertainty = max(float(side @ covariance @ side) ** 0.5 for side in sides)
    slope = float(line[1]) / scale
    residual = float((left @ left / len(left)) ** 0.5)
    return float(line[0]) - slope * centre, slope, residual, uncertainty


def _wander(left_s: Float64[np.ndarray, " windows"]) -> float:
    """The part of the residuals' size (s) that neighbouring windows share.

    Half the mean square of differences between neighbours is the variance of what they do not
    share (von Neumann 1941).
    """
    left = left_s[np.isfinite(left_s)]
    if len(left) < 4:
        return 0.0
    return float(max(np.mean(left**2) - np.mean(np.diff(left) ** 2) / 2, 0.0)) ** 0.5
