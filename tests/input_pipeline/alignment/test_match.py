"""Offset and drift of nights whose clocks are known."""

from dataclasses import replace

import numpy as np
import pytest

from input_pipeline.alignment.match import Match, Search, match
from input_pipeline.readers.sync import Clock

from .made_up import sides

SEARCH = Search(offset_s=120.0, drift_ppm=100.0)


def found(video, psg, prior=None, search=SEARCH) -> Match:
    result = match(video, psg, prior or Clock(0.0), search)
    assert isinstance(result, Match), result
    return result


@pytest.mark.parametrize(
    ("seed", "offset", "drift", "prior"),
    [
        (0, 0.0, 0.0, Clock(0.0)),
        (1, 113.3, 50.0, Clock(0.0)),
        (2, -97.12, -50.0, Clock(0.0)),
        (3, 3671.4, 950.0, Clock(3600.0, 1000.0)),
    ],
)
def test_the_line_is_right_all_through_the_night(seed, offset, drift, prior):
    video, psg = sides(seed, 1.5 + offset // 3600, Clock(offset, drift))
    result = found(video, psg, prior)
    assert result.refusal is None
    ends = np.array([0.0, len(video.movement) / 4])
    np.testing.assert_allclose(
        result.clock.psg_seconds(ends), Clock(offset, drift).psg_seconds(ends), rtol=0, atol=0.1
    )
    assert result.residual_s < 0.2
    assert result.confidence > 5
    np.testing.assert_array_equal(result.window_s[:2] % 120, 60)
    middle = float(result.window_s.mean())
    best = Clock(offset, drift).psg_seconds(middle) - prior.psg_seconds(middle)
    assert result.lags_s[result.score.argmax()] == pytest.approx(best, abs=0.13)  # half a bin


@pytest.mark.parametrize("lacking", ["movement", "breathing"])
def test_one_of_the_two_suffices(lacking):
    video, psg = sides(5, 1.0, Clock(41.7, 30.0))
    if lacking == "movement":
        silent = np.zeros_like(psg.movement)
        psg = replace(psg, movement=silent, breathing=(silent, *psg.breathing))  # a loose belt
        video = replace(video, movement=0 * video.movement)
    else:
        psg = replace(psg, breathing=())
        video = replace(video, breathing=0 * video.breathing)
    result = found(video, psg)
    assert result.refusal is None
    assert result.clock.offset_s == pytest.approx(41.7, abs=0.3)


def test_another_nights_video_is_refused():
    nights = [sides(seed, 0.5, Clock(0.0)) for seed in range(3)]
    for i, (video, _) in enumerate(nights):
        for j, (_, psg) in enumerate(nights):
            assert (found(video, psg).refusal is None) == (i == j), (i, j)


@pytest.mark.parametrize(
    ("options", "search", "words"),
    [
        ({"moves": 0.0, "breath_spread": 0.05}, SEARCH, "two offsets fit"),
        ({"moves": 0.0, "noise": 30.0}, SEARCH, "better than chance"),
        ({"jump_s": 20.0}, SEARCH, "third of the night"),
        ({"jump_s": 1.0}, Search(120.0, 1000.0), "leave the line"),
        ({}, Search(offset_s=20.0, drift_ppm=100.0), "better than chance"),
    ],
    ids=["breathes like a machine", "only noise", "clock jumps", "by a second", "offset too large"],
)
def test_refuses_when_unsure(options, search, words):
    video, psg = sides(6, 1.0, Clock(60.0), **options)
    result = found(video, psg, search=search)
    assert result.refusal is not None
    assert words in result.refusal


def test_refuses_what_cannot_be_compared():
    video, psg = sides(7, 0.25, Clock(0.0))
    assert "share" in str(match(video, psg, Clock(0.0), SEARCH))
    video, psg = sides(7, 1.0, Clock(0.0))
    assert "share 0 min" in str(match(video, psg, Clock(86400.0), SEARCH))
    still = replace(video, movement=0 * video.movement, breathing=0 * video.breathing)
    assert match(still, psg, Clock(0.0), SEARCH) == "nothing moves in the video"
    silent = replace(psg, movement=0 * psg.movement, breathing=())
    assert match(video, silent, Clock(0.0), SEARCH) == "nothing moves in the PSG"
