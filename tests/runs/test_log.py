"""The metrics log: plain JSON lines, cut back on resume, and a loss gone wrong is named."""

import json

import jax.numpy as jnp
import pytest

from input_pipeline.errors import UserError
from sacd_jax.runs import log
from sacd_jax.runs.log import MetricsLog, Stopwatch, Window


def test_lines_come_back_and_are_cut_on_resume(tmp_path):
    first = MetricsLog(tmp_path)
    for step in (10, 20, 30):
        first.write("train", step, {"loss": 1.0 / step})
    first.write("validation", 30, {"accuracy": 0.4, "recall_N1": float("nan")})
    first.close()
    assert log.read(tmp_path)[-1] == {
        "step": 30,
        "split": "validation",
        "accuracy": 0.4,
        "recall_N1": None,
    }
    again = MetricsLog(tmp_path, resume_step=20)
    assert [line["step"] for line in again.lines] == [10, 20]
    assert again.best("validation", "accuracy") == float("-inf")
    again.write("validation", 25, {"accuracy": 0.5})
    again.close()
    assert [line["step"] for line in log.read(tmp_path)] == [10, 20, 25]


def test_a_half_written_last_line_is_passed_over(tmp_path):
    (tmp_path / log.FILE_NAME).write_text(
        json.dumps({"step": 1, "split": "train"}) + '\n{"step": 2, "sp'
    )
    assert [line["step"] for line in log.read(tmp_path)] == [1]


def test_window_reads_one_step_late_and_averages():
    window = Window("sacd")
    window.add(1, {"loss": jnp.float32(1.0), "jsd": jnp.float32(0.5)})
    assert window.note == ""
    window.add(2, {"loss": jnp.float32(3.0), "jsd": jnp.float32(0.1)})
    assert window.note == "loss 1.000"
    assert window.mean() == pytest.approx({"loss": 2.0, "jsd": 0.3})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_window_names_step_and_term_of_a_loss_gone_wrong(value):
    window = Window("sacd")
    window.add(
        7,
        {"loss": jnp.float32(value), "cross_entropy": jnp.float32(1), "graph": jnp.float32(value)},
    )
    with pytest.raises(UserError, match=f"sacd: graph is {value} at step 7, expected a finite"):
        window.check()


def test_stopwatch_leaves_pauses_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    watch = Stopwatch()

    def spend(seconds: float) -> None:
        now[0] += seconds

    with watch.compiling():
        spend(30)
    with watch.waiting():
        spend(1)
    spend(3)
    with watch.pause():
        spend(100)
    watch.clips(40)
    assert watch.lap() == pytest.approx(
        {"clips_per_second": 10.0, "data_wait": 0.25, "compile_seconds": 30.0}
    )
    spend(2)
    watch.clips(10)
    assert watch.lap()["clips_per_second"] == pytest.approx(5.0)
