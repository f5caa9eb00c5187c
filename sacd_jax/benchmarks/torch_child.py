"""What PyTorch does in a process of another interpreter, time and again on demand."""

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

STEP, INPUT = (Path(__file__).with_name(f"torch_{name}.py") for name in ("step", "input"))
"""Scripts that the other interpreter alone runs; nothing here imports them, or PyTorch."""


class TorchChild:
    """Starts a script's process, which gets ready; `run` has it do its work once.

    Lines of JSON go both ways. The process ends when this end closes the line, so also when this
    process dies.
    """

    def __init__(self, interpreter: str, script: Path, name: str, group: str, **settings: Any):
        """
        Args:
            interpreter: a Python with PyTorch.
            script: STEP or INPUT.
            name, group: see `timing.Contestant`.
            settings: see the script.

        Raises:
            UserError: no such interpreter, no PyTorch there, or no equal of the network.
        """
        self.name, self.group = name, group
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - as long as the process
        try:
            self._process = start_script(
                interpreter,
                script,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                text=True,
            )
        except OSError as error:
            self._errors.close()
            raise UserError(f"--torch-python {interpreter}: {error.strerror}") from error
        try:
            self.answer = self._ask(settings)
        except BaseException:
            self.close()
            raise

    def run(self) -> Measured:
        """Once."""
        return Measured(**self._ask("run"))

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
