"""What the loop measures: speed without pauses, means one step late, a loss gone wrong."""

import jax.numpy as jnp
import pytest

from input_pipeline.errors import UserError
from sacd_jax.training import meters
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


def test_stopwatch_leaves_pauses_out(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(meters.time, "monotonic", lambda: now[0])
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
