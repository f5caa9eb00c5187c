"""How long epochs are that follow each other without times."""

import pytest

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram import SCHEMES
from input_pipeline.readers.hypnogram.psg import PsgTime
from input_pipeline.readers.hypnogram.scored import Source

from .dialects import START


def source(seconds=1800.0, scheme=None, **night) -> Source:
    return Source(
        Night("n", "s", None, None, **night), PsgTime(START, seconds), SCHEMES.get(scheme or "")
    )


@pytest.mark.parametrize("stated", [0.1, 30.0, 3600.0])
def test_lengths_that_a_file_may_state(stated):
    assert source().epoch_s(stated) == stated
    assert source(hypnogram_epoch_s=stated).epoch_s(stated) == stated
    assert source(hypnogram_epoch_s=stated).epoch_s() == stated
    with pytest.raises(UserError, match="as it says itself"):
        source(hypnogram_epoch_s=stated + 0.5).epoch_s(stated)


@pytest.mark.parametrize("stated", [0.0, 0.099, 3600.5])
def test_lengths_that_no_epoch_has(stated):
    with pytest.raises(UserError, match="expected 0.1 to 3600"):
        source().epoch_s(stated)


def test_a_scheme_with_a_length_of_its_own_gives_way_to_one_that_is_named():
    assert source(scheme="dreams").sequence([0, 1]) == [(0, 5, 0), (5, 5, 1)]
    assert source(scheme="dreams").sequence([0, 1], stated=30.0) == [(0, 30, 0), (30, 30, 1)]
    assert source(scheme="aasm").sequence([0, 1], first=2) == [(60, 30, 0), (90, 30, 1)]


@pytest.mark.parametrize(
    ("count", "other"),
    [
        *((count, "20 s, not 30 s") for count in (89, 90, 91)),
        *((count, "60 s, not 30 s") for count in (29, 30, 31)),
        *((count, "15 s, not 30 s") for count in (119, 121)),
        *((count, "") for count in (28, 32, 58, 62, 88, 92)),
    ],
)
def test_as_many_epochs_as_fit_another_length(count, other):
    if other:
        with pytest.raises(UserError, match=f"would be epochs of {other}"):
            source().sequence([0] * count)
    else:
        assert source().sequence([0] * count)[-1] == (30 * count - 30, 30, 0)
