"""PhysioNet's `rdann` text: sample numbers at the rate that the file gives."""

import pytest

from input_pipeline.errors import UserError

HEADER = "      Time   Sample #  Type  Sub Chan  Num\tAux\n"


def rate(hertz) -> str:
    return f"## time resolution: {hertz}\n"


def row(sample: int, word: str, seconds: str = "30") -> str:
    return f'[23:50:03.000]  {sample}     "    0    0    0\t{word} duration: {seconds}\n'


@pytest.mark.parametrize("hertz", [1, 100, 256.5])
def test_stages_by_sample(read, hertz):
    rows = row(0, "Sleep_stage_W", "60.0") + row(int(90 * hertz), "Sleep_stage_2")
    found = read(HEADER + rate(hertz) + row(7, "+").replace(" duration: 30", "") + rows)
    assert found.stage.tolist() == [0, 0, -1, 2]


def test_a_table_with_a_column_of_the_same_name_is_a_table(read):
    assert read("onset,duration,stage,Aux\n0,60,W,x\n").stage.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (HEADER + rate(100) + row(0, "Sleep_stage_9"), "line 3: 'Sleep_stage_9' is no sleep stage"),
        (HEADER + row(0, "Sleep_stage_W") + rate(100), "line 2: no time resolution before"),
        (HEADER + rate(100), "no sleep stages in the text of rdann"),
    ],
)
def test_what_is_refused(read, text, message):
    with pytest.raises(UserError, match=message):
        read(text)
