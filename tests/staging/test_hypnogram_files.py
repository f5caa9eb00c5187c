"""Every form of a staged night comes back from a reader that is not ours."""

import csv
import json
from datetime import date, datetime, time
from pathlib import Path

import edfio
import mne
import numpy as np
import pytest

from sacd_jax.staging.hypnogram_files import write_all
from tests.staging.nights import staged

STAGES = ["W", "N1", "N2", "", "N3", "REM"]


@pytest.fixture(params=["clock", "no clock"])
def folder(request, tmp_path: Path) -> Path:
    more = {} if request.param == "clock" else {"start": None, "clock": ""}
    paths = write_all(staged(STAGES, **more), tmp_path)
    assert all(path.is_file() for path in paths)
    assert set(tmp_path.iterdir()) == set(paths)
    return tmp_path


def test_edf_annotations(folder: Path) -> None:
    words = ["Sleep stage W", "Sleep stage N1", "Sleep stage N2", "Sleep stage ?"]
    words += ["Sleep stage N3", "Sleep stage R"]
    read = mne.read_annotations(folder / "hypnogram.edf")
    assert read.description.tolist() == words
    np.testing.assert_array_equal(read.onset, np.arange(6) * 30)
    np.testing.assert_array_equal(read.duration, 30)
    edf = edfio.read_edf(folder / "hypnogram.edf")
    assert [each.text for each in edf.annotations] == words
    assert [each.onset for each in edf.annotations] == [30.0 * k for k in range(6)]
    assert edf.starttime.second in (40, 0) and edf.startdate.year in (2024, 1985)


@pytest.mark.parametrize("year", [1970, 2090])
def test_a_clock_beyond_those_of_edf(tmp_path: Path, year) -> None:
    write_all(staged(STAGES, start=datetime(year, 1, 1, 0, 3, 7)), tmp_path)
    edf = edfio.read_edf(tmp_path / "hypnogram.edf")
    assert (edf.startdate, edf.starttime) == (date(1985, 1, 1), time(0, 3, 7))


def test_table(folder: Path) -> None:
    rows = list(csv.DictReader((folder / "hypnogram.csv").read_text().splitlines()))
    assert [row["stage"] for row in rows] == STAGES
    assert [float(row["onset_s"]) for row in rows] == [30.0 * k for k in range(6)]
    assert float(rows[1]["p_N1"]) == pytest.approx(0.9) and rows[3]["p_N1"] == ""
    assert rows[3]["not_scored_because"] == "missing frames" and not rows[1]["not_scored_because"]
    assert rows[2]["clock_time"] in ("2024-03-05 22:58:40.250", "")


def test_bids_events(folder: Path) -> None:
    with (folder / "night_hypnogram.tsv").open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["trial_type"] for row in rows] == ["W", "N1", "N2", "n/a", "N3", "REM"]
    assert rows[3]["confidence"] == "n/a" and float(rows[0]["confidence"]) == pytest.approx(0.9)
    explained = json.loads((folder / "night_hypnogram.json").read_text())
    assert set(explained) == set(rows[0])


def test_edfbrowser_table(folder: Path) -> None:
    rows = list(csv.reader((folder / "hypnogram_edfbrowser.csv").read_text().splitlines()))
    assert rows[0] == ["Onset", "Duration", "Annotation"]
    assert rows[-1] == ["150", "30", "Sleep stage R"] and len(rows) == 7


def test_yasa(folder: Path) -> None:
    """The keys and words of YASA 0.8's `Hypnogram.to_dict`; it is no dependency of the tests."""
    value = json.loads((folder / "hypnogram_yasa.json").read_text())
    assert set(value) == {"values", "n_stages", "freq", "start", "scorer", "proba"}
    assert value["values"] == ["WAKE", "N1", "N2", "UNS", "N3", "REM"]
    assert (value["n_stages"], value["freq"]) == (5, "30s")
