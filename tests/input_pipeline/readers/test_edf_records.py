"""Headers and annotations of EDF files, in the ways writers depart from the format and worse."""

import time
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.readers.edf import read_annotations, read_signal
from input_pipeline.readers.edf_header import read_header
from input_pipeline.readers.edf_records import MAX_ANNOTATIONS, record_times

from ..made_edf import Channel, Recording, ramp
from ..recordings import START

SECRET = ("Mustermn", "07051961")
"""A name and a birth date; no message may show them, wherever they stand."""


@pytest.fixture
def written(tmp_path):
    def write(recording: Recording) -> Path:
        (tmp_path / "made.edf").write_bytes(recording.bytes())
        return tmp_path / "made.edf"

    return write


PLAIN = Recording([ramp(count=1000)], 10)
COMMAS = Channel("EEG C3-A2", np.arange(1000), "uV", ("-3,2E4", "32000,"), (-32000, 32000))


@pytest.mark.parametrize(
    "changes",
    [
        {"record_seconds": "1,0"},
        {"record_seconds": "1e0"},
        {"record_seconds": "+01.0000"},
        {"declared": "00000010"},
        {"declared": "10.0"},
        {"declared": "1E1"},
        {"declared": "0"},
        {"time": "22:15:3"},
        {"date": "31/01/24"},
        {"date": "31-1-24", "recording": "startdate  31-jan-2024"},
        {"filled": b"\0"},
        {"date": b"31.01.2\0"},  # only the recording field says which year
        {"recording": "M\xfcller-Stra\xdfe 5"},
        {"channels": [ramp(count=1000, unit="\xb5V".encode("latin-1"))]},
        {"channels": [ramp(count=1000, unit="\xb5V")]},
        {"channels": [COMMAS]},
        {"channels": [ramp(count=1000), Channel("St\xf6rung", np.arange(10), "", ("", ""))]},
    ],
)
def test_departures_from_the_format_that_have_one_meaning(written, changes):
    signal = read_signal(written(replace(PLAIN, **changes)), name="n")
    assert signal.rate == 100 and signal.start == START and signal.channel == "EEG C3-A2"
    np.testing.assert_allclose(signal.samples, np.arange(1000), atol=1e-3)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        *(("0.333333", 300), ("0,333333", 300), (".3333333", 300), ("0.769231", 130)),
        *(("0.0039063", 25600), ("1.000001", 100 / 1.000001), ("0.499999", 100 / 0.499999)),
        *(("0.333", 100 / 0.333), ("0.33333 ", 100 / 0.33333), ("0.142857", 700)),
    ],
)
def test_a_duration_that_was_rounded_to_fill_its_field(written, text, rate):
    file = written(replace(PLAIN, record_seconds=text[:8], kind="EDF"))
    assert read_signal(file, name="n").rate == pytest.approx(rate, rel=1e-12)


@pytest.mark.parametrize("secret", SECRET)
@pytest.mark.parametrize(
    ("field", "position"),
    [
        ("version", 0),
        ("date", 168),
        ("time", 176),
        ("header length", 184),
        ("records", 236),
        ("duration", 244),
        ("label", 256),
        ("unit", 256 + 2 * 96),
        ("physical minimum", 256 + 2 * 104),
        ("physical maximum", 256 + 2 * 112),
        ("digital minimum", 256 + 2 * 120),
        ("samples", 256 + 2 * 216),
    ],
)
def test_text_of_the_header_is_not_shown_wherever_it_stands(tmp_path, field, position, secret):
    data = bytearray(PLAIN.bytes())
    data[position : position + 8] = secret.encode()
    data[256 + 8 : 256 + 16] = b" " * 8 if field == "label" else data[256 + 8 : 256 + 16]
    (tmp_path / "shifted.edf").write_bytes(data)
    try:
        signal = read_signal(tmp_path / "shifted.edf", secret, name="n")
        said = [*signal.notes, signal.channel]
    except UserError as error:
        said = [str(error)]
    assert said and not any(word in line for line in said for word in (secret, "\n"))


@pytest.mark.parametrize("size", [1, 7, 8, 255, 256, 300, 256 * 3, 256 * 3 + 10])
def test_the_beginning_of_a_cut_file_is_not_shown(tmp_path, size):
    data = replace(PLAIN, patient="Mustermann Erika").bytes()
    (tmp_path / "cut.edf").write_bytes(data[:size])
    with pytest.raises(UserError, match="night n: ") as raised:
        read_signal(tmp_path / "cut.edf", name="n")
    assert "Muster" not in str(raised.value)


def annotations(written, *lists, **changes):
    size = max(map(len, lists)) + 40
    return read_annotations(
        written(replace(PLAIN, annotations=lists, annotation_bytes=size, **changes)), name="n"
    )


@pytest.mark.parametrize(
    ("raw", "expected", "damaged"),
    [
        (b"+30\x1530\x14Sleep stage W\x14\0", [(30, 30, "Sleep stage W")], 0),
        (b"+30.25\x15\x14a\x14b\x14\0-1\x14c\x14\0", [(-1, None, "c"), (30.25, None, "a")], 0),
        (b"+30,5\x152,5\x14decimal comma\x14\0", [(30.5, 2.5, "decimal comma")], 0),
        (b"30\x14no sign\x14\0", [(30, None, "no sign")], 0),
        (b"+30\x14no terminator\0", [(30, None, "no terminator")], 0),
        (b"\0\0+30\x14zeros before\x14\0", [(30, None, "zeros before")], 0),
        (b"+30\x14\x14\0", [], 0),
        (b"+3x\x14damaged\x14\0+4\x14whole\x14\0", [(4, None, "whole")], 1),
        (b"+" + b"9" * 5000 + b"\x14far\x14\0", [], 1),
        (b"+10000000000000\x14far\x14\0", [], 1),
        (b"+1\x1510000000000000\x14long\x14\0", [], 1),
        (b"+nan\x14not a number\x14\0", [], 1),
        (b"+30\x14\xe4 is Latin-1\x14\0", [(30, None, "ä is Latin-1")], 0),
    ],
)
def test_annotations_whole_and_damaged(written, raw, expected, damaged):
    read = annotations(written, raw)
    found = list(zip(read.onset_s, read.duration_s, read.text, strict=True))
    for (onset, duration, text), wanted in zip(found, expected, strict=False):
        assert (onset, None if np.isnan(duration) else duration, text) == wanted
    assert len(found) >= len(expected) and bool(found) == bool(expected)
    note = f"{damaged} damaged pieces among the annotations are left out"
    assert read.notes == (note,) * (damaged > 0)


@pytest.mark.parametrize(
    ("text", "whole"), [(b"+13\x14Sleep stage N3\x14", True), (b"+3\x14Sleep stage N3", False)]
)
def test_an_annotation_that_fills_its_record_is_whole_or_cut(written, text, whole):
    block = b"+0\x14\x14\0" + text
    onsets = [block, *(f"+{k}" for k in range(1, 10))]
    read = read_annotations(
        written(replace(PLAIN, onsets=onsets, annotation_bytes=len(block))), name="n"
    )
    assert read.text == ("Sleep stage N3",) * whole and len(read.notes) == 1 - whole


@pytest.mark.parametrize(
    "raw",
    [b"+1\x14" * 70_000, b"+1\x15" * 70_000, b"+" * 200_000, b"1" * 200_000, b"+1\x14\0" * 50_000],
)
def test_time_is_in_proportion_to_length(written, raw):
    begun = time.perf_counter()
    annotations(written, raw)
    assert time.perf_counter() - begun < 5


def test_more_annotations_than_any_night_has(written):
    raw = b"+1\x14" + b"a\x14" * (MAX_ANNOTATIONS + 1) + b"\0"
    with pytest.raises(UserError, match="more than 1000000 annotations"):
        annotations(written, raw)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"record_seconds": "1e-6"}, "more than 100000 samples a second"),
        ({"record_seconds": "1e9"}, "expected a few days"),
        ({"channels": [Channel("C3", np.arange(1000), "V", ("-9e99", "9e99"))]}, "usual size"),
        ({"record_seconds": "nan"}, "not a number"),
        ({"record_seconds": "-1"}, "negative"),
        ({"onsets": [f"+{10**13 + k}" for k in range(10)], "kind": "EDF+D"}, "does not say when"),
        ({"onsets": [*"012345678", "1209000"], "kind": "EDF+D"}, "100 times what the file stores"),
        ({"onsets": [*"012345678", "9" * 15], "kind": "EDF+D"}, "record 10 of 10 does not say"),
        ({"date": "99.99.99", "recording": "Startdate 31-DEC-9999"}, "start date"),
    ],
)
def test_a_small_file_asks_for_little_memory(written, changes, message):
    path = written(replace(PLAIN, **changes))
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=message):
            read_signal(path, name="n")
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("onsets", "first", "noted"),
    [
        (["+0.25", "+1.25", "+2.25", "+3.25", "+4.25"], 0.25, False),
        (["+9.25", "+1.25", "+2.25", "+3.25", "+4.25"], 0.25, True),
        (["+0.25", "+1.25", "+2.25", "+3.25", "+9.25"], 0.25, True),
        (["+0.25", "", "+2.25", "+3.25", "+4.25"], 0.25, True),
        (["", "", "", "", ""], 0, False),
        (["+5", "+3", "+8", "+1", "+0"], 5, True),
        (["+0", "+1", "+2", "+9", "+10"], 0, False),
    ],
)
def test_a_continuous_file_is_not_shifted_by_a_damaged_onset(written, onsets, first, noted):
    path = written(Recording([ramp(count=500)], 5, onsets=onsets))
    times = record_times(read_header(path, name="n"))
    assert times.first_s == first and bool(times.notes) == noted
    paused = onsets[-1] == "+10"
    signal = read_signal(path, name="n")
    assert signal.gaps == (((3.0, 9.0),) if paused else ())
    assert len(signal.samples) == (1100 if paused else 500)
