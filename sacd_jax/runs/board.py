"""Numbers for TensorBoard, written at once: a writer of its own thread hides what goes wrong."""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar


class Board:
    """The events of one start of a run."""

    def __init__(self, folder: Path, resume_step: int):
        """
        Args:
            folder: for TensorBoard; each start adds a file.
            resume_step: what an earlier start wrote of later steps is done again, and not shown.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._events = EventsWriter(str(folder / "events"))
        if resume_step:
            session = SessionLog(status=SessionLog.START)
            self._write(Event(step=resume_step + 1, session_log=session))

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._events.write_event(event)

    def write(self, step: int, numbers: Mapping[str, float]) -> None:
        """Writes the numbers of a step."""
        for name, value in numbers.items():
            self._write(Event(step=step, summary=scalar(name, value)))
        self._events.flush()

    def close(self) -> None:
        """Closes the file."""
        self._events.close()
