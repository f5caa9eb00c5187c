"""Breathing, apnoeas, movements and posture of whole nights against the measured figures."""

import numpy as np
import pytest

from input_pipeline.simulation.hypnogram import N1, N2, N3, REM, W
from input_pipeline.simulation.recording import HiddenSignals, Recording, hidden_signals, plan
from input_pipeline.simulation.settings import SimulationSettings
from input_pipeline.stages import CLIP_SECONDS

WHOLE = SimulationSettings(nights=16, hours=0, seed=2)


@pytest.fixture(scope="module")
def nights() -> list[Recording]:
    return [plan(WHOLE, night)[0] for night in range(WHOLE.nights)]


@pytest.fixture(scope="module")
def signals(nights) -> list[HiddenSignals]:
    return [hidden_signals(WHOLE, night) for night in nights[1:6]]


def stage_of(night: Recording, times: list[float]) -> np.ndarray:
    return night.stages[np.minimum(np.array(times) // 30, len(night.stages) - 1).astype(int)]


def test_the_ahi_that_was_asked_for_happens(nights):
    for night in nights:
        assert night.ahi == pytest.approx(night.subject.ahi_target, rel=0.1, abs=0.1)
        hours = np.sum(night.stages != W) * CLIP_SECONDS / 3600
        assert len(night.events) / hours == pytest.approx(night.ahi, abs=0.01)


def test_events_are_as_long_as_measured_and_come_in_sleep(nights):
    events = [(night, event) for night in nights for event in night.events]
    durations = np.array([event.duration for _, event in events])
    assert np.percentile(durations, [25, 50, 75]) == pytest.approx([14, 17, 21], abs=2)
    stages = np.concatenate([stage_of(n, [e.onset for e in n.events]) for n in nights])
    share = np.bincount(stages, minlength=5) / len(stages)
    assert share[W] == 0
    assert share[N3] < 0.08
    assert all(
        a.end + 9 < b.onset for n in nights for a, b in zip(n.events, n.events[1:], strict=False)
    )


def test_apnoeas_stop_the_airflow_and_obstructive_ones_not_the_effort(nights, signals):
    flows, efforts = {0: [], 1: [], 2: []}, {0: [], 1: [], 2: []}
    for night, hidden in zip(nights[1:6], signals, strict=True):
        quiet = np.median(np.abs(hidden.breathing.flow))
        effort = np.median(np.abs(hidden.breathing.abdomen))
        for event in night.events:
            inside = slice(*np.searchsorted(hidden.time, [event.onset + 1.5, event.end - 1.5]))
            flows[event.kind].append(np.mean(np.abs(hidden.breathing.flow[inside])) / quiet)
            efforts[event.kind].append(np.mean(np.abs(hidden.breathing.abdomen[inside])) / effort)
    hypopnoea, obstructive, central = (np.median(flows[kind]) for kind in range(3))
    assert obstructive < 0.12 and central < 0.12 and 0.2 < hypopnoea < 0.75
    assert np.median(efforts[1]) > 0.5 > 0.2 > np.median(efforts[2])


def test_breathing_follows_the_stage(signals):
    stages = np.concatenate([hidden.stages for hidden in signals])
    # Relative to the sleeper's own mean: people differ more than stages do.
    rate = np.concatenate([h.breathing.interval.mean() / h.breathing.interval for h in signals])
    change = np.concatenate(
        [np.abs(np.diff(np.log(h.breathing.interval), prepend=0)) for h in signals]
    )
    steps = [change[(stages == stage) & (change > 0)].mean() for stage in range(5)]
    assert steps[W] > steps[N1] > steps[N2] > 1.3 * steps[N3]
    # Breaths of REM sleep go along with their neighbours: they stray, but not from one to the next.
    stray = [np.log(rate[stages == stage]).std() for stage in range(5)]
    assert stray[W] > stray[REM] > 1.2 * stray[N2] > 1.2 * stray[N3]
    medians = [np.median(rate[stages == stage]) for stage in range(5)]
    assert medians[N3] < medians[N2] < medians[REM]
    depth = np.concatenate(
        [np.abs(h.breathing.flow) / np.abs(h.breathing.flow).mean() for h in signals]
    )
    assert depth[stages == REM].mean() < 0.93 * depth[stages == N2].mean()


def test_movements_are_as_frequent_as_measured(nights):
    count, hours, shifts = np.zeros(5), np.zeros(5), 0
    for night in nights:
        movements = [m for m in night.movements if m.kind in ("large", "limb")]
        stages = stage_of(night, [m.onset for m in movements])
        count += np.bincount(stages, minlength=5)
        hours += np.bincount(night.stages, minlength=5) * CLIP_SECONDS / 3600
        shifts += sum(m.posture >= 0 and s != W for m, s in zip(movements, stages, strict=True))
    per_hour = count / hours
    assert per_hour[W] > per_hour[N1] > per_hour[N2] > per_hour[N3]
    assert per_hour[REM] > per_hour[N2]
    assert 8 <= count[N1:].sum() / hours[N1:].sum() <= 19  # spontaneous ones; measured 11
    assert 0.7 <= shifts / hours[N1:].sum() <= 2.3  # measured 1.6 +- 0.7


def test_twitches_belong_to_rem(signals):
    stages = np.concatenate([hidden.stages for hidden in signals])
    twitch = np.concatenate([hidden.twitch > 0 for hidden in signals])
    shares = [twitch[stages == stage].mean() for stage in range(5)]
    assert 0.04 < shares[REM] < 0.14
    assert max(shares[:REM]) < 0.02


def test_movements_do_not_overlap(nights):
    for night in nights:
        onsets = np.array([movement.onset for movement in night.movements])
        ends = np.array([movement.end for movement in night.movements])
        assert (onsets[1:] > ends[:-1]).all()


def test_windows_of_a_population_hold_what_whole_nights_hold():
    settings = SimulationSettings(nights=24, hours=0.5, windows=2, seed=1)
    recordings = [recording for night in range(24) for recording in plan(settings, night)]
    whole = np.concatenate([r.night_stages for r in recordings[::2]])
    cut = np.concatenate([r.stages for r in recordings])
    shares, expected = (np.bincount(s, minlength=5) / len(s) for s in (cut, whole))
    assert shares.min() > 0.05
    np.testing.assert_allclose(shares, expected, atol=0.09)
    for first, second in zip(recordings[::2], recordings[1::2], strict=True):
        assert first.first_clip + len(first.stages) <= second.first_clip
        assert second.first_clip + len(second.stages) <= len(second.night_stages)
        assert first.subject == second.subject
        assert first.night_id != second.night_id
