"""A trace of a few steps of a training, for xprof or TensorBoard's profile page."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax

from input_pipeline.errors import UserError


@dataclass(frozen=True)
class Steps:
    """Which steps of a training are traced: `count` of them from step `first` on."""

    first: int
    count: int

    @classmethod
    def read(cls, text: str) -> "Steps":
        """Of the command line's FIRST:COUNT.

        Raises:
            UserError: it is not that.
        """
        found = re.fullmatch(r"([1-9]\d{0,8}):([1-9]\d{0,3})", text)
        if not found:
            raise UserError("--profile: expected FIRST:COUNT, the first step and how many: 100:5")
        return cls(int(found[1]), int(found[2]))


class Profile:
    """Traces the steps that were asked for; without any, or in another process, does nothing."""

    def __init__(self, steps: Steps | None, folder: Path, name: str):
        """
        Args:
            steps: of the training.
            folder: for the trace; each adds a folder of its own.
            name: of the run.
        """
        self._steps = steps if jax.process_index() == 0 else None
        self._folder, self._name = folder, name
        self._first, self._last = 0, 0

    def before(self, step: int) -> None:
        """A step is about to begin."""
        if self._steps and step == self._steps.first:
            jax.profiler.start_trace(str(self._folder))
            self._first = step

    def after(self, step: int, results: Any) -> None:
        """A step was started; waits for its `results` where it is the last one."""
        if self._steps and self._first:
            self._last = step
            if step - self._first + 1 >= self._steps.count:
                jax.block_until_ready(results)
                self.close()

    def close(self) -> None:
        """Writes the trace, if one was begun, and says where."""
        if not self._first:
            return
        jax.profiler.stop_trace()
        print(
            f"profile {self._name}: steps {self._first} to {self._last} in {self._folder}; "
            f"xprof --logdir {self._folder} shows them",
            file=sys.stderr,
            flush=True,
        )
        self._first = 0
