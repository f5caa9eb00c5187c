"""Ends a training that hangs: says where every thread stands, and asks for another start.

Whatever goes on for long (steps, evaluation, stored outputs) calls `alive` now and then.
"""

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from input_pipeline.command_errors import give_up

STUCK_SECONDS = 1800.0
"""Longer than any step takes to compile."""

_last = [0.0]


def alive() -> None:
    """Something was done."""
    _last[0] = time.monotonic()


@contextlib.contextmanager
def watchdog(
    goes_on: Callable[[], str],
    seconds: float = STUCK_SECONDS,
    end: Callable[[str], Any] = give_up,
) -> Iterator[None]:
    """Ends the process when nothing was done for so long while the block runs.

    Args:
        goes_on: what is to be done then.
        seconds: without `alive`.
        end: is told a message, after the stacks of all threads were printed.
    """
    over = threading.Event()

    def watch() -> None:
        pause = min(seconds / 4, 10.0)
        before = time.monotonic()
        while not over.wait(pause):
            now = time.monotonic()
            if now - before > 2 * pause:  # the whole process was stopped
                _last[0] += now - before - pause
            before = now
            # Should no Python run any more, this prints the stacks and ends it with 1.
            faulthandler.dump_traceback_later(2 * seconds, exit=True, file=sys.__stderr__ or 2)
            if now - _last[0] > seconds:
                faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
                end(f"nothing was done for {now - _last[0]:.0f} s (stacks above); {goes_on()}")
                return

    alive()
    thread = threading.Thread(target=watch, name="watchdog", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        faulthandler.cancel_dump_traceback_later()
