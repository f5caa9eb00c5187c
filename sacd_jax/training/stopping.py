"""How a training is asked to stop: at the end of a step, with its state saved."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from input_pipeline.command_errors import Terminated


@dataclass
class Stop:
    """Whether the run was asked to stop after the current step, and by what."""

    by: type[KeyboardInterrupt] | None = None

    @property
    def requested(self) -> bool:
        return self.by is not None


@contextlib.contextmanager
def stop_request() -> Iterator[Stop]:
    """Turns the first Ctrl-C or SIGTERM into a request; the second one interrupts at once."""
    stop = Stop()

    def ask(signum: int, frame: object) -> None:
        by = Terminated if signum == signal.SIGTERM else KeyboardInterrupt
        if stop.requested:
            raise by
        stop.by = by
        print("stopping after this step, saving the state …", file=sys.stderr, flush=True)

    previous = {}
    with contextlib.suppress(ValueError):  # only the main thread may listen to signals
        previous = {
            number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)
        }
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
