"""Hypnograms from annotations and text: counts of real nights; labels never move in time."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram import Hypnogram, read_hypnogram

from ...recordings import START, write_psg


@pytest.fixture(scope="module")
def psg(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hypnogram")
    return write_psg(folder / "psg.edf", 120, stages=["W", "N1", "3", "R"])


@pytest.fixture
def read(psg, tmp_path):
    """Reads a hypnogram from its text."""

    def read_text(text: str | bytes, scheme: str = "", **night) -> Hypnogram:
        (tmp_path / "stages.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
        path = tmp_path / "stages.txt"
        return read_hypnogram(Night("n", "s", None, psg, path, hypnogram_scheme=scheme, **night))

    return read_text


def counts(hypnogram: Hypnogram) -> list[int]:
    """Clips of W, N1, N2, N3, REM and unknown."""
    return np.roll(np.bincount(hypnogram.stage + 1, minlength=6), -1).tolist()


@pytest.mark.parametrize("kind", ["edf", "bdf"])
def test_the_annotations_of_a_real_night(shared_data, kind):
    folder = shared_data / "sleepedf-short-psg"
    scored = folder / f"SC4001EC-Hypnogram.{kind}"
    hypnogram = read_hypnogram(Night("n", "s", None, folder / "short_psg.edf", scored))
    # 2,650 scored epochs and 230 of "Sleep stage ?" at the end of the day.
    assert counts(hypnogram) == [1997, 58, 250, 220, 125, 230]
    assert hypnogram.onset_s[0] == 0 and hypnogram.mixed == 0


def test_39_real_nights_have_the_published_counts(shared_data):
    folder = shared_data / "sleepedf20-hypnograms" / "SC"
    total = np.zeros(6, int)
    nights = sorted(folder.glob("SC????E0.txt"))
    for path in nights:
        hypnogram = read_hypnogram(Night("n", "s", None, path, path))
        assert hypnogram.mixed == 0
        asleep = np.flatnonzero(hypnogram.stage > 0)
        # 30 minutes of wake before and after sleep, as all who publish counts keep them.
        kept = slice(max(asleep[0] - 60, 0), asleep[-1] + 61)
        total += counts(Hypnogram(hypnogram.onset_s[kept], hypnogram.stage[kept]))
    assert len(nights) == 39
    assert total.tolist() == [8284, 2804, 17799, 5703, 7717, 61]


def test_25_real_nights_of_one_number_a_line(shared_data):
    total = np.zeros(6, int)
    for path in sorted((shared_data / "ucddb-stages-events").glob("*_stage.txt")):
        night = Night("n", "s", None, path, path, hypnogram_scheme="ucddb")
        total += counts(read_hypnogram(night))
    codes = {"0": 4707, "1": 3016, "2": 3403, "3": 6985, "4": 673, "5": 1990, "8": 15}
    assert total.sum() == sum(codes.values()) == 20789
    assert total.tolist() == [4707, 3403, 6985, 673 + 1990, 3016, 15]


def test_stages_may_stand_in_the_psg(psg):
    hypnogram = read_hypnogram(Night("n", "s", None, psg))
    assert hypnogram.stage.tolist() == [0, 1, 3, 4]
    assert hypnogram.onset_s.tolist() == [0, 30, 60, 90]


def test_nobodys_clips_are_those_of_the_psg(psg):
    hypnogram = read_hypnogram(Night("n", "s", None, psg, scorer="nobody"))
    assert hypnogram.stage.tolist() == [-1] * 4
    assert hypnogram.onset_s.tolist() == [0, 30, 60, 90]


@pytest.mark.parametrize("seconds", [-30.0, 0.0, 12.25, 60.0])
def test_a_hypnogram_file_with_a_start_of_its_own(psg, tmp_path, seconds):
    start = START + timedelta(seconds=seconds)
    path = write_psg(tmp_path / "scored.edf", 60, start=start, stages=["N2", "R"])
    hypnogram = read_hypnogram(Night("n", "s", None, psg, path))
    assert hypnogram.onset_s.tolist() == [seconds, seconds + 30]


def test_a_hypnogram_file_without_date_and_time(psg, tmp_path):
    path = write_psg(
        tmp_path / "h.edf", 120, stages=["W"], start=START.replace(1985, 1, 1, 0, 0, 0)
    )
    for confirmed in ("", "date"):
        night = Night("n", "s", None, psg, path, hypnogram_confirm=confirmed)
        with pytest.raises(UserError, match="and at 0:00:00: its time was removed, too"):
            read_hypnogram(night)


def test_other_annotations_are_no_stages(tmp_path):
    events = [(3, 10, "Hypopnea"), (40, 0, "Lights off@@EEG F4-A1"), (41, 2, "R")]
    path = write_psg(tmp_path / "p.edf", 60, stages=["W", "N2"], annotations=events)
    assert read_hypnogram(Night("n", "s", None, path)).stage.tolist() == [0, 2]


def test_no_stages_and_stages_nobody_knows(tmp_path):
    path = write_psg(tmp_path / "none.edf", 60, annotations=[(3, 10, "Hypopnea")])
    with pytest.raises(UserError, match="night n: no annotation such as .* names no hypnogram"):
        read_hypnogram(Night("n", "s", None, path))
    path = write_psg(tmp_path / "odd.edf", 60, stages=["W", "5"])
    with pytest.raises(UserError, match="1 of 'Sleep stage 5' in .* no N1, N2, N3, REM"):
        read_hypnogram(Night("n", "s", None, path))


@pytest.mark.parametrize(
    "text",
    [
        "onset,duration,stage\n0,30,W\n30,60,N2\n90,30,REM\n",
        "Stage;Onset;Duration\r\nW;0;30\r\nN2;30;60\r\nREM;90;30\r\n",
        "\ufeffonset\tduration\tstage\n0\t30\tW\n30\t60\tN2\n90\t30\tREM\n",
        "W\nN2\nN2\nREM\n",
        "stage\nWake\nS2\nS2\nR\n\n",
        "onset,duration,stage\n90,30,REM\n0,30,W\n30,60,N2\n",
        # A spreadsheet's mark, NumPy's and MNE-Python's headers, R's names of rows, spaces.
        "sep=;\nonset;duration;stage\n0;30;W\n30;60;N2\n90;30;REM\n",
        "sep=\t\nStage\nWake\nS2\nS2\nR\n",
        "# onset,duration,stage\n0.0,30.0,W\n30.0,60.0,N2\n90.0,30.0,REM\n",
        "# MNE-Annotations\n# onset, duration, description\n0.0, 30.0, Sleep stage W\n"
        "30.0, 60.0, Sleep stage 2\n90.0, 30.0, Sleep stage R\n",
        '"onset","duration","stage"\n"1",0,30,"W"\n"2",30,60,"N2"\n"3",90,30,"REM"\n',
        '"onset" "duration" "stage"\n"1" 0 30 "W"\n"2" 30 60 "N2"\n"3" 90 30 "REM"\n',
        "epoch  stage\n1      W\n2\tN2\n  3    N2\n 4 REM\n",
        '"onset" "event"\n 0 "Sleep stage W"\n 30 "Sleep stage 2"\n'
        '60 "Sleep stage 2"\n90 "Sleep stage R"\n',
    ],
)
def test_text_in_its_many_forms(read, text):
    hypnogram = read(text)
    assert hypnogram.stage.tolist() == [0, 2, 2, 4]
    assert hypnogram.onset_s.tolist() == [0, 30, 60, 90]


@pytest.mark.parametrize(
    ("scheme", "text", "stages"),
    [
        ("aasm", "0\n1\n2\n3\n4\n-1\n", [0, 1, 2, 3, 4, -1]),
        ("profusion", "0\n1\n2\n3\n4\n5\n9\n", [0, 1, 2, 3, 3, 4, -1]),
        ("ucddb", "0\n1\n2\n3\n4\n5\n6\n7\n", [0, 4, 1, 2, 3, 3, -1, -1]),
        ("yasa", "0\n4.0\n-2\n", [0, 4, -1]),
        ("sleep_edf", "W\n1\n2\n3\n4\nR\nM\n?\n", [0, 1, 2, 3, 3, 4, -1, -1]),
        ("dreams", "5\n" * 6 + "4\n" * 6 + "2\n" * 3 + "3\n" * 3, [0, 4, -1]),
    ],
)
def test_named_schemes(read, scheme, text, stages):
    seconds = 5 if scheme == "dreams" else 30
    titles = ("", "[HypnogramAASM]\n", "[HypnogramR&K]\r\n") if scheme == "dreams" else ("",)
    for title in titles:
        assert read(title + text, scheme, hypnogram_epoch_s=seconds).stage.tolist() == stages


@pytest.mark.parametrize(
    ("text", "scheme", "message"),
    [
        ("", "", "empty"),
        ("0\n1\n", "", "line 1: the number 0.*hypnogram_scheme .aasm"),
        ("W\n7\n", "", "line 2: the number 7"),
        ("0\n9\n", "aasm", "line 2: '9' is no stage; expected .* named scheme"),
        ("0\n", "guess", "no hypnogram_scheme of that name; expected one of aasm"),
        ("W\nN7\n", "", "line 2: 'N7' is no stage"),
        ("Time,Stage\n00:00:00,W\n", "", "times begin with 0:00:00"),
        ("when,what\n0,W\n", "", "line 1: 9 characters .letters, punctuation. is no stage"),
        ("onset,duration,stage\n0,30\n", "", "line 2: 2 cells"),
        ("onset,duration,stage\n0,x,W\n", "", "line 2: the duration is not in seconds"),
        ("onset,duration,stage\n0,1e9,W\n", "", "at most 14 days"),
        ("onset,duration,stage\n0,-30,W\n", "", "expected a positive duration"),
        ("onset,duration,stage\n0,10,W\n", "", "expected at least 30 s"),
        (b"\0\1\2", "", "neither EDF. nor readable text"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(read, text, scheme, message):
    with pytest.raises(UserError, match=message) as raised:
        read(text, scheme)
    assert str(raised.value).startswith("night n") and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("path", "reason"), [("none.txt", "No such file or directory"), ("a\0b.txt", "no file name")]
)
def test_a_missing_hypnogram(psg, path, reason):
    with pytest.raises(UserError, match=f"night n: the hypnogram cannot be read .{reason}.$"):
        read_hypnogram(Night("n", "s", None, psg, Path(path)))
