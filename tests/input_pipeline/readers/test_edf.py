"""EEG from EDF and BDF files: gaps, damage, labels and units of real and made files."""

import warnings
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import mne
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.readers.edf import (
    Signal,
    read_annotations,
    read_signal,
    resample,
)
from input_pipeline.readers.edf_header import read_header
from input_pipeline.readers.edf_records import record_times

from ..made_edf import Channel, Recording, ramp
from ..recordings import PATIENT, START, later, patched, with_onsets, write_psg


def stored_microvolts(path: Path, channel: str) -> np.ndarray:
    """Samples of a 16-bit file by the definition of the format, without any reader."""
    header = read_header(path, name="n")
    position = [signal.label for signal in header.signals].index(channel)
    signal = header.signals[position]
    first = sum(other.samples for other in header.signals[:position])
    raw = np.fromfile(path, "<i2", offset=header.header_bytes)
    width = header.record_bytes // 2
    raw = raw[: header.records * width].reshape(header.records, width)
    stored = raw[:, first : first + signal.samples].ravel().astype(float)
    gain = (signal.physical_max - signal.physical_min) / (signal.digital_max - signal.digital_min)
    return (stored - signal.digital_min) * gain + signal.physical_min


@pytest.fixture(scope="module")
def psg(tmp_path_factory):
    path = tmp_path_factory.mktemp("psg") / "psg.edf"
    wide = [(0.0, 1.0, "leaves room for other onsets")]
    return write_psg(path, 20, labels=("EEG C3-A2", "EOG"), annotations=wide)


def test_samples_are_those_in_the_file(shared_data):
    path = shared_data / "sleepedf-short-psg" / "short_psg.edf"
    signal = read_signal(path, "EEG Pz-Oz", name="n")
    assert signal.rate == 100 and signal.start == datetime(1989, 4, 24, 16, 13)
    expected = stored_microvolts(path, "EEG Pz-Oz")
    np.testing.assert_allclose(signal.samples, expected, rtol=1e-6, atol=1e-5)


def test_bdf_holds_what_edf_holds(shared_data):
    folder = shared_data / "sleepedf-short-psg"
    edf, bdf = (read_signal(folder / f"short_psg.{kind}", name="n") for kind in ("edf", "bdf"))
    assert edf.channel == bdf.channel == "EEG Fpz-Cz"
    np.testing.assert_allclose(edf.samples, bdf.samples, atol=0.01)


@pytest.mark.parametrize(
    ("file", "seconds", "note"),
    [
        ("made_unknown_record_count.edf", 300, "does not say how many records"),
        ("made_record_count_too_big.edf", 300, "promises more records than the 10 that"),
        ("made_truncated_mid_record.edf", 270, "cut off"),
        ("made_bad_startdate.edf", 300, "EDF+ recording field"),
    ],
)
def test_damage_that_can_be_mended_is_mended_and_noted(shared_data, file, seconds, note):
    signal = read_signal(shared_data / "edf-edge-cases" / file, name="n")
    assert signal.seconds == seconds and signal.start == datetime(1989, 4, 24, 16, 13)
    assert any(note in line for line in signal.notes)


def test_a_pause_of_the_recorder_is_nan_and_shifts_nothing(shared_data):
    folder = shared_data / "edf-edge-cases"
    signal = read_signal(folder / "made_edf_plus_D_gap.edf", name="n")
    whole = read_signal(folder / "made_unknown_record_count.edf", name="n")
    assert signal.gaps == ((150.0, 275.5),) and signal.seconds == 425.5
    np.testing.assert_array_equal(signal.samples[:15000], whole.samples[:15000])
    np.testing.assert_array_equal(signal.samples[27550:], whole.samples[15000:])
    assert np.isnan(signal.samples[15000:27550]).all()
    annotations = read_annotations(folder / "made_edf_plus_D_gap.edf", name="n")
    assert annotations.onset_s.tolist() == [0, 275.5]


def test_a_recording_may_begin_between_two_seconds(shared_data):
    path = shared_data / "edf-edge-cases" / "mne_subsecond_start.edf"
    signal = read_signal(path, "Fp1", name="n")
    assert signal.start == datetime(2020, 1, 24, 4, 5, 56, 394531)
    annotations = read_annotations(path, name="n")
    assert annotations.start == signal.start
    np.testing.assert_allclose(annotations.onset_s, [1.9511719, 3.4921875])


@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_all_annotations_of_a_file_without_signals(shared_data, kind):
    path = shared_data / "sleepedf-short-psg" / f"SC4001EC-Hypnogram.{kind}"
    annotations = read_annotations(path, name="n")
    assert len(annotations.text) == 154
    if kind == "edf":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = mne.read_annotations(path)
        np.testing.assert_array_equal(annotations.onset_s, expected.onset)
        np.testing.assert_array_equal(annotations.duration_s, expected.duration)
        assert list(annotations.text) == list(expected.description)


def test_annotations_in_utf_8_and_latin_1(shared_data, tmp_path):
    path = shared_data / "edf-edge-cases" / "mne_utf8_annotations.edf"
    assert read_annotations(path, name="n").text == ("RECORD START", "仰卧")
    place = path.read_bytes().index("仰卧".encode())
    latin = patched(path, tmp_path / "latin.edf", place, "gähnt!".encode("latin-1"))
    assert read_annotations(latin, name="n").text == ("RECORD START", "gähnt!")


def test_labels_that_are_there_twice_must_be_told_apart(shared_data):
    path = shared_data / "edf-edge-cases" / "mne_duplicate_channel_labels.edf"
    with pytest.raises(UserError, match="2 times; name 'EEG F1-Ref-0' or 'EEG F1-Ref-1'"):
        read_signal(path, "EEG F1-Ref", name="n")
    raw = np.fromfile(path, "<i2", offset=1280).reshape(10, -1)
    for number, first in ((0, 0), (1, 500)):
        signal = read_signal(path, f"EEG F1-Ref-{number}", name="n")
        centred = raw[:, first : first + 250].ravel() - raw[0, first]
        scale = np.ptp(signal.samples) / np.ptp(centred)
        np.testing.assert_allclose(signal.samples - signal.samples[0], centred * scale, atol=0.01)


@pytest.mark.parametrize("asked", ["C3-A2", "C3-M2", "eeg c3-m2", "EEG C3:A2", "O9|C3-A2", ""])
def test_a_derivation_goes_by_many_names(psg, asked):
    assert read_signal(psg, asked, name="n").channel == "EEG C3-A2"


def test_an_unknown_channel_lists_those_that_are_there(psg):
    with pytest.raises(UserError, match="night n: no channel 'C4-A1'; .* EEG C3-A2, EOG$"):
        read_signal(psg, "C4-A1", name="n")


def test_a_derivation_is_the_difference_of_electrodes_recorded_apart(tmp_path):
    path = write_psg(tmp_path / "apart.edf", 4, labels=("C3", "M2", "A1"))
    signal = read_signal(path, "C3-A2", name="n")
    assert signal.channel == "C3 - M2"
    np.testing.assert_array_equal(signal.samples, 0)


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("uV", 1), ("UV", 1), ("mV", 1e3), ("MV", 1e3), ("V", 1e6), ("nV", 1e-3), ("\xb5V", 1)],
)
def test_every_unit_becomes_microvolt(psg, tmp_path, unit, factor):
    place = 256 + 3 * 96  # the unit of the first of three signals
    path = patched(psg, tmp_path / "unit.edf", place, unit.encode("latin-1").ljust(8))
    signal = read_signal(path, name="n")
    np.testing.assert_allclose(signal.samples, np.arange(2500) * factor, rtol=1e-6, atol=1e-3)


def test_a_unit_that_is_none_of_volts_is_refused(shared_data):
    path = shared_data / "sleepedf-short-psg" / "short_psg.edf"
    with pytest.raises(UserError, match="Temp rectal has the unit 'DegC'.*psg_unit"):
        read_signal(path, "Temp rectal", name="n")


@pytest.mark.parametrize(
    ("old", "new", "year"),  # year None: neither is a date, and nobody removed it on purpose
    [
        (b"01.01.85", b"01-JAN-1985", 1985),
        (b"00.00.00", b"X          ", 1985),
        (b"XX.XX.XX", b"X          ", 1985),
        (b"        ", b"X          ", 1985),
        (b"01.01.01", b"X          ", 2001),
        (b"31.01.24", b"31-JAN-1924", 1924),
        (b"40.13.77", b"X          ", None),
        (b"31.01.24", b"31-JAN-9999", 2024),
        (b"1/2/24  ", b"X          ", 2024),
        (b"        ", b"3-feb-2024 ", 2024),
    ],
)
def test_dates_that_were_removed_are_known_as_such(psg, tmp_path, old, new, year):
    place = psg.read_bytes().index(b"Startdate") + len("Startdate ")
    path = patched(psg, tmp_path / "new.edf", place, new)
    path = patched(path, tmp_path / "both.edf", 168, old)
    if year is None:
        with pytest.raises(UserError, match="night n: the start date in the EDF header"):
            read_signal(path, name="n")
    else:
        signal = read_signal(path, name="n")
        assert signal.start.time() == START.time() and signal.start.year == year
        assert signal.date_known == (year == 2024)


@pytest.mark.parametrize(
    ("position", "text", "message"),
    [
        (0, b"PDF", "not an EDF or BDF file"),
        (252, b"9999", "number of signals in the EDF header is not one of 1 to 4096"),
        (252, b"4095", "does not say that it has 1048576 bytes"),
        (184, b"77777777", "does not say that it has 1024 bytes"),
        (236, b"Mustermn", "number of records in the EDF header is not a whole number"),
        (244, b"99999999", "expected a few days at most"),
        (244, b"0       ", "holds no signals"),
        (176, b"25.61.00", "the start time"),
        (256 + 216 * 3, b"99999999", "no whole data record"),
        (256 + 216 * 3, b"-5      ", "less than 0 samples"),
    ],
)
def test_damage_that_cannot_be_mended_is_named(psg, tmp_path, position, text, message):
    with pytest.raises(UserError, match=message) as raised:
        read_signal(patched(psg, tmp_path / "damaged.edf", position, text), name="n")
    assert "\n" not in str(raised.value) and PATIENT not in str(raised.value)


def test_an_empty_and_a_missing_file(tmp_path):
    (tmp_path / "empty.edf").touch()
    for name, message in (("empty.edf", "not an EDF"), ("none.edf", "No such file")):
        with pytest.raises(UserError, match=f"night n: .*{message}"):
            read_signal(tmp_path / name, name="n")


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1200), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_damage_of_the_header_raises_anything_else_or_shows_the_patient(psg, tmp_path, bytes_at):
    data = bytearray(psg.read_bytes())
    for position, value in bytes_at:
        data[position] = value
    (tmp_path / "fuzzed.edf").write_bytes(data)
    try:
        signal = read_signal(tmp_path / "fuzzed.edf", name="n")
        read_annotations(tmp_path / "fuzzed.edf", name="n")
    except UserError as error:
        assert "Mustermann" not in str(error)
    else:
        assert signal.samples.dtype == np.float32


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(pauses=st.lists(st.integers(0, 5000), min_size=19, max_size=19), fraction=st.integers(0, 7))
def test_a_sample_is_where_its_record_says(psg, tmp_path, pauses, fraction):
    """Pauses in samples (8 ms); all of them land where the onsets put them, to the sample."""
    steps = np.cumsum([0, *(125 + pause for pause in pauses)])
    onsets = [f"+{0.001 * fraction + step * 0.008:.3f}" for step in steps]
    signal = read_signal(with_onsets(psg, tmp_path / "gaps.edf", onsets), name="n")
    assert signal.start == later(0.001 * fraction)
    assert len(signal.samples) == steps[-1] + 125
    for record, step in enumerate(steps):
        expected = np.arange(record * 125, (record + 1) * 125)
        np.testing.assert_array_equal(signal.samples[step : step + 125], expected)
    lengths = [round((end - begin) * 125) for begin, end in signal.gaps]
    assert lengths == [pause for pause in pauses if pause > 2]
    assert np.isnan(signal.samples).sum() == sum(lengths)


def test_records_that_overlap_or_do_not_say_when_are_refused(psg, tmp_path):
    onsets = [f"+{k}" for k in range(20)]
    backwards = with_onsets(psg, tmp_path / "back.edf", [*onsets[:10], "+5", *onsets[11:]])
    with pytest.raises(UserError, match="record 11 begins before record 10 ends"):
        read_signal(backwards, name="n")
    silent = with_onsets(psg, tmp_path / "silent.edf", [*onsets[:10], "", *onsets[11:]])
    with pytest.raises(UserError, match="record 11 of 20 does not say when"):
        read_signal(silent, name="n")


def test_onsets_without_sense_in_a_file_that_says_it_is_continuous(psg, tmp_path):
    same = with_onsets(psg, tmp_path / "same.edf", ["+0"] * 20, flag="EDF+C")
    signal = read_signal(same, name="n")
    assert signal.seconds == 20 and "make no sense" in signal.notes[0]


def test_an_onset_beyond_belief_allocates_nothing(psg, tmp_path):
    far = with_onsets(psg, tmp_path / "far.edf", [f"+{k}" for k in range(19)] + ["+99999999"])
    with pytest.raises(UserError, match="record 20 of 20 does not say when"):
        read_signal(far, name="n")


def test_annotations_count_from_the_first_sample(tmp_path):
    start = START + timedelta(milliseconds=250)
    path = write_psg(tmp_path / "a.edf", 60, start=start, annotations=[(12.5, 3, "Lights off")])
    annotations = read_annotations(path, name="n")
    assert annotations.start == start == read_signal(path, name="n").start
    assert annotations.onset_s.tolist() == [12.5] and annotations.duration_s.tolist() == [3]
    assert record_times(read_header(path, name="n")).first_s == 0.25


@st.composite
def recordings(draw):
    """Any valid file, and the rate of each of its channels."""
    kind = draw(st.sampled_from(["EDF", "EDF+C", "EDF+D", "BDF", "BDF+C", "BDF+D"]))
    most = 2**23 - 1 if kind.startswith("BDF") else 2**15 - 1
    records = draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    channels = []
    for label in draw(st.lists(st.sampled_from(LABELS), min_size=1, max_size=4, unique=True)):
        least, limit = sorted(draw(st.tuples(st.integers(-most - 1, 0), st.integers(1, most))))
        low = draw(st.integers(-99_999, 99_999))
        high = draw(st.integers(-99_999, 99_999).filter(bool)) + low
        scale = draw(st.sampled_from([1, 10, 1000]))
        digital = rng.integers(-most - 1, most, records * draw(st.integers(1, 40)), endpoint=True)
        physical = (f"{low / scale:g}"[:8], f"{high / scale:g}"[:8])
        channels.append(Channel(label, digital, "uV", physical, (least, limit)))
    duration = draw(st.sampled_from([0.1, 0.5, 1, 2, 30]))
    onsets = None
    if kind.endswith("D"):
        # Pauses of whole samples at any rate: those of some records.
        steps = draw(st.lists(st.sampled_from([1, 1, 4, 42]), min_size=records, max_size=records))
        fraction = draw(st.sampled_from([0, 0.25, 0.9]))
        onsets = (np.cumsum(steps) - steps[0]) * duration + fraction
    return Recording(channels, records, duration, kind, onsets), onsets


LABELS = ("EEG C3-A2", "C4-M1", "Fp1-REF", "EMG chin", "O2-M1", "M\xfcller")


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=recordings())
def test_every_valid_file_is_read_by_the_formula_of_the_format(tmp_path, made):
    recording, onsets = made
    (tmp_path / "made.edf").write_bytes(recording.bytes())
    for channel in recording.channels:
        signal = read_signal(tmp_path / "made.edf", channel.label, name="n")
        expected = channel.values()
        size = len(expected) // recording.records
        assert signal.rate == size / recording.record_seconds
        tolerance = 1e-6 * max(1.0, np.abs(expected).max())
        if onsets is None:
            assert signal.start == START
            np.testing.assert_allclose(signal.samples, expected, atol=tolerance)
            continue
        assert signal.start == later(float(onsets[0]))
        places = np.rint((onsets - onsets[0]) * signal.rate).astype(int)
        assert len(signal.samples) == places[-1] + size
        for k, place in enumerate(places):
            part = signal.samples[place : place + size]
            np.testing.assert_allclose(part, expected[k * size : (k + 1) * size], atol=tolerance)


LONG = Recording([ramp(count=1200), ramp("C4-M1", 240)], 12, annotations=[b"+3\x14off\x14\0"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    damage=st.lists(
        st.tuples(st.integers(0, 11), st.integers(0, 59), st.integers(0, 255)), max_size=6
    ),
    length=st.integers(0, 100_000),
    declared=st.sampled_from(["12", "-1", "99999999", "7"]),
)
def test_damaged_times_and_cut_ends_shift_no_sample(tmp_path, damage, length, declared):
    """Sample i is i microvolt, 10 ms after the one before, wherever it is read at all."""
    data = bytearray(replace(LONG, declared=declared).bytes())
    head, width = 256 * 4, 2 * 120 + 60
    for record, place, value in damage:
        data[head + record * width + 240 + place] = value
    (tmp_path / "damaged.edf").write_bytes(data[: max(length % (2 * len(data)), 1)])
    try:
        signal = read_signal(tmp_path / "damaged.edf", "C3-M2", name="n")
        read_annotations(tmp_path / "damaged.edf", name="n")
    except UserError as error:
        assert "\n" not in str(error)
    else:
        moved = round((signal.start - START).total_seconds() * 100)
        places = np.flatnonzero(np.isfinite(signal.samples))
        np.testing.assert_array_equal(signal.samples[places], places + moved)


def test_the_unit_of_the_manifest_wins(tmp_path):
    path = tmp_path / "volts.edf"
    path.write_bytes(Recording([ramp("C3-M2", 100, unit="Mustermn")], 1).bytes())
    assert read_signal(path, name="n", unit="mV").samples[3] == 3000
    assert read_signal(path, name="n", any_unit=True).samples[3] == 3
    with pytest.raises(UserError, match="C3-M2 has the unit 8 characters .letters."):
        read_signal(path, name="n")


@pytest.mark.parametrize(
    ("rate", "seconds"),
    [
        *((rate, 60) for rate in (100.0, 128.0, 200.0, 256.0, 487.5, 500.0, 512.0)),
        (85 / 0.333333, 60),
        (200 / 0.999991, 120),  # a seventh of a sample too late at the end if taken for 200
    ],
)
def test_resampling_moves_nothing_in_time(rate, seconds):
    times = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * 7 * times) + np.cos(2 * np.pi * 1.3 * times)
    signal = Signal(wave.astype(np.float32), rate, START, (), "C3")
    resampled = resample(signal, 125.0, name="n")
    assert resampled.rate == 125 and len(resampled.samples) == seconds * 125
    times = np.arange(seconds * 125) / 125
    expected = np.sin(2 * np.pi * 7 * times) + np.cos(2 * np.pi * 1.3 * times)
    np.testing.assert_allclose(resampled.samples[250:-250], expected[250:-250], atol=0.01)


def test_resampling_keeps_gaps_and_what_is_beside_them():
    samples = np.full(20000, 5, np.float32)
    samples[8001:12003] = np.nan
    resampled = resample(Signal(samples, 200.0, START, (), "C3"), 125.0, name="n").samples
    missing = np.flatnonzero(np.isnan(resampled))
    assert missing[0] in (5000, 5001) and missing[-1] in (7501, 7502)
    assert len(missing) == missing[-1] - missing[0] + 1
    np.testing.assert_allclose(resampled[np.isfinite(resampled)], 5, atol=0.01)


def test_a_signal_too_slow_for_an_eeg_is_refused(shared_data):
    with pytest.raises(UserError, match="EEG needs"):
        resample(Signal(np.zeros(10, np.float32), 1.0, START, (), "EMG"), 125.0, name="n")
