"""A PSG in several files: one signal on the clock, or one line on why it is none."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.readers.edf import read_annotations, read_signal, recorded_time

from ..made_edf import Channel, Recording, ramp
from ..recordings import later, patched


def pieces(folder, *parts, **changes):
    """Files of one signal: each holds `seconds` of it from second `begin` on."""
    paths = []
    for k, (begin, seconds) in enumerate(parts):
        values = np.arange(begin * 100, (begin + seconds) * 100) % 30000
        at = later(begin + 0.25)
        made = Recording(
            [Channel("C3-REF", values, "uV", (-32768, 32767)), ramp("A2-REF", len(values))],
            seconds,
            onsets=[f"+{k + 0.25}" for k in range(seconds)],
            annotations=[f"+1.25\x1530\x14part {k}\x14\0".encode()],
            date=f"{at:%d.%m.%y}",
            time=f"{at:%H.%M.%S}",
            recording=f"Startdate {at:%d-%b-%Y}".upper().replace("STARTDATE", "Startdate"),
        )
        paths.append(folder / f"part{k}.edf")
        paths[-1].write_bytes(replace(made, **changes).bytes())
    return paths


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_recording_in_pieces_is_joined_on_the_clock(tmp_path, order):
    paths = pieces(tmp_path, (0, 10), (10, 20), (200, 5))
    files = [paths[k] for k in order]
    signal = read_signal(files, "C3-REF", name="n")
    assert signal.start == later(0.25)
    assert recorded_time(files, name="n") == (signal.start, signal.seconds)
    assert signal.gaps == ((30.0, 200.0),) and len(signal.samples) == 20500
    places = np.flatnonzero(np.isfinite(signal.samples))
    assert len(places) == 3500
    np.testing.assert_array_equal(signal.samples[places], places % 30000)
    read = read_annotations(files, name="n")
    assert read.start == signal.start and read.onset_s.tolist() == [1, 11, 201]
    assert read.text == ("part 0", "part 1", "part 2")


def test_pieces_without_a_date_follow_each_other_past_midnight(tmp_path):
    before, after = later(0.25), later(3 * 3600)
    paths = pieces(tmp_path, (0, 10), (10800, 10))
    removed = {168: b"01.01.85", 88: b"X".ljust(80)}
    for path in paths:
        for place, text in removed.items():
            patched(path, path, place, text)
    assert before.date() != after.date()
    signal = read_signal(paths, "A2-REF", name="n")
    assert not signal.date_known and signal.gaps == ((10.0, 10800.0),)
    assert recorded_time(paths, name="n") == (signal.start, signal.seconds)
    assert read_annotations(paths, name="n").start == signal.start


@pytest.mark.parametrize(
    ("parts", "label", "channel", "message"),
    [
        (((0, 10), (5, 10)), "C3-REF", "C3-REF", "file 2 begins 5.0 s before file 1 ends"),
        (((0, 10), (20, 4)), "C3-REF", "O1|C9", "PSG file 1: no channel 'O1'"),
        (((0, 10), (20, 4)), "C3-M2", "C3-A2", None),
        (((0, 10), (20, 4)), "C3", "C3-REF|C3", "file 2 holds C3 where file 1 holds C3-REF"),
    ],
)
def test_pieces_that_do_not_fit(tmp_path, parts, label, channel, message):
    one, other = pieces(tmp_path, *parts)
    patched(other, other, 256, label.encode().ljust(16))
    if message is None:  # computed in one file, recorded in the other: still one derivation
        assert read_signal([one, other], channel, name="n").seconds == 24
        return
    with pytest.raises(UserError, match=message):
        read_signal([one, other], channel, name="n")


def test_pieces_between_which_summer_time_begins_or_ends(tmp_path):
    paths = [tmp_path / "part0.edf", tmp_path / "part1.edf"]
    for path, seconds in zip(paths, (3700, 10), strict=True):
        path.write_bytes(Recording([ramp("C3-M2", 8 * seconds)], seconds).bytes())

    def started(day: str, month: str, *clocks: bytes) -> list[Path]:
        for path, clock in zip(paths, clocks, strict=True):
            field = f"Startdate {day}-{month}-2024 X X X".encode().ljust(80)
            number = {"MAR": "03", "OCT": "10"}[month]
            patched(path, path, 88, field + f"{day}.{number}.24".encode() + clock)
        return paths

    for day, month, clocks in (
        ("31", "MAR", (b"00.58.20", b"03.00.00")),
        ("27", "OCT", (b"01.58.20", b"02.00.00")),
    ):
        with pytest.raises(UserError, match="between PSG file . and file . the clock moves by an"):
            read_signal(started(day, month, *clocks), name="n")
    weekday = started("28", "MAR", b"00.58.20", b"03.00.00")
    assert read_signal(weekday, name="n").gaps == ((3700.0, 7300.0),)
    longer = started("31", "MAR", b"00.58.20", b"03.10.00")
    assert read_signal(longer, name="n").gaps == ((3700.0, 7900.0),)
