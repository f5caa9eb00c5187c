"""Several scorers in one table: refused with the choices, chosen by name, or the majority."""

import pytest

from input_pipeline.errors import UserError

SCORERS = {"human": "W W N1 N2 R", "auto": "W N1 N1 N2 R", "Dr. Mustermann": "W N1 N2 N2 ?"}
LABELS = {
    "human": [0, 0, 1, 2, 4],
    "AUTO": [0, 1, 1, 2, 4],
    "dr mustermann": [0, 1, 2, 2, -1],
    "1": [0, 0, 1, 2, 4],
    "2": [0, 1, 1, 2, 4],
    "scorer 3": [0, 1, 2, 2, -1],
    "consensus": [0, 1, 1, 2, 4],
}


def rows() -> str:
    lines = ["onset,duration,stage,scorer"]
    for scorer, stages in SCORERS.items():
        lines += [f"{30 * k},30,{stage},{scorer}" for k, stage in enumerate(stages.split())]
    return "\n".join(lines)


def columns() -> str:
    stages = zip(*(text.split() for text in SCORERS.values()), strict=True)
    lines = [f"{30 * k}\t30\t" + "\t".join(row) for k, row in enumerate(stages)]
    return "\n".join(["onset\tduration\tstage_hum\tstage_ai\tscorer Mustermann", *lines])


@pytest.mark.parametrize("wanted", LABELS)
def test_a_scorer_is_chosen_by_name_or_position(read, wanted):
    assert read(rows(), scorer=wanted).stage.tolist() == LABELS[wanted]


@pytest.mark.parametrize(
    ("wanted", "labels"), [("stage_hum", "human"), ("stage ai", "2"), ("3", "scorer 3")]
)
def test_a_scorer_is_a_column(read, wanted, labels):
    assert read(columns(), scorer=wanted).stage.tolist() == LABELS[labels]


@pytest.mark.parametrize("wanted", ["", "Erika", "4"])
def test_the_choices_are_named_without_names(read, wanted):
    for text, choices in ((rows(), "human, auto, 3"), (columns(), "stage hum, stage ai, 3")):
        message = f"expected .* one of {choices} .*or consensus"
        with pytest.raises(UserError, match=message) as error:
            read(text, scorer=wanted)
        assert "Muster" not in str(error.value) and "Erika" not in str(error.value)


def test_a_scorer_where_the_file_has_none(read):
    with pytest.raises(UserError, match="tells no scorers apart"):
        read("onset,duration,stage\n0,30,W\n", scorer="human")
    assert read("onset,duration,stage\n0,30,W\n", scorer="consensus").stage.tolist() == [0]


def test_a_tie_is_unknown_and_who_scored_nothing_has_no_vote(read):
    text = "onset,duration,stage,rater\n0,60,W,a\n0,30,N1,b\n30,30,?,b\n"
    assert read(text, scorer="consensus").stage.tolist() == [-1, 0]


def test_seconds_of_disagreement_add_up(read):
    text = "onset,duration,stage\n0,60,W\n20,15,N1\n60,60,N2\n80,{},R\n120,60,W\n"
    with pytest.raises(UserError, match="disagree for 30 s"):
        read(text.format(15))
    assert read(text.format(14)).stage.tolist()[-2:] == [0, 0]


def test_what_nobody_scored_stays_a_hole(read):
    text = "onset,duration,stage\n0,60,W\n605,60,N1\n"
    alone, most = read(text), read(text, scorer="consensus")
    assert most.onset_s.tolist() == alone.onset_s.tolist() and most.onset_s[-1] == 635
    assert most.stage.tolist() == alone.stage.tolist()
