"""Which channel is meant, and what may be said of the others."""

import pytest

from input_pipeline.errors import UserError
from input_pipeline.readers.montage import choose, meaning, shown

SPELLINGS = ("C3-A2", "C3-M2", "EEG C3-A2", "c3_m2", "C3M2", "EEG C3:A2", "C3/A2", "C3 A2")
SPELLINGS += ("EEG C3-(A2)", "C3(M2)", "EEG_C3.A2", "POL C3-A2", "EEGC3A2")


@pytest.mark.parametrize("label", SPELLINGS)
def test_one_derivation_has_many_spellings(label):
    assert meaning(label) == ("C3", "M2") and shown(label, 0) == label


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        ("C4", ("C4", "")),
        ("EEG C3-CLE", ("C3", "LE")),
        ("C3-LE", ("C3", "LE")),
        ("C3-A1A2", ("C3", "LE")),
        ("F4-M1+M2", ("F4", "LE")),
        ("EEG F3-(A1+A2)/2", ("F3", "LE")),
        ("C3-REF", ("C3", "REF")),
        ("EEG A2-Ref", ("M2", "REF")),
        ("Fp1-AVG", ("FP1", "AVG")),
        ("EEG Fpz-Cz", ("FPZ", "CZ")),
        ("FpzCz", ("FPZ", "CZ")),
        ("T10", ("T10", "")),
        ("O9-Cz", ("O9 CZ",)),
        ("EEG", ("EEG",)),
        ("EEG(sec)", ("EEG(SEC)",)),
        ("EMG  chin", ("EMG CHIN",)),
        ("C31", ("C31",)),
        ("", ("",)),
    ],
)
def test_electrodes_and_references(label, expected):
    assert meaning(label) == expected


def chosen(labels, channel=""):
    choice = choose(labels, channel, name="n")
    return choice.plus, choice.minus


@pytest.mark.parametrize(
    ("labels", "channel", "expected"),
    [
        (["C3-REF", "A2-REF"], "C3-A2", (0, 1)),
        (["M1-REF", "EMG", "EEG C4-REF"], "", (2, 0)),
        (["EEG C3-CLE", "EEG A2-CLE"], "C3-M2", (0, 1)),
        (["C3", "M2", "A1"], "C3-A2", (0, 1)),
        (["C3-M1", "M2-M1"], "C3-M2", (0, 1)),
        (["C3-REF", "A2-CLE", "C3-A2"], "C3-M2", (2, None)),
        (["EEG C3-CLE"], "C3", (0, None)),
        (["O1-A2", "C3-CLE", "C3-A2"], "C3-CLE", (1, None)),
        (["C4", "C4-REF"], "C4", (0, None)),
        (["EMG", "EEG C3-CLE", "EEG C4-CLE"], "", (2, None)),
        (["EEG", "EMG"], "EEG", (0, None)),
        (["X Y", "x.y"], "X Y", (0, None)),
        (["a", "a"], "a-1", (1, None)),
        ([None, "C3-M2"], "C4-M1 | C3-M2", (1, None)),
    ],
)
def test_the_channel_or_the_pair_that_is_read(labels, channel, expected):
    assert chosen(labels, channel) == expected


def test_a_guess_is_said():
    assert "no EEG against a mastoid" in (choose(["C4-REF"], "", name="n").note or "")
    assert choose(["C4-M1"], "", name="n").note is None


@pytest.mark.parametrize(
    ("labels", "channel", "message"),
    [
        (["C3-REF", "A2-CLE"], "C3-A2", "no channel 'C3-A2'; the PSG holds C3-REF, A2-CLE"),
        (["C3", "A2", "M2"], "C3-M2", "'C3-M2' is there 3 times; name 'C3' or 'A2' or 'M2'"),
        (["C3-A2", "EEG C3-M2"], "C3-M1|C3M2", "name 'C3-A2' or 'EEG C3-M2'"),
        (["Snore", "SpO2"], "", "no EEG channel among C4-M1, .*; the PSG holds Snore, SpO2"),
        ([None], "C3", "the PSG holds no signals"),
        (
            ["Mustermann", "EMG chin", "geb. 7.5.1961", "Erika"],
            "Doe",
            "no channel of 3 characters .letters.; .* holds EMG chin, 3 channels of other names",
        ),
        (["Mustermann", "Mustermann"], "Mustermann", "name channel 1 or channel 2"),
    ],
)
def test_what_is_not_there_or_twice_is_said_without_foreign_words(labels, channel, message):
    with pytest.raises(UserError, match=message) as raised:
        choose(labels, channel, name="n")
    for word in ("Muster", "1961", "Erika", "Doe"):
        assert word not in str(raised.value)
