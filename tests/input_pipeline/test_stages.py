"""Labels, their coarser views and the groups by apnoea, as they stand in the literature."""

import math

import pytest

from input_pipeline.stages import AHI_GROUPS, CLIP_SECONDS, STAGES, UNKNOWN, VIEWS, ahi_group


def test_labels_are_those_of_the_field():
    assert STAGES == ("W", "N1", "N2", "N3", "REM")
    assert (UNKNOWN, CLIP_SECONDS) == (-1, 30)


@pytest.mark.parametrize(
    ("view", "names", "seen_as"),
    [
        (5, "W N1 N2 N3 REM", "W N1 N2 N3 REM"),
        (4, "W Light Deep REM", "W Light Light Deep REM"),
        (3, "W NREM REM", "W NREM NREM NREM REM"),
        (2, "W Sleep", "W Sleep Sleep Sleep Sleep"),
    ],
)
def test_coarser_views(view, names, seen_as):
    found, label = VIEWS[view]
    assert found == tuple(names.split())
    assert [found[each] for each in label] == seen_as.split()


def test_there_are_no_other_views():
    assert list(VIEWS) == [5, 4, 3, 2]


@pytest.mark.parametrize(
    ("ahi", "group"),
    [
        *((0.0, "normal"), (4.99, "normal"), (5.0, "mild"), (14.99, "mild")),
        *((15.0, "moderate"), (30.0, "moderate"), (30.01, "severe"), (120.0, "severe")),
    ],
)
def test_apnoea_groups_of_figure_8(ahi, group):
    assert AHI_GROUPS[ahi_group(ahi)] == group


@pytest.mark.parametrize("ahi", [-0.1, math.nan, math.inf])
def test_what_is_no_number_of_events(ahi):
    with pytest.raises(ValueError, match="not a number of events"):
        ahi_group(ahi)
