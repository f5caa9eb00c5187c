"""The account of a run's time: over several starts, some of them killed."""

import json
import time

import pytest

from input_pipeline.errors import UserError
from sacd_jax.runs import goodput
from sacd_jax.runs.goodput import KINDS, Start, TimeSheet, spent


def start(began: float, first: int, last: int, **seconds: float) -> Start:
    return Start(began, first, last, dict.fromkeys(KINDS, 0.0) | seconds)


def test_steps_that_a_later_start_did_again_are_lost():
    starts = [
        start(0, 0, 100, train=50, start=10, compile=5),  # killed; its last checkpoint is of 80
        start(100, 80, 90, train=10, start=3),  # killed before it saved
        start(113, 80, 200, train=60, start=3, save=2),
    ]
    found = spent(starts)
    assert found.starts == 3 and found.away == 35
    assert {kind: value for kind, value in found.seconds.items() if value} == {
        "train": 40 + 0 + 60,
        "lost": 10 + 10,
        "compile": 5,
        "save": 2,
        "start": 10,
        "restart": 6,
    }
    assert found.total == 143 and found.share("train") == pytest.approx(100 / 143)
    assert found.words() == (
        "2.4 min in 3 starts, 0.6 min between them not counted: training 69.9%, compiling 3.5%, "
        "saving 1.4%, starting 7.0%, starting again 4.2%, steps done again 14.0%"
    )


def test_a_later_start_from_further_back_loses_of_all_before():
    starts = [start(0, 0, 100, train=100), start(100, 100, 150, train=50), start(150, 50, 200)]
    assert spent(starts).seconds["lost"] == 50 + 50
    assert spent(starts[:1]).seconds["lost"] == 0


def test_waiting_in_vain_for_a_step_is_lost_if_another_start_follows():
    hung = Start(0, 0, 10, dict.fromkeys(KINDS, 0.0) | {"train": 70.0}, unfinished=60.0)
    assert spent([hung, start(80, 8, 20)]).seconds["lost"] == 60 + 2
    assert spent([hung]).seconds["lost"] == 0
    at_the_first = Start(0, 0, 0, {"train": 60.0}, unfinished=60.0)
    assert spent([at_the_first, start(80, 0, 20)]).seconds["lost"] == 60


def sheet(workdir, first_step: int, steps: int = 4, writes: bool = True) -> TimeSheet:
    seconds = dict.fromkeys(KINDS, 0.0) | {"train": 8.0, "start": 2.0}
    made = TimeSheet(workdir, lambda: (steps, seconds, 1.0), writes)
    made.begins(first_step)
    return made


def test_a_sheet_is_noted_while_the_block_runs_and_goes_on(tmp_path):
    with sheet(tmp_path, 0).kept(every_seconds=0.01):
        deadline = time.monotonic() + 10
        while not goodput.read(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert goodput.read(tmp_path)[0].last_step == 4  # what a kill here would leave
    later = sheet(tmp_path, 3)
    assert later.spent().seconds["lost"] == 1.0 + 7.0 / 4
    later.note()
    first, second = goodput.read(tmp_path)
    assert (second.first_step, second.last_step) == (3, 7)
    assert first.seconds["train"] == 8.0 and abs(second.began - time.time() + 10) < 5


def test_nothing_is_written_before_a_start_begins_or_by_others(tmp_path):
    with TimeSheet(tmp_path, lambda: (0, {}, 0.0), writes=True).kept():
        pass
    sheet(tmp_path, 0, writes=False).note()
    assert list(tmp_path.iterdir()) == [] and goodput.read(tmp_path) == []


@pytest.mark.parametrize("damage", ["", "{}", "[1]", '{"starts": [{"began": 0}]}'])
def test_a_damaged_sheet_is_said_in_one_line_and_begun_anew(tmp_path, capsys, damage):
    path = tmp_path / "goodput.json"
    path.write_text(damage)
    with pytest.raises(UserError, match="times of a run"):
        goodput.read(tmp_path)
    sheet(tmp_path, 0).note()
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "begun anew" in said
    assert len(goodput.read(tmp_path)) == 1


def test_a_changed_figure_is_noticed(tmp_path):
    sheet(tmp_path, 0).note()
    path = tmp_path / "goodput.json"
    stored = json.loads(path.read_text())
    stored["starts"][0]["seconds"]["train"] = 1e6
    path.write_text(json.dumps(stored))
    with pytest.raises(UserError, match="damaged or was changed"):
        goodput.read(tmp_path)
