"""What of an embedding goes with the severity of apnoea (the paper's Fig. 7).

Each subject has one mean embedding a stage, over the clips that are truly of that stage. Spearman's
correlation of each channel with the subjects' AHI is taken across subjects. A channel "passes" with
p < .05; of channels that know nothing of the AHI a twentieth pass, and neighbours pass together,
so the share that passes stands beside that of the same embeddings with permuted AHI.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from input_pipeline.stages import AHI_GROUPS, ahi_group
from sacd_jax.runs.predictions import mean_over_nights

ALPHA = 0.05
"""Below this p a channel passes."""

TARGETS = ("AHI level", *AHI_GROUPS)
"""What is correlated with: the group as a number from 0 to 3, then each group against the rest."""

FEWEST_SUBJECTS = 5
"""Four subjects have 24 orders, of which 2 correlate perfectly: more than one in twenty."""


def stage_means(
    embedding: Float[np.ndarray, "clips dim"],
    stage: Int[np.ndarray, " clips"],
    subject_id: Shaped[np.ndarray, " clips"],
    classes: int,
) -> tuple[Shaped[np.ndarray, " subjects"], Float[np.ndarray, "subjects classes dim"]]:
    """Subjects in sorted order and their mean embedding in each true stage, nan without a clip."""
    subjects, of = np.unique(subject_id, return_inverse=True)
    scored = stage >= 0
    cell = of[scored] * classes + stage[scored]
    sums = np.zeros((len(subjects) * classes, embedding.shape[1]))
    np.add.at(sums, cell, embedding[scored])
    counts = np.bincount(cell, minlength=len(sums))[:, None]
    means = np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
    return subjects, means.reshape(len(subjects), classes, -1)


def subject_levels(
    subjects: Shaped[np.ndarray, " subjects"],
    subject_id: Shaped[np.ndarray, " clips"],
    night_id: Shaped[np.ndarray, " clips"],
    ahi: Float[np.ndarray, " clips"],
) -> Int[np.ndarray, " subjects"]:
    """Index into `AHI_GROUPS` of each subject's AHI, the mean over nights; -1 where not known."""
    means = mean_over_nights(np.where(ahi >= 0, ahi, np.nan), night_id, subject_id, subjects)
    return np.array([ahi_group(float(each)) if each >= 0 else -1 for each in means], int)


def targets(level: Int[np.ndarray, " subjects"]) -> Float[np.ndarray, "subjects targets"]:
    """The columns of `TARGETS` for subjects of these levels."""
    groups = np.arange(len(AHI_GROUPS))
    return np.column_stack([level, level[:, None] == groups]).astype(float)


def spearman(
    features: Float[np.ndarray, "subjects channels"], target: Float[np.ndarray, "subjects others"]
) -> tuple[Float[np.ndarray, "channels others"], Float[np.ndarray, "channels others"]]:
    """Spearman's rho of every channel with every other column, and its two-sided p.

    Equal to `scipy.stats.spearmanr` pair by pair (average ranks for ties, p by Student's t), in one
    product of matrices. A constant column has nan.
    """
    from scipy import stats  # slow to import

    def unit_ranks(values: np.ndarray) -> np.ndarray:
        ranks = stats.rankdata(values, axis=0)
        ranks -= ranks.mean(0)
        length = np.sqrt((ranks**2).sum(0))
        return ranks / np.where(length > 0, length, np.nan)

    rho = np.clip(unit_ranks(features).T @ unit_ranks(target), -1, 1)
    degrees = len(features) - 2
    with np.errstate(divide="ignore"):
        t = rho * np.sqrt(degrees / (1 - rho**2))
    return rho, 2 * stats.t.sf(np.abs(t), degrees)


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """Values of p adjusted for the false discovery rate; nan stays nan and is no test."""
    from scipy import stats

    adjusted, defined = np.full(len(p), np.nan), np.isfinite(p)
    if defined.any():
        adjusted[defined] = stats.false_discovery_control(p[defined], method="bh")
    return adjusted


@dataclass(frozen=True)
class Correlations:
    """Channels of one stage against one target."""

    stage: int
    target: str
    subjects: int
    rho: Float[np.ndarray, " channels"]  # nan where the channel or the target is constant
    p: Float[np.ndarray, " channels"]
    adjusted: Float[np.ndarray, " channels"]  # p after Benjamini and Hochberg
    permuted_rho: Float[np.ndarray, " channels"]  # of one permutation of the subjects' AHI
    permuted_passing: Float[np.ndarray, " permutations"]  # share of channels, each permutation

    @property
    def passing(self) -> float:
        """Share of channels with p < .05."""
        return float((self.p < ALPHA).mean())

    @property
    def passing_adjusted(self) -> float:
        """Share of channels with p < .05 after Benjamini and Hochberg."""
        return float((self.adjusted < ALPHA).mean())


def correlate(
    means: Float[np.ndarray, "subjects classes dim"],
    level: Int[np.ndarray, " subjects"],
    permutations: int = 200,
    seed: int = 0,
) -> list[Correlations]:
    """All stages against all `TARGETS`.

    Subjects of unknown AHI are left out, and in a stage those without a clip of it; a stage with
    fewer than `FEWEST_SUBJECTS` is left out.

    Args:
        means: of `stage_means`.
        level: of `subject_levels`.
        permutations: of the control.
        seed: of the control.
    """
    rng, found = np.random.default_rng(seed), []
    for stage in range(means.shape[1]):
        here = (level >= 0) & np.isfinite(means[:, stage]).all(-1)
        features, levels = means[here, stage], level[here]
        if len(levels) < FEWEST_SUBJECTS:
            continue
        columns = len(TARGETS)
        rho, p = spearman(features, targets(levels))
        shuffled = [targets(rng.permutation(levels)) for _ in range(permutations)]
        control_rho, control_p = spearman(features, np.concatenate(shuffled, axis=1))
        passing = (control_p < ALPHA).mean(0).reshape(permutations, columns)
        for at, target in enumerate(TARGETS):
            adjusted = benjamini_hochberg(p[:, at])
            control = (control_rho[:, at], passing[:, at])
            found.append(
                Correlations(stage, target, len(levels), rho[:, at], p[:, at], adjusted, *control)
            )
    return found


def correlation_rows(
    found: Sequence[Correlations], stages: Sequence[str]
) -> tuple[list[str], list[list[object]]]:
    """Header and rows of a CSV file: one row a stage, target and channel."""
    header = ["stage", "target", "channel", "rho", "p", "p_benjamini_hochberg", "rho_permuted"]
    rows = [
        [stages[one.stage], one.target, channel, *(f"{value:.6g}" for value in values)]
        for one in found
        for channel, values in enumerate(
            zip(one.rho, one.p, one.adjusted, one.permuted_rho, strict=True)
        )
    ]
    return header, rows


def summary_rows(
    found: Sequence[Correlations], stages: Sequence[str]
) -> tuple[list[str], list[list[object]]]:
    """Header and rows of a CSV file: one row a stage and target, with the shares that pass."""
    header = ["stage", "target", "subjects", "channels", "passing", "passing_benjamini_hochberg"]
    header += ["passing_permuted_mean", "passing_permuted_95th", "largest_rho", "smallest_rho"]
    rows: list[list[object]] = []
    for one in found:
        defined = one.rho[np.isfinite(one.rho)]
        shares = [one.passing, one.passing_adjusted, one.permuted_passing.mean()]
        shares.append(np.quantile(one.permuted_passing, 0.95))
        ends = [defined.max(), defined.min()] if defined.size else [np.nan, np.nan]
        numbers = [f"{value:.4f}" for value in (*shares, *ends)]
        rows.append([stages[one.stage], one.target, one.subjects, len(one.rho), *numbers])
    return header, rows
