"""Statistics of hand-made nights, with every corner."""

import numpy as np
import pytest

from sacd_jax.staging.plausibility import doubts
from sacd_jax.staging.statistics import DEFINITIONS, night_statistics
from tests.staging.nights import EPOCHS_AN_HOUR, staged


@pytest.mark.parametrize(
    ("stages", "expected"),
    [
        (
            ["W"] * 4 + ["N1"] * 2 + ["N2"] * 20 + ["W"] * 2 + ["REM"] * 4 + ["W"] * 2,
            {
                "time_in_bed": 17.0,
                "total_sleep_time": 13.0,
                "sleep_efficiency": 100 * 13 / 17,
                "sleep_onset_latency": 2.0,
                "persistent_sleep_latency": 2.0,
                "rem_latency": 12.0,
                "wake_after_sleep_onset": 2.0,
                "sleep_period_time": 14.0,
                "awakenings": 1,
                "unscored": 0.0,
            },
        ),
        (
            ["W"] * 10,
            {
                "total_sleep_time": 0.0,
                "sleep_efficiency": 0.0,
                "sleep_onset_latency": None,
                "rem_latency": None,
                "wake_after_sleep_onset": None,
                "sleep_maintenance": None,
            },
        ),
        (["N2"] * 10, {"sleep_onset_latency": 0.0, "rem_latency": None, "sleep_efficiency": 100}),
        (
            ["N2"] * 4 + [""] * 2 + ["REM"] * 2,
            {"unscored": 1.0, "total_sleep_time": 3.0, "rem_latency": 3.0, "stage_shifts": 1},
        ),
        ([""] * 4, {"unscored": 2.0, "total_sleep_time": 0.0, "sleep_onset_latency": None}),
    ],
    ids=["usual", "no sleep", "asleep at once", "gap", "nothing scored"],
)
def test_figures_of_the_manual(stages, expected) -> None:
    found = night_statistics(staged(stages))
    for name, value in expected.items():
        assert found[name] == (None if value is None else pytest.approx(value)), name
    assert set(DEFINITIONS) <= set(found)


def test_views_add_probabilities_up() -> None:
    """N1 .2, N2 .2, N3 .25, W .35: most likely W of five stages, but sleep of two classes."""
    night = staged(["W"])
    night.probabilities[0] = (0.35, 0.2, 0.2, 0.25, 0.0)
    minutes = night_statistics(night)["minutes_by_view"]
    assert minutes["5"]["W"] == 0.5 and minutes["2"] == {"W": 0.0, "Sleep": 0.5}
    assert minutes["4"]["Light"] == 0.5 and minutes["3"]["NREM"] == 0.5


@pytest.mark.parametrize(
    ("stages", "words"),
    [
        (["N2"] * 6 * EPOCHS_AN_HOUR, "no REM sleep in a full night"),
        (["W"] * 20 + ["N1"] * 4 + ["REM"] * 40, "REM sleep begins 2 min after sleep onset"),
        (["W", "N2"] * 60 + ["N3"] * 4 * EPOCHS_AN_HOUR, "One stage, N3, lasts 4.0 h"),
        (["W"] * 100, "No sleep was found"),
        ((["N2"] * 40 + ["N3", "REM"]) * 10, "N2 is 95 % of all sleep"),
        (["W"] * 4 + [""] * 20 + ["N2"] * 200, "10 min before the first sleep could not be scored"),
        (["N2"] * 4 + [""] * 20 + ["REM"] * 200, "10 min before the first REM sleep could not be"),
        (["N2"] * 60 + [""] * 60, "50 % of the night could not be scored"),
    ],
)
def test_an_implausible_night_is_doubted(stages, words) -> None:
    assert any(words in doubt for doubt in doubts(staged(stages)))


@pytest.mark.parametrize(("unsure", "doubted"), [(100, False), (460, True)])
def test_a_network_that_is_seldom_sure_is_doubted(unsure: int, doubted: bool) -> None:
    cycle = ["N1"] * 8 + ["N2"] * 60 + ["N3"] * 40 + ["N2"] * 40 + ["REM"] * 30 + ["W"] * 4
    stages = ["W"] * 10 + cycle * 5
    night = staged(stages)
    night.probabilities[:unsure] = staged(stages, sure=0.4).probabilities[:unsure]
    words = ["In 50 % of the scored epochs no stage has half of the probability."]
    assert doubts(night) == words * doubted


def empty_from(begin: int, epochs: int, breaths: float = np.nan) -> dict[str, np.ndarray]:
    """Movement and breathing of a night of which a part shows an empty bed."""
    rng = np.random.default_rng(0)
    movement = 0.45 + 0.03 * rng.random(960) + (rng.random(960) < 0.1)
    rate = np.full(960, 14.0)
    movement[begin : begin + epochs] = 0.38 + 0.004 * rng.random(epochs)
    rate[begin : begin + epochs] = breaths
    return {"movement": movement.astype(np.float32), "breaths_a_minute": rate.astype(np.float32)}


@pytest.mark.parametrize(("begin", "epochs"), [(0, 960), (480, 480), (100, 50)])
def test_an_empty_bed_is_doubted_however_long_it_is_empty(begin: int, epochs: int) -> None:
    cycle = ["N1"] * 8 + ["N2"] * 60 + ["N3"] * 40 + ["N2"] * 40 + ["REM"] * 30 + ["W"] * 14
    found = [each for each in doubts(staged(cycle * 5, **empty_from(begin, epochs)))]
    (words,) = [each for each in found if "Neither movement nor breathing" in each]
    clock = {0: "22:57", 480: "02:57", 100: "23:47"}[begin]
    assert f"for {epochs / 2:g} min from {clock} on" in words
    assert doubts(staged(cycle * 5, **empty_from(begin, min(epochs, 39)))) == found[:-1]
    assert doubts(staged(cycle * 5, **empty_from(begin, epochs, 14.0))) == found[:-1]
    relative = doubts(staged(cycle * 5, **empty_from(begin, epochs), start=None))[-1]
    assert f"from {begin / 120:.1f} h after the start on" in relative


def test_a_usual_night_is_not() -> None:
    cycle = ["N1"] * 8 + ["N2"] * 60 + ["N3"] * 40 + ["N2"] * 40 + ["REM"] * 30 + ["W"] * 4
    assert doubts(staged(["W"] * 20 + cycle * 5)) == []
    missing = ["W"] * 15 + [""] * 5 + ["N1"] * 100 + [""] * 5  # each shorter than matters
    assert doubts(staged([*missing, *cycle * 5])) == []
