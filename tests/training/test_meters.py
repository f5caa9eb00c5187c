"""What the loop measures: speed without pauses, means one step late, a loss gone wrong."""

import jax.numpy as jnp
import pytest

from input_pipeline.errors import UserError
from sacd_jax.training import meters
from sacd_jax.training.compiles import Compiles
from sacd_jax.training.meters import Stopwatch, Window


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


def test_stopwatch_tells_kinds_of_time_apart(monkeypatch):
    now, compiled = [0.0], Compiles()
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(meters.compiles, "counted", lambda: compiled)
    watch = Stopwatch()

    def spend(seconds: float, compiling: float = 0.0) -> None:
        now[0] += seconds
        compiled.seconds += compiling

    spend(5, compiling=2)
    watch.phase("train")
    with watch.spending("compile"):
        spend(30, compiling=20)
    with watch.spending("wait"):
        spend(1)
    spend(3)
    with watch.spending("evaluate"):
        spend(100, compiling=7)
    with watch.spending("save"):
        spend(0.5)
    watch.step()
    watch.step()
    assert watch.lap(20) == pytest.approx(
        {
            "clips_per_second": 10.0,
            "data_wait": 0.25,
            "compile_seconds": 39.0,
            "evaluate_seconds": 93.0,
            "save_seconds": 0.5,
        }
    )
    watch.asks(flops=6, peak=12.0)
    spend(2)
    watch.step()
    lap = watch.lap(10)
    assert (lap["clips_per_second"], lap["mfu"]) == pytest.approx((5.0, 0.25))
    assert watch.now()[2] == 0
    spend(4)
    steps, seconds, unfinished = watch.now()
    assert (steps, unfinished) == (3, 4) and sum(seconds.values()) == pytest.approx(now[0])
    assert seconds == pytest.approx(
        {"train": 9, "compile": 39, "wait": 1, "evaluate": 93, "save": 0.5, "start": 3, "other": 0}
    )
    watch.no_more_steps()
    assert watch.now() == (3, seconds, 0)


def test_a_block_that_fails_gives_its_time_back(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
    watch = Stopwatch("train")
    with pytest.raises(KeyError), watch.spending("save"):
        now[0] += 1
        raise KeyError
    now[0] += 2
    assert watch.seconds()["train"] == 2 and watch.seconds()["save"] == 1
