"""Lines without a table: where one ends, what each dialect may lack, and what it may not."""

import time

import pytest

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.readers.hypnogram import read_hypnogram
from input_pipeline.readers.hypnogram.lines import split_lines


def test_lines_end_as_any_system_ends_them():
    assert split_lines("W\nN1\r\nN2\r\r\n\rN3\r R \n") == ["W", "N1", "N2", "", "N3", "R", ""]


def test_a_megabyte_of_carriage_returns_takes_no_time():
    begun = time.process_time()
    assert len(split_lines("\r" * 1_000_000)) == 1_000_001
    assert time.process_time() - begun < 5


@pytest.mark.parametrize(
    ("text", "stages"),
    [
        ("Sleep stage W\n", [0]),
        ("Sleep stage 1\nSleep stage 1\nSleep stage 2\n", [1, 1, 2]),
        ("Stage_1;Stage_2;Stage_2\n", [1, 2, 2]),
        ("W N1 ? N2  R\n", [0, 1, -1, 2, 4]),
        ("\n\nW;N1;;N2;;\n", [0, 1, -1, 2]),
        ("W\nN1\n", [0, 1]),
        ("W\n\nN1\n\nN2\n", [0, -1, 1, -1, 2]),
        ("W\nN1\n\nN2\n\nR\n", [0, 1, -1, 2, -1, 4]),
    ],
)
def test_stages_of_lines(read, text, stages):
    assert read(text).stage.tolist() == stages


def elan(base="30", number="4", values="0\n1\n2\n5\n"):
    return f"time_base {base}\nsampling_period 0.01\nepoch_nb {number}\nepoch_list\n{values}"


def test_elan_may_round_the_number_of_its_values_by_one(read):
    for number in "345":
        assert read(elan(number=number)).stage.tolist() == [0, 1, 2, 4]
    assert read(elan(values="0\n1\n2\n4\n"), hypnogram_scheme="aasm").stage.tolist() == [0, 1, 2, 4]


# Each stage and the second at which it ends, as Visbrain writes it without its header.
ENDS = "W\t900\nN1 930\nN2;{}\n"


@pytest.mark.parametrize("end", [1770, 1830])
def test_stages_and_their_ends_up_to_that_of_the_psg(read, end):
    assert read(ENDS.format(end)).stage.tolist() == [0] * 30 + [1] + [2] * (end // 30 - 31)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (elan(number="2"), "4 values, and epoch_nb says 2"),
        (elan(number="6"), "4 values, and epoch_nb says 6"),
        (elan(values="0\n\n1\n2\n5\n"), "4 values, and epoch_nb says 4"),
        (elan(number="0", values=""), "holds no stage"),
        (elan(base="x"), "time_base or epoch_nb is not a number"),
        (elan(number="x"), "time_base or epoch_nb is not a number"),
        ("time_base 30\nepoch_nb 1\n0\n", "time_base but no epoch_list"),
        (",,,\n", "holds no stage"),
        ("\nStage 1\nW\nN1\n", "line 2: .* name of the column or the first epoch's stage"),
        ("[HypnogramAASM]\nW\nX9\n", "line 3: .* is no stage"),
        ("W,N1,X9\n", "line 1, value 3: .* is no stage"),
        (ENDS.format(1831), "line 1: .* is no stage"),
        (ENDS.format(1769), "line 1: .* is no stage"),
        ("*x\nW\t60\nN1\t60\n", "line 3: the stage ends before it begins"),
        ("*x\nW\t60\nN1\t30\n", "line 3: the stage ends before it begins"),
        ("*x\nW\t60\nN1\n", "line 3: not a stage and the second of its end"),
    ],
)
def test_lines_that_are_refused(read, text, message):
    with pytest.raises(UserError, match=message):
        read(text)


def test_ends_of_stages_need_a_psg(tmp_path):
    path = tmp_path / "stages.txt"
    path.write_text(ENDS.format(1800))
    with pytest.raises(UserError, match="line 1: .* is no stage"):
        read_hypnogram(Night("n", "s", None, path, path))
