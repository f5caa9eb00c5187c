import numpy as np
import pytest

from input_pipeline.simulation.hypnogram import N1, N2, N3, REM, W, score, simulate_hypnogram
from input_pipeline.simulation.settings import stream
from input_pipeline.simulation.subject import make_subject
from input_pipeline.stages import AHI_GROUPS

# Measured: 39 healthy nights (Sleep-EDF) and 25 of apnoea patients (UCDDB), see docs/simulator.md.
SHARES = {
    "normal": (0.096, 0.075, 0.473, 0.152, 0.205),
    "mild": (0.25, 0.13, 0.36, 0.13, 0.13),
    "moderate": (0.20, 0.16, 0.31, 0.15, 0.19),
    "severe": (0.20, 0.22, 0.33, 0.10, 0.15),
}
STAYS = {"normal": (0.865, 0.653, 0.910, 0.857, 0.950), "severe": (0.72, 0.78, 0.90, 0.92, 0.95)}


@pytest.fixture(scope="module")
def nights() -> dict[str, list[np.ndarray]]:
    """60 sleep periods (first to last sleep) of each AHI group."""
    found: dict[str, list[np.ndarray]] = {group: [] for group in AHI_GROUPS}
    for night in range(60 * len(AHI_GROUPS)):
        subject = make_subject(3, night, 0.5, 0.8)
        stages = simulate_hypnogram(stream(3, night, "hypnogram"), subject)
        asleep = np.flatnonzero(stages != W)
        found[AHI_GROUPS[subject.ahi_group]].append(stages[asleep[0] : asleep[-1] + 1])
    return found


def transitions(nights: list[np.ndarray]) -> np.ndarray:
    counts = np.zeros((5, 5))
    for stages in nights:
        np.add.at(counts, (stages[:-1], stages[1:]), 1)
    return counts / counts.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("group", AHI_GROUPS)
def test_shares_are_those_of_measured_nights(nights, group):
    shares = np.mean([np.bincount(n, minlength=5) / len(n) for n in nights[group]], axis=0)
    np.testing.assert_allclose(shares, SHARES[group], atol=0.045)


@pytest.mark.parametrize("group", sorted(STAYS))
def test_stages_last_as_long_as_measured(nights, group):
    np.testing.assert_allclose(np.diag(transitions(nights[group])), STAYS[group], atol=0.035)


def test_healthy_transitions_are_the_measured_ones(nights):
    measured = [
        [0.865, 0.112, 0.013, 0.001, 0.009],
        [0.058, 0.653, 0.247, 0.001, 0.042],
        [0.011, 0.019, 0.910, 0.046, 0.014],
        [0.006, 0.005, 0.132, 0.857, 0.001],
        [0.011, 0.022, 0.017, 0.000, 0.950],
    ]
    np.testing.assert_allclose(transitions(nights["normal"]), measured, atol=0.03)


def test_bouts_are_not_geometric(nights):
    # A first-order chain of the same mean would have a median of 0.69 means.
    lengths = [
        np.diff(np.concatenate([[0], np.flatnonzero(np.diff(n)) + 1, [len(n)]]))
        for n in nights["normal"]
    ]
    first = [n[np.concatenate([[0], np.flatnonzero(np.diff(n)) + 1])] for n in nights["normal"]]
    bouts, stages = np.concatenate(lengths), np.concatenate(first)
    light = bouts[stages == N2]
    assert np.median(light) / light.mean() < 0.6


def test_deep_sleep_comes_first_and_rem_last(nights):
    early = np.concatenate([n[:180] for n in nights["normal"]])
    late = np.concatenate([n[-180:] for n in nights["normal"]])
    assert np.mean(early == N3) > 2.5 * np.mean(late == N3)
    assert np.mean(late == REM) > 3 * np.mean(early == REM)
    latency = [np.flatnonzero(n == REM)[0] / 2 for n in nights["normal"] if (n == REM).any()]
    assert 62 <= np.median(latency) <= 112  # minutes; the interquartile range of real nights


def test_scorer_errs_at_the_asked_rate_and_only_to_neighbours():
    stages = np.repeat(np.arange(5, dtype=np.int8), 4000)
    scored = score(stream(0, 0, "scorer"), stages, label_noise=1.0)
    counts = np.zeros((5, 5))
    np.add.at(counts, (stages, scored), 1)
    rates = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(1 - np.diag(rates), (0.06, 0.35, 0.10, 0.17, 0.08), atol=0.025)
    assert rates[W, N2:].sum() == rates[N1, N3:].sum() == rates[N3, [W, N1, REM]].sum() == 0


def test_no_label_noise_copies_the_truth():
    stages = np.repeat(np.arange(5, dtype=np.int8), 10)
    np.testing.assert_array_equal(score(stream(0, 0, "scorer"), stages, 0.0), stages)
