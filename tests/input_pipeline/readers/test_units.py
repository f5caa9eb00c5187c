"""Units of voltage in all spellings, and whether an EEG has an EEG's size."""

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.readers.units import microvolts, signal_scale, size_note


@pytest.mark.parametrize(
    ("units", "factor"),
    [
        (("uV", "UV", "\xb5V", "\u03bcV", "\xc2\xb5V", "\x83\xcaV", "microvolt", "[uV]"), 1.0),
        (("micro-Volts", "microV", "\xb5 V", "uVolt", "u V", "uV."), 1.0),
        (("mV", "MV", "millivolts", "(mV)"), 1e3),
        (("V", "Volt", "volts"), 1e6),
        (("nV",), 1e-3),
        (("", "DegC", "mmHg", "kV", "uVs", "%", "Mustermn", "v" * 300, ".V", "?V"), None),
    ],
)
def test_spellings(units, factor):
    assert {microvolts(unit) for unit in units} == {factor}


def test_the_manifest_wins_and_is_named_where_the_header_fails():
    assert signal_scale("mV", "uV", name="n", channel="C3") == 1.0
    assert signal_scale("Mustermn", "V", name="n", channel="C3") == 1e6
    with pytest.raises(UserError, match="C3 has the unit 8 characters .letters.; .*psg_unit"):
        signal_scale("Mustermn", "", name="n", channel="C3")


@pytest.mark.parametrize("size", [0.0, 0.02, 5000.0, 20.0])
def test_the_size_of_an_eeg(size):
    samples = np.random.default_rng(0).normal(0, size, 3_000_000).astype(np.float32)
    samples[:1_000_000] = np.nan
    note = size_note(samples)
    assert (note is None) == (size == 20)
    assert note is None or "psg_unit" in note
    assert size_note(np.full(5, np.nan, np.float32)) is None
