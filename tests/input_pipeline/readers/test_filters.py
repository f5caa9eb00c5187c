"""Band-pass and notch: what they take out, what they leave, and that nothing moves or leaks."""

import numpy as np
import pytest

from input_pipeline.readers.edf import Signal
from input_pipeline.readers.filters import filtered

from ..recordings import START

RATE = 125.0
TIMES = np.arange(round(120 * RATE)) / RATE


def signal(*waves):
    """The sum of waves (amplitude, frequency)."""
    samples = sum(size * np.sin(2 * np.pi * hz * TIMES) for size, hz in waves)
    return Signal(np.float32(samples), RATE, START, (), "C3")


def test_without_a_filter_the_signal_is_the_same_object():
    plain = signal((20, 10))
    assert filtered(plain) is plain


@pytest.mark.parametrize(
    ("band", "notch", "kept", "lost"),
    [
        ((0.3, 35.0), None, (20, 10), (100, 0.05)),
        ((0.3, 35.0), None, (20, 10), (100, 55)),
        (None, 50.0, (20, 10), (100, 50)),
        ((0.5, 45.0), 60.0, (20, 2), (100, 60)),
    ],
)
def test_what_is_kept_stays_in_place_and_the_rest_goes(band, notch, kept, lost):
    after = filtered(signal(kept, lost), band, notch).samples
    middle = slice(2500, -2500)
    np.testing.assert_allclose(after[middle], signal(kept).samples[middle], atol=0.8)


def test_gaps_stay_and_nothing_leaks_across_them():
    one = signal((20, 10)).samples
    one[5000:6000] = np.nan
    other = one.copy()
    other[6000:] += 1e4
    short = one.copy()
    short[[10, 12]] = np.nan  # stretches of ten samples and of one
    for samples in (one, other, short):
        after = filtered(Signal(samples, RATE, START, (), "C3"), (0.3, 35.0), 50.0).samples
        np.testing.assert_array_equal(np.isnan(after), np.isnan(samples))
        if samples is not short:
            before = filtered(Signal(one, RATE, START, (), "C3"), (0.3, 35.0), 50.0).samples
            np.testing.assert_array_equal(after[:5000], before[:5000])
