"""The manifest: what is written is read back, and what is wrong is named by row and column."""

import math
import unicodedata
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.foreign_text import values_shown
from input_pipeline.night import (
    COLUMNS,
    PSG_UNITS,
    Night,
    parse_manifest,
    read_manifest,
    write_manifest,
)

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")), max_size=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("manifests")
    for name in ("a.edf", "b.edf", "a.mp4", "a.txt"):
        (made / name).write_bytes(b"x")
    return made


@st.composite
def nights(draw, folder=Path()):
    def number(least, most):
        return draw(st.floats(least, most))

    return Night(
        night_id=draw(NAMES),
        subject_id=draw(NAMES),
        video=draw(st.sampled_from([None, folder / "a.mp4"])),
        psg=draw(st.sampled_from([folder / "a.edf", (folder / "a.edf", folder / "b.edf")])),
        hypnogram=draw(st.sampled_from([None, folder / "a.txt"])),
        psg_channel=draw(PLAIN),
        ahi=draw(st.none() | st.floats(0, 300)),
        age=draw(st.none() | st.floats(0, 130)),
        sex=draw(st.sampled_from(["", "M", "F"])),
        video_start=draw(st.none() | st.datetimes(datetime(1990, 1, 1), datetime(2080, 1, 1))),
        sync_offset_s=number(-86400, 86400),
        sync_drift_ppm=number(-10000, 10000),
        psg_unit=draw(st.sampled_from(["", *PSG_UNITS])),
        hypnogram_scheme=draw(st.sampled_from(["", "ucddb"])),
        hypnogram_epoch_s=draw(st.none() | st.floats(0.1, 3600)),
        scorer=draw(PLAIN),
        hypnogram_confirm=draw(st.sampled_from(["", "date", "lost_stage|date"])),
    )


@given(data=st.data())
def test_nights_survive_writing_and_reading(folder, data):
    unique = st.lists(nights(folder), min_size=1, max_size=4, unique_by=lambda n: n.night_id)
    written = data.draw(unique)
    write_manifest(folder / "nights.csv", written)
    assert read_manifest(folder / "nights.csv") == written


def test_files_below_the_manifest_are_named_relative_to_it(folder):
    write_manifest(folder / "relative.csv", [Night("n1", "s1", None, folder / "a.edf")])
    assert str(folder) not in (folder / "relative.csv").read_text()


def manifest(folder, text, encoding="utf-8"):
    (folder / "wrong.csv").write_text(text, encoding=encoding)
    return folder / "wrong.csv"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("night_id,subject_id,psg\n", "no nights"),
        (
            "night_id,subject,psg\nn,s,a.edf\n",
            r"column 2 has an unknown name, 7 characters .letters.; did you mean 'subject_id'",
        ),
        ("night_id,psg\nn,a.edf\n", "no column 'subject_id'"),
        ("night_id,night_id,psg\nn,s,a.edf\n", "'night_id' is there twice"),
        ("night_id;subject_id;psg\nn;s;a.edf\n", "expected commas"),
        ("night_id,subject_id,psg\nn,s\n", "line 2: 2 cells, expected 3"),
        ("night_id,subject_id,psg\nn,,a.edf\n", "line 2, column subject_id: found nothing"),
        ("night_id,subject_id,psg\n../n,s,a.edf\n", "line 2, column night_id: found 4 characters"),
        ("night_id,subject_id,psg\nn,s,a.edf\nn,s,a.edf\n", "line 3, column night_id.*line 2"),
        ("night_id,subject_id,psg\nn,s,gone.edf\n", "column psg .night n.: no such file"),
        ("night_id,subject_id,psg\nn,s,a.edf | gone.edf\n", "psg, file 2 .night n.: no such"),
        ("night_id,subject_id,psg,psg_unit\nn,s,a.edf,W\n", "psg_unit: .*expected nV, uV, mV, V"),
        ("night_id,subject_id,psg\nn,s,.\n", "column psg .night n.: a folder"),
        (
            "night_id,subject_id,psg,ahi\nn,s,a.edf,many\n",
            "column ahi: found 4 characters .letters., expected",
        ),
        ('night_id,subject_id,psg,ahi\nn,s,a.edf,"8,6"\n', "ahi: .* decimal point, not a comma"),
        ("night_id,subject_id,psg,ahi\nn,s,a.edf,nan\n", "column ahi: found 3 characters"),
        ("night_id,subject_id,psg,age\nn,s,a.edf,-3\n", "column age: found 2 characters"),
        ("night_id,subject_id,psg,sex\nn,s,a.edf,1\n", "column sex: found 1 character .digits."),
        ("night_id,subject_id,psg,video_start\nn,s,a.edf,22:15\n", "column video_start"),
        ("night_id,subject_id,psg,video_start\nn,s,a.edf,2024-01-31\n", "column video_start"),
        ("night_id,subject_id,psg,video_start\nn,s,a.edf,2024-01-31T22:15Z\n", "time zone"),
        ("night_id,subject_id,psg,sync_drift_ppm\nn,s,a.edf,1e9\n", "column sync_drift_ppm"),
        ('night_id,subject_id,psg\nn,s,"a.edf\nm,s,a.edf\n', "line 2: a quote that is not closed"),
        ('night_id,subject_id,psg\n"n"x,s,a.edf\n', "line 2: a quote"),
        (f"night_id,subject_id,psg\nn,s,{'x' * 140_000}\n", "line 2: a cell of more than 128 kB"),
        (f"night_id,subject_id,psg\nn,s,{'x' * 300}.edf\n", "psg .night n.: .*name too long"),
        (f"night_id,subject_id,psg\nn,s,{'x/' * 4000}.edf\n", "psg .night n.: .*name too long"),
        ("night_id,subject_id,psg\nn,s,a\0.edf\n", "zero bytes"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folder, text, message):
    with pytest.raises(UserError, match=message) as raised:
        read_manifest(manifest(folder, text))
    assert "\n" not in str(raised.value)


def test_a_missing_manifest_and_one_that_is_no_text(folder):
    with pytest.raises(UserError, match="no such file"):
        read_manifest(folder / "none.csv")
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00night")
    with pytest.raises(UserError, match="line 1: not text in UTF-8"):
        read_manifest(folder / "binary.csv")


def test_all_problems_are_found_and_the_good_rows_kept(folder):
    rows = "night_id,subject_id,psg,ahi\nn1,s,a.edf,3\nn2,s,gone.edf,x\nn3,s,a.edf,4\n"
    good, problems = parse_manifest(manifest(folder, rows))
    assert [night.night_id for night in good] == ["n1", "n3"]
    assert len(problems) == 2
    with pytest.raises(UserError, match="and 1 more"):
        read_manifest(folder / "wrong.csv")


@pytest.mark.parametrize(
    ("cell", "files", "message"),
    [
        ("b", ["b/1.mp4", "b/2.MKV"], None),
        ("b/*.mp4", ["b/1.mp4"], None),
        ("b/2.MKV | a.mp4", ["b/2.MKV", "a.mp4"], None),
        ("b/1.mp4|c.mp4", [], "column video, file 2 .*: no such file"),
        ("b/*.avi", [], "column video .*: a pattern that no file fits"),
        ("empty", [], "column video .*: a folder without videos"),
    ],
)
def test_a_video_of_many_files(folder, cell, files, message):
    for name in ("b/1.mp4", "b/2.MKV", "b/.3.mp4", "b/notes.txt", "empty/notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"x")
    path = folder / "many.csv"
    path.write_text(f"night_id,subject_id,psg,video\nn1,s1,a.edf,{cell}\n")
    if message:
        with pytest.raises(UserError, match=message):
            read_manifest(path)
        return
    [night] = read_manifest(path)
    assert night.video_files == tuple(folder / name for name in files)
    write_manifest(path, [night])
    assert [each.resolve() for each in read_manifest(path)[0].video_files] == [
        (folder / name).resolve() for name in files
    ]


def test_one_start_for_many_videos_or_one_for_each(folder):
    path = folder / "starts.csv"
    head = "night_id,subject_id,psg,video,video_start\nn1,s1,a.edf,a.mp4|a.mp4,"
    path.write_text(head + "2024-01-31T22:00:00|2024-01-31T23:00:00\n")
    [night] = read_manifest(path)
    assert night.video_starts == (datetime(2024, 1, 31, 22), datetime(2024, 1, 31, 23))
    write_manifest(path, [night])
    assert read_manifest(path)[0].video_start == night.video_start
    path.write_text(head + "|".join(["2024-01-31T22:00:00"] * 3) + "\n")
    with pytest.raises(UserError, match="column video_start: 3 starts for 2 videos"):
        read_manifest(path)


def test_a_missing_video_is_not_named(folder):
    text = "night_id,subject_id,psg,video\nn,s,a.edf,MUSTERMANN_31-JAN-2024_Video.mp4\n"
    with pytest.raises(UserError) as raised:
        read_manifest(manifest(folder, text))
    assert "MUSTERMANN" not in str(raised.value)


@pytest.mark.parametrize("column", [*COLUMNS, None])
def test_no_cell_is_shown_unless_asked_for(folder, column):
    """A name and a birth date stand in every cell in turn, and in the header."""
    secret = "Erika Mustermann 7.5.1961"
    good = {"night_id": "n", "subject_id": "s", "psg": "a.edf"}
    cells = good | ({column: secret} if column else {})
    header = [*cells] if column else [*good, secret]
    rows = [header, list(cells.values()) + ([] if column else ["1"])]
    path = manifest(folder, "\n".join(",".join(row) for row in rows))
    try:
        read_manifest(path)
    except UserError as error:
        for part in secret.split():
            assert part not in str(error)
        with values_shown(), pytest.raises(UserError) as raised:
            read_manifest(path)
        assert (secret in str(raised.value)) == (column not in ("video", "psg", "hypnogram"))


def test_spreadsheets_put_a_mark_before_the_header_and_spaces_into_cells(folder):
    for text in (
        "night_id, subject_id,psg \n n1 ,s,a.edf\n\n",
        "night_id,subject_id,psg,,\nn1,s,a.edf,,\n,,,,\n",
    ):
        (night,) = read_manifest(manifest(folder, text, encoding="utf-8-sig"))
        assert night == Night("n1", "s", None, folder / "a.edf")
    with pytest.raises(UserError, match="line 2: 4 cells, expected 3"):
        read_manifest(manifest(folder, "night_id,subject_id,psg,,\nn1,s,a.edf,,x\n"))


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_folders_of_any_name(tmp_path, form):
    study = tmp_path / "study [2024] *"
    (study / unicodedata.normalize("NFC", "Schläfer")).mkdir(parents=True)
    for name in ("psg.edf", "cam_1.mp4", "cam_2.mp4"):
        (study / unicodedata.normalize("NFC", "Schläfer") / name).touch()
    folder = unicodedata.normalize(form, "Schläfer")
    path = study / "nights.csv"
    path.write_text(f"night_id,subject_id,psg,video\nn1,s,{folder}/psg.edf,Schl*/cam_*.mp4\n")
    (night,) = read_manifest(path)
    assert len(night.video_files) == 2 and night.psg_files[0].is_file()
    path.write_text(f"night_id,subject_id,psg\nn1,s,{folder}/gone.edf\n")
    with pytest.raises(UserError, match="no such file"):
        read_manifest(path)


def test_a_link_keeps_its_name(tmp_path):
    store = tmp_path / "store" / "x7"
    store.parent.mkdir()
    store.touch()
    link = tmp_path / "cam_20240131_221503.mp4"
    link.symlink_to(store)
    write_manifest(tmp_path / "nights.csv", [Night("n1", "s", link, store)])
    (night,) = read_manifest(tmp_path / "nights.csv")
    assert night.video == link and night.psg == store


def test_every_field_of_a_night_is_a_column():
    assert set(COLUMNS) == set(Night.__dataclass_fields__)
    assert math.isclose(Night("n", "s", None, Path("a")).sync_offset_s, 0)
