"""A PyTorch network's training step in a process of another interpreter, step by step on demand."""

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any

from input_pipeline.errors import UserError
from input_pipeline.processes import start_script
from sacd_jax.benchmarks.timing import Measured

SCRIPT = Path(__file__).with_name("torch_step.py")
"""Run by the other interpreter alone; nothing here imports it, or PyTorch."""


class TorchChild:
    """Starts the process, which builds the network; `run` has it do one step.

    Lines of JSON go both ways. The process ends when this end closes the line, so also when this
    process dies.
    """

    def __init__(self, interpreter: str, *, model: str, **settings: Any):
        """
        Args:
            interpreter: a Python with PyTorch.
            model: the network's name here.
            settings: see `torch_step.main`.

        Raises:
            UserError: no such interpreter, no PyTorch there, or no equal of the network.
        """
        self.group = model
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        try:
            self._process = start_script(
                interpreter,
                SCRIPT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            self._errors.close()
            raise UserError(f"--torch-python {interpreter}: {error.strerror}") from error
        try:
            answer = self._ask({"model": model, **settings})
        except BaseException:
            self.close()
            raise
        self.version: str = answer["version"]
        self.parameters: int = answer["parameters"]
        self.name = f"{model}, PyTorch" + (" compiled" if settings.get("compiled") else "")

    def run(self) -> Measured:
        """One step."""
        return Measured(**self._ask("step"))

    def _ask(self, question: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            print(json.dumps(question), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            self._process.wait()
            self._errors.seek(0)
            last = (self._errors.read().strip().splitlines() or ["it ended"])[-1]
            raise UserError(f"PyTorch, {self.group}: {last}") from None

    def close(self) -> None:
        """Lets the process end."""
        for stream in (self._process.stdin, self._process.stdout):
            # What a process that is gone has not read is lost.
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def __enter__(self) -> "TorchChild":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
