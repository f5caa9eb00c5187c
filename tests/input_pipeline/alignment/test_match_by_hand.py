"""The steps of the search one by one, and what the decision rests on, with values by hand."""

import re

import numpy as np
import pytest

from input_pipeline.alignment import match as module
from input_pipeline.alignment.match import Match, Search
from input_pipeline.alignment.signals import GRID_RATE
from input_pipeline.readers.sync import Clock

from .made_up import sides


def test_a_search_by_hand():
    search = Search()
    assert (search.offset_s, search.drift_ppm) == (180.0, 200.0)
    np.testing.assert_array_equal(search.lags_s, np.arange(-720, 721) / 4)
    assert (search.windows_apart, search.least_windows) == (4, 10)
    wide = Search(offset_s=590.0)
    assert (wide.windows_apart, wide.least_windows) == (10, 22)


@pytest.mark.parametrize(
    ("seconds", "drifts"), [(3600.0, [-100, 0, 100]), (7200.0, [-100, -50, 0, 50, 100])]
)
def test_drifts_move_the_ends_of_the_night_by_a_bin(seconds, drifts):
    assert module._drifts(Search(drift_ppm=100.0), seconds).tolist() == drifts


@pytest.mark.parametrize(
    ("offset", "windows"),
    [(0.0, [0, 1, 2]), (-0.5, [1, 2]), (0.5, [0, 1]), (-240.0, [2]), (360.0, [])],
)
def test_windows_that_lie_in_the_psg(offset, windows):
    video, psg = sides(0, 0.1, Clock(0.0))
    assert module._windows(video, psg, Clock(offset)).tolist() == windows


def test_false_matches_show_other_moments():
    windows = np.arange(3, 23)
    others = module._others(windows, Search(offset_s=180.0))
    assert len(others) == module.SURROGATES
    for other in others:
        assert np.abs(other - windows).min() >= 4 and set(other.tolist()) <= set(windows.tolist())


def test_products_from_each_place():
    rng = np.random.default_rng(0)
    short, long = rng.normal(size=(2, 5)), rng.normal(size=(2, 12))
    expected = [np.correlate(b, a, "valid") for a, b in zip(short, long, strict=True)]
    np.testing.assert_allclose(module._correlate(short, long), expected, atol=1e-12)


def test_curves_are_added_along_each_line():
    """Two windows of four lags, a bin before and a bin behind the centre at 2,500 ppm."""
    curves = np.array([[1.0, 2.0, 4.0, 8.0], [10.0, 20.0, 40.0, 80.0]])
    from_centre = np.array([-100.0, 100.0])
    stacked = module._stack(curves, from_centre, np.array([-2500.0, 0.0, 2500.0, 12_500.0]))
    np.testing.assert_array_equal(
        stacked,
        [[12, 14, 28, 48], [11, 22, 44, 88], [21, 41, 82, 84], [81, 81, 81, 81]],
    )


def test_windows_and_lines_have_one_scale(monkeypatch):
    """Curves add up to the lines' heights, and those of false matches deviate by 1."""
    seen = []
    decide = module._decide
    monkeypatch.setattr(module, "_decide", lambda *a: seen.append(a) or decide(*a))
    video, psg = sides(4, 0.4, Clock(5.0, 60.0))
    module.match(video, psg, Clock(0.0), Search(offset_s=20.0, drift_ppm=800.0))
    ((planes, curves, middles, drifts, *_),) = seen
    assert len(drifts) == 7
    added = module._stack(curves, middles - middles.mean(), drifts)
    np.testing.assert_allclose(planes[0], added, atol=1e-9)
    assert planes[1:].std() == pytest.approx(1)


def parabolas(own: list[float], lags: np.ndarray, height: float = 10.0) -> np.ndarray:
    """Curves with their peak at `own`, so high in standard deviations of chance."""
    beside = lags - np.array(own)[:, None]
    return height * (1 - beside**2 / 4) / len(own) ** 0.5


def test_peaks_of_single_windows_to_fractions_of_a_bin():
    lags = np.arange(-40, 41) / GRID_RATE
    own = [0.1, -0.33, 1.0, 0.0]
    found, height = module._own_lags(parabolas(own, lags), lags, np.zeros(4))
    np.testing.assert_allclose(found, own, atol=1e-12)
    np.testing.assert_allclose(height[[2, 3]], 10)
    for peak, line, there in ((3.01, 0.0, True), (2.9, 0.0, False), (9.0, 2.0, False)):
        found, height = module._own_lags(parabolas([0.5], lags, peak), lags, np.array([line]))
        assert np.isfinite(found[0]) == there and (height[0] >= 3) == there
        assert there or height[0] == 0
    # At the border of what is looked at there is no peak, a bin inside there is.
    curve = parabolas([0.5], lags)
    for line, there in ((-0.75, False), (-0.5, True), (1.5, True), (1.75, False)):
        assert np.isfinite(module._own_lags(curve, lags, np.array([line]))[0][0]) == there


def test_what_lies_along_a_line():
    curves = np.arange(2 * 41.0).reshape(2, 41)
    lags = np.arange(-20, 21) / GRID_RATE
    near = module._along_line(curves, lags, np.array([0.0, -4.0]))
    np.testing.assert_array_equal(near, [np.arange(15, 26), 41 + np.maximum(np.arange(-1, 10), 0)])


def test_a_line_through_windows_is_pulled_to_a_flat_one():
    """Residuals are small, so that all weights of the robust fit are 1: least squares by hand."""
    rng = np.random.default_rng(2)
    middles = 60.0 + 120 * np.arange(9)
    own = 0.2 + 2e-6 * middles + 1e-3 * rng.normal(size=9)
    own[4] = np.nan
    weights = rng.uniform(3, 9, 9)
    found = module._fit_line(middles, own, weights, slope_deviation=1e-6)
    scaled = module._fit_line(middles, own, 100 * weights, slope_deviation=1e-6)
    np.testing.assert_allclose(found, scaled, rtol=1e-6)

    there = np.isfinite(own)
    place = (middles[there] - 540) / 480
    root = np.sqrt(weights[there] / weights[there].mean())
    design, target = np.stack([root, root * place], 1), root * own[there]
    deviation = 0.1
    for _ in range(2):
        pull = [0.0, deviation / (1e-6 * 480)]
        rows = np.vstack([design, pull])
        line = np.linalg.lstsq(rows, np.append(target, 0.0))[0]
        left = design @ line - target
        deviation = np.sqrt(left @ left / 6)
    covariance = deviation**2 * np.linalg.inv(rows.T @ rows)
    ends = [np.array([1, side]) @ covariance @ np.array([1, side]) for side in (-1, 1)]
    slope = line[1] / 480
    assert 0.05e-6 < slope < 1.9e-6  # the pull is felt, and not all
    expected = (line[0] - 540 * slope, slope, np.sqrt(np.mean(left**2)), np.sqrt(max(ends)))
    np.testing.assert_allclose(found, expected, rtol=2e-3)


def test_three_windows_are_no_line():
    own = np.array([0.1, 0.1, np.nan, 0.1])
    assert module._fit_line(np.arange(4.0), own, np.ones(4), 1.0) == (0, 0, np.inf, np.inf)
    middles = 120.0 * np.arange(4)
    fitted = module._fit_line(middles, np.full(4, 0.1), np.ones(4), 1e-4)
    np.testing.assert_allclose(fitted, (0.1, 0, 0, 0), atol=1e-9)


@pytest.mark.parametrize(
    ("left", "wander"),
    [
        ([0.1, 0.1, np.nan, 0.1, 0.1], 0.1),
        ([0.1, -0.1, 0.1, -0.1], 0.0),
        ([0.3, 0.3, -0.3, -0.3], (0.09 - 0.36 / 3 / 2) ** 0.5),
        ([0.1, 0.1, 0.1], 0.0),
    ],
)
def test_what_neighbours_share(left, wander):
    assert module._wander(np.array(left)) == pytest.approx(wander)


MIDDLES = 60.0 + 120 * np.arange(24)
NEAR = 0.1 * np.resize([1, -1, -1, 1], 24)


def decide(own=NEAR, *, lag=0.0, peak=10.0, chance=2.0, others=(), height=10.0) -> Match:
    """The decision where windows have these offsets and lines these heights."""
    search = Search(offset_s=20.0, drift_ppm=100.0)
    planes = np.zeros((4, 3, len(search.lags_s)))
    planes[2, 0, 5] = chance
    for at, value in ((lag, peak), *others):
        planes[0, 1, np.flatnonzero(search.lags_s == at)[0]] = value
    curves = parabolas(own, search.lags_s)
    curves *= (np.broadcast_to(height, 24) / 10)[:, None]
    drifts, prior = np.array([-50.0, 0.0, 50.0]), Clock(7.0, 30.0)
    return module._decide(planes, curves, MIDDLES, drifts, prior, search)


def sloped(ppm: float) -> np.ndarray:
    return 1e-6 * ppm * (MIDDLES - MIDDLES.mean())


def test_what_is_found_by_hand():
    own = NEAR / 10 + 1 + sloped(80)
    found = decide(own, lag=1.0, others=((9.0, 4.0), (2.25, 9.0)))
    assert found.refusal is None
    assert found.clock.drift_ppm == pytest.approx(30 + 80, abs=1)
    line = found.clock.psg_seconds(MIDDLES) - Clock(7.0, 30.0).psg_seconds(MIDDLES)
    assert line.mean() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(found.line_s, line, atol=1e-9)
    np.testing.assert_allclose(found.window_lag_s, own, atol=1e-9)
    np.testing.assert_array_equal(found.window_s, MIDDLES)
    assert (found.confidence, found.ambiguity, found.chance) == (5, 0.4, 2)
    assert found.residual_s == pytest.approx(0.01, rel=0.01)
    assert found.score.max() == 10


@pytest.mark.parametrize(
    ("scene", "words"),
    [
        ({"chance": 4.9}, None),
        ({"chance": 5.1}, "better than chance"),
        ({"chance": 0.0, "peak": 2.1}, None),  # chance is at least one standard deviation
        ({"chance": 0.0, "peak": 1.9}, "better than chance"),
        ({"others": ((3.0, 9.2),)}, None),
        ({"others": ((3.0, 9.4),)}, "two offsets fit nearly as well .0.94 of"),
        ({"others": ((1.25, 9.4),)}, None),
        ({"others": ((-1.5, 9.4),)}, "two offsets"),
        ({"own": NEAR + 18, "lag": 18.0}, None),
        ({"own": NEAR - 18.25, "lag": -18.25}, "edge of the search"),
        ({"own": sloped(130)}, None),  # 0.04 s beyond the search at either end
        ({"own": sloped(145)}, "edge of the search"),
        ({"own": sloped(-145)}, "edge of the search"),
        ({"height": [10.0] * 16 + [0.0] * 8}, "last third"),
        ({"height": [10.0] * 8 + [0.0] * 8 + [10.0] * 8}, "middle third"),
        ({"own": 0.29 * np.repeat([1, -1, -1, 1], 6)}, "leave the line by 0.2. s"),
        ({"own": 0.2 * np.repeat([1, -1, -1, 1], 6)}, None),
        ({"own": 0.45 * np.resize([1, -1, -1, 1], 24)}, None),
        ({"own": 0.55 * np.resize([1, -1, -1, 1], 24)}, "do not lie on a line .residual 0.5"),
    ],
)
def test_what_is_refused_by_hand(scene, words):
    found = decide(**scene)
    if words is None:
        assert found.refusal is None
    else:
        assert found.refusal is not None
        assert re.search(words, found.refusal)


def test_the_next_best_is_a_share_of_the_best_however_low():
    assert decide(peak=0.5, others=((9.0, 0.25),)).ambiguity == 0.5
    assert decide(peak=10.0, others=()).ambiguity == 0
