"""The metrics log: plain JSON lines, cut back on resume; what can be read is never lost."""

import json

import pytest

from sacd_jax.runs import log
from sacd_jax.runs.log import MetricsLog
from sacd_jax.runs.run_folder import RunFolder


def test_lines_come_back_and_are_cut_on_resume(tmp_path):
    first = MetricsLog(tmp_path)
    for step in (10, 20, 30):
        first.write("train", step, {"loss": 1.0 / step})
    first.write("validation", 30, {"accuracy": 0.4, "recall_N1": float("nan")})
    first.close()
    stored = log.read(tmp_path)
    last = {"step": 30, "split": "validation", "accuracy": 0.4, "recall_N1": None}
    assert stored.lines[-1] == last and stored.unreadable == 0
    again = MetricsLog(tmp_path, resume_step=20)
    assert [line["step"] for line in again.lines] == [10, 20]
    assert again.best("validation", "accuracy") == float("-inf")
    again.write("validation", 25, {"accuracy": 0.5})
    again.close()
    assert [line["step"] for line in log.read(tmp_path).lines] == [10, 20, 25]


@pytest.mark.parametrize(
    "damaged",
    [
        '{"step": 2, "sp',
        "",
        "[1]",
        "null",
        '{"split": "train"}',
        '{"step": "2", "split": "train"}',
        '{"step": NaN, "split": "train"}',
        '{"step": 2, "split": 3}',
        '{"step": 2' + "9" * 400 + ', "split": "train"}',
        '{"step": 2, "split": "validation", "accuracy": ' + "9" * 400 + "}",
        '{"step": 2, "split": "validation", "accuracy": 1e999}',
        "[" * 100_000,
        "\x00\ufffd",
    ],
)
def test_a_damaged_line_takes_no_other_with_it(tmp_path, damaged, capsys):
    lines = [
        {"step": 1, "split": "train", "loss": 2.0},
        {"step": 2, "split": "validation", "accuracy": 0.6},
        {"step": 3, "split": "validation", "accuracy": 0.5},
    ]
    first, *others = (json.dumps(line) for line in lines)
    RunFolder(tmp_path).metrics.write_text("\n".join([first, damaged, *others]) + "\n")
    stored = log.read(tmp_path)
    assert stored.lines == lines and stored.unreadable == (1 if damaged else 0)
    resumed = MetricsLog(tmp_path, resume_step=3)
    assert resumed.best("validation", "accuracy") == 0.6
    resumed.close()
    assert log.read(tmp_path) == log.StoredLog(lines, 0)
    assert ("1 line damaged" in capsys.readouterr().err) == bool(damaged)


def test_the_last_word_on_a_step_counts(tmp_path):
    again = [("train", 2, 3.0), ("train", 1, 2.0), ("validation", 1, 5.0), ("train", 2, 1.0)]
    text = "".join(json.dumps({"step": n, "split": s, "loss": v}) + "\n" for s, n, v in again)
    RunFolder(tmp_path).metrics.write_text(text)
    latest = [(line["split"], line["step"], line["loss"]) for line in log.read(tmp_path).latest()]
    assert latest == [("train", 1, 2.0), ("validation", 1, 5.0), ("train", 2, 1.0)]
