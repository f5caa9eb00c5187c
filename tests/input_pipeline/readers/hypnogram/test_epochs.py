"""One stage a line means what the file means: other lengths, empty lines, the PSG's length."""

import pytest

from input_pipeline.errors import UserError

# The PSG lasts 1,800 s: 60 clips.


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (90, "90 stages on a PSG of 1800 s would be epochs of 20 s, not 30 s"),
        (1800, "1800 stages .* epochs of 1 s, not 30 s"),
        (30, "30 stages .* epochs of 60 s"),
        (122, "more than twice as long"),
        (200, "more than twice as long"),
    ],
)
def test_lines_that_do_not_fit_the_psg(read, count, message):
    with pytest.raises(UserError, match=f"{message}.*hypnogram_epoch_s"):
        read("W\n" * count)
    assert len(read("W\n" * count, hypnogram_epoch_s=30).stage) == count


@pytest.mark.parametrize("count", [1, 20, 58, 59, 60, 61, 80, 100, 118])
def test_lines_that_may_fit_the_psg(read, count):
    found = read("W\n" * count)
    assert len(found.stage) == count
    # Where scoring began at lights off, all labels would lie too early.
    assert found.notes[:1] == () or f"end {1800 - 30 * count} s before the PSG" in found.notes[0]
    assert len(found.notes) == (count < 59)


def test_lines_of_20_s_and_of_1_s(read):
    assert read("W\nW\nN1\n" * 30, hypnogram_epoch_s=20).stage.tolist() == [0, -1] * 30
    text = "".join(f"{word}\n" * 30 for word in ("W", "N1", "N2")) + "R\n" * 7 + "W\n" * 23
    assert read(text, hypnogram_epoch_s=1).stage.tolist() == [0, 1, 2, -1]


def test_an_empty_line_is_an_unscored_epoch(read):
    assert read("W\n\nN1\n\n\nN2\n\n").stage.tolist() == [0, -1, 1, -1, -1, 2]
    assert read("stage\nW\n\nN1\n\n").stage.tolist() == [0, -1, 1]
    assert read("W,,N1,,,N2,\n").stage.tolist() == [0, -1, 1, -1, -1, 2]
    hypnogram = read("\nW\nN1\n")
    assert hypnogram.stage.tolist() == [-1, 0, 1]
    assert "1 empty lines before the first stage" in hypnogram.notes[0]


def test_a_first_stage_that_may_be_a_header_stands_among_its_kind(read):
    assert read("Sleep stage 1\nSleep stage 2\n?\n").stage.tolist() == [1, 2, -1]


def test_what_ends_a_line(read):
    assert read(b"W\r\r\nN1\r\r\nN2\r\r\n").stage.tolist() == [0, 1, 2]
    assert read(b"W\rN1\rN2").stage.tolist() == [0, 1, 2]
    with pytest.raises(UserError, match="every second line is empty"):
        read("W\n\nN1\n\nN2\n\nN2\n")


def test_numbered_epochs(read):
    for first in (0, 1):
        text = f"Epoch,Stage\n{first},W\n{first + 1},N1\n{first + 4},N2\n"
        found = read(text)
        assert found.stage.tolist() == [0, 1, -1, -1, 2] and found.onset_s[0] == 0
    for text, message in (
        ("Epoch,Stage\n7,W\n8,N1\n", "line 2: the first epoch's number is 7"),
        ("Epoch,Stage\n2,W\n3,N1\n", "line 2: the first epoch's number is 2"),
        ("Epoch,Stage\n1,W\n3,N1\n2,N2\n", "line 4: the epochs' numbers do not increase"),
        ("Epoch,Stage\n1,W\n2,N1\n2,N2\n", "line 4: the epochs' numbers do not increase"),
        ("Epoch,Stage\n1,W\n9999999,N1\n", "expected days at most"),
    ):
        with pytest.raises(UserError, match=message):
            read(text)


def test_a_scorer_who_left_out_the_first_epoch(read):
    rows = [f"{k},a,W\n" for k in range(4)] + [f"{k},b,N1\n" for k in range(1, 4)]
    text = "Epoch,Scorer,Stage\n" + "".join(rows)
    assert read(text, scorer="a").onset_s[0] == 0
    assert read(text, scorer="b").onset_s.tolist() == [30, 60, 90]


def test_the_file_and_the_manifest_say_how_long_epochs_are(read):
    stages = "<SleepStage>2</SleepStage>" * 90
    length = "<EpochLength>20</EpochLength>"
    text = f"<CMPStudyConfig>{length}<SleepStages>{stages}</SleepStages></CMPStudyConfig>"
    assert read(text).stage.tolist() == [2] * 60
    with pytest.raises(UserError, match="20 s as it says itself, and 30 s as the manifest says"):
        read(text, hypnogram_epoch_s=30)
