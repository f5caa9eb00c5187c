"""YASA's JSON: lengths of epochs, a start of its own, and what is refused."""

import json
from datetime import timedelta

import pytest

from input_pipeline.errors import UserError

from .dialects import START


def text(values=("WAKE", "N1", "UNS"), **fields) -> str:
    return json.dumps({"values": list(values), **fields})


@pytest.mark.parametrize(
    ("frequency", "seconds"),
    [("60s", 60), ("60.0sec", 60), ("min", 60), ("2T", 120), ("1.5T", 90)],
)
def test_lengths_of_epochs(read, frequency, seconds):
    stages = read(text(["WAKE", "N1", "REM"], freq=frequency)).stage.tolist()
    assert stages == [stage for stage in (0, 1, 4) for _ in range(seconds // 30)]


def test_the_length_is_30_s_where_none_is_said_and_a_scorer_may_be(read):
    found = read(text(["WAKE", "N1", "REM"], scorer=" Erika "), scorer="erika")
    assert found.stage.tolist() == [0, 1, 4]
    assert read(text([0, 4, "N2"]), hypnogram_scheme="yasa").stage.tolist() == [0, 4, 2]


def test_a_bare_list_of_stages(read):
    found = read(json.dumps([-1, 0, 1.0, 4], indent=1), hypnogram_scheme="aasm")
    assert found.stage.tolist() == [-1, 0, 1, 4] and "1680 s before" in found.notes[0]
    assert read('["W", "N1"]').stage.tolist() == [0, 1]
    with pytest.raises(UserError, match="90 stages .* would be epochs of 20 s"):
        read(json.dumps(["W"] * 90))


@pytest.mark.parametrize("after", [-60, 0, 90])
def test_a_start_of_its_own(read, after):
    start = (START + timedelta(seconds=after)).isoformat()
    found = read(text(["WAKE", "N1"], freq="30s", start=f"{start}Z"))
    assert found.onset_s.tolist() == [after, after + 30] and found.stage.tolist() == [0, 1]
    assert found.notes == ()
    assert "1740 s before the PSG" in read(text(["WAKE", "N1"], freq="30s")).notes[0]


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (text([]), 'without "values"'),
        ('{"values": "W"}', 'without "values"'),
        ('[{"values": ["W"]}]', "neither a word nor a number"),
        ("[null, 1]", "line 1, value 1: "),
        ('["W", 7]', "value 2: the number 7, and numbers mean different stages"),
        ('["W", "N1"', "not well-formed JSON"),
        (text(n_stages=4), "other stages than the five"),
        (text(["WAKE", None]), "neither a word nor a number"),
        (text(["WAKE", "Erika"]), "value 2: 5 characters .* is no stage"),
        (text(freq=30), '"freq" of the JSON is no length'),
        (text(freq="30h"), '"freq" of the JSON is no length'),
        (text(["WAKE"], start="Erika"), '"start" of the JSON is no date'),
        (text(["WAKE"], start=5), '"start" of the JSON is no date'),
    ],
)
def test_what_is_refused(read, written, message):
    with pytest.raises(UserError, match=message) as raised:
        read(written)
    assert "Erika" not in str(raised.value)
