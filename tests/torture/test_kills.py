"""The torture of trainings notices what it should; some kills and full disks are survived."""

import json

import numpy as np
import pytest

from input_pipeline.files import write_json
from sacd_jax.report import html
from tests.torture.__main__ import main
from tests.torture.compare import differences
from tests.torture.full_disk import THERE, fill, small_disk
from tests.torture.memory import at
from tests.torture.started import phase_of


def _experiment(folder, value=1.0, index=3, speed=5.0, data="bytes", steps=(4, 8)):
    run = folder / "student"
    for step in steps:
        (run / "checkpoints" / str(step)).mkdir(parents=True)
        (run / "checkpoints" / str(step) / "dated").write_text(str(speed))
    arrays = {"index": np.array([index]), "logits": np.array([value]), "weights": str(value)}
    np.savez(run / "predictions_test.npz", **arrays)
    line = {"step": 1, "split": "train", "loss": value, "clips_per_second": speed}
    (run / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    (run / "goodput.json").write_text(str(speed))
    write_json(folder / "results.json", {"rows": 1, "time": {"student": {"train": speed}}})
    page = html.definitions([("rows", "1"), ("time of student", f"{speed} min"), ("clips", "3")])
    (folder / "report.html").write_text(page)
    (folder / "data").mkdir()
    (folder / "data" / "train.npy").write_text(data)
    return folder


@pytest.mark.parametrize(
    ("other", "exactly", "nearly"),
    [
        ({"speed": 6.0}, 0, 0),
        ({"value": 1.0 + 1e-6}, 2, 0),
        ({"value": 1.1}, 2, 2),
        ({"index": 4}, 1, 1),
        ({"data": "other"}, 1, 1),
        ({"steps": (7, 8)}, 0, 0),  # of an orderly stop
        ({"steps": (4, 9)}, 2, 2),
        ({"steps": (2, 4, 8)}, 2, 2),
    ],
)
def test_another_end_is_noticed(tmp_path, other, exactly, nearly):
    one = _experiment(tmp_path / "one")
    two = _experiment(tmp_path / "two", **other)
    assert len(differences(one, two)) == exactly
    assert len(differences(one, two, exact=False)) == nearly


def test_another_report_is_noticed(tmp_path):
    one, two = _experiment(tmp_path / "one"), _experiment(tmp_path / "two")
    for file in (two / "results.json", two / "report.html"):
        file.write_text(file.read_text().replace("1", "2"))
    assert differences(one, two) == ["report.html differs", "results.json differs"]


@pytest.mark.parametrize("name", ["data/.unfinished-0a-x", ".unfinished-0a-report.html"])
def test_what_a_killed_process_left_is_noticed(tmp_path, name):
    one, two = _experiment(tmp_path / "one"), _experiment(tmp_path / "two")
    (two / name).write_text("")
    assert differences(one, two) == [f"{name} is too much"]


@pytest.mark.parametrize(
    ("path", "phase"),
    [
        ("data/nights-0a/sim0001/psg.edf", "simulate"),
        ("data/.decoded/sim0001-0a/eeg.npy", "import nights"),
        ("data/.unfinished-0a-simulated-0b/train.csv", "build"),
        ("teacher/teacher_cache/train/cache.json", "teacher: outputs"),
        ("student/checkpoints/8", "student: save"),
        ("student/metrics.jsonl", "student: train"),
        (".unfinished-0a-report.html", "report"),
    ],
)
def test_the_phase_is_told_by_the_file(path, phase):
    assert phase_of(path) == phase


def test_memory_is_looked_at_when_the_step_is_done():
    assert at({10: 5, 250: 7, 400: 9}, 200) == 7


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_disk_that_is_always_too_small(tmp_path):
    try:
        with small_disk(tmp_path / "tried", 2**20):
            pass
    except PermissionError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    found = fill(tmp_path, there=THERE[1:])  # decoding and building have tests of their own
    assert found.failures == []
    assert {"teacher: save", "teacher: outputs", "student: save"} <= set(found.phases)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_six_kills(tmp_path, capsys):
    arguments = ["--kills", "6", "--folder", str(tmp_path), "--jobs", "1"]
    assert main(arguments) == 0, capsys.readouterr().out
    assert main(arguments) == 0 and "6 kills" in capsys.readouterr().out  # all in the log
