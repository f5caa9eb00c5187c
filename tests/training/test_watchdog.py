"""A training that hangs is ended with the stacks of its threads; one that goes on is not."""

import io
import time

from sacd_jax.training.watchdog import alive, watchdog

HANGS = """
import time
from sacd_jax.training.watchdog import watchdog
def waits_for_nothing():
    time.sleep(600)
with watchdog(lambda: "go on from step 3", seconds=0.5):
    waits_for_nothing()
"""


def test_a_process_that_hangs_says_where_and_asks_for_another_start(run_python):
    ended = run_python(HANGS, check=False)
    assert ended.returncode == 75
    assert "in waits_for_nothing" in ended.stderr
    last = ended.stderr.rstrip().splitlines()[-1]
    assert last.startswith("error: nothing was done for ") and last.endswith("go on from step 3")


def test_work_that_goes_on_is_left_alone():
    said: list[str] = []
    with watchdog(lambda: "", seconds=0.4, end=said.append):
        for _ in range(10):
            time.sleep(0.1)
            alive()
    time.sleep(0.5)
    assert said == []


def test_it_watches_where_stderr_is_no_file(monkeypatch):
    """What goes wrong in its thread fails the test, as a warning."""
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with watchdog(lambda: "", seconds=2.0, end=lambda said: None):
        time.sleep(0.7)  # it looks every 0.5 s
