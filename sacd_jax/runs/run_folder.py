"""The folder of a run: what it holds of the run's origin, and how the run is stopped."""

import contextlib
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from input_pipeline.errors import UserError
from input_pipeline.files import remove_unfinished, write_json
from sacd_jax.config import RunConfig, as_json, build

CONFIG = "config.json"
PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "jraph", "numpy")


def claim(workdir: Path, run: RunConfig, dataset: Path) -> None:
    """Makes the folder of a run, or checks that it belongs to this very run.

    Writes the resolved config, where the data set is (relative to the folder) and the versions of
    what computes.

    Raises:
        UserError: the folder holds a run with another setting; names the first that differs.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    wanted = {"dataset": os.path.relpath(dataset, workdir), "run": as_json(run)}
    path = workdir / CONFIG
    if path.exists():
        found = read_config(workdir)
        # Read as settings, so that a run of an earlier version is the run that it says it is.
        found["run"] = as_json(build(RunConfig, found.get("run"), f"{path}, run"))
        difference = _first_difference(found, wanted)
        if difference:
            key, there, here = difference
            raise UserError(
                f"{workdir} holds a run with {key} = {there!r}, now it is {here!r}; "
                "use another workdir or delete this one"
            )
    if jax.process_index() != 0:
        return
    for folder in (workdir, workdir / "model"):
        remove_unfinished(folder)
    if not path.exists():
        versions = {name: metadata.version(name) for name in PACKAGES}
        device = jax.devices()[0].device_kind
        write_json(
            workdir / "versions.json",
            {"python": platform.python_version(), **versions, "device": device},
        )
        write_json(path, wanted)


def read_config(workdir: Path) -> dict[str, Any]:
    """`{"dataset": …, "run": …}` as `claim` wrote it."""
    path = workdir / CONFIG
    if not path.is_file():
        raise UserError(f"no {CONFIG} in {workdir}: expected the folder of a run")
    try:
        return json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON: {error}") from error


def _first_difference(found: Any, wanted: Any, key: str = "") -> tuple[str, Any, Any] | None:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*found, *wanted}):
            inner = _first_difference(
                found.get(name), wanted.get(name), f"{key}.{name}" if key else name
            )
            if inner:
                return inner
        return None
    return None if found == wanted else (key, found, wanted)


@dataclass
class Stop:
    """Whether somebody asked the run to end at the next step."""

    requested: bool = False


@contextlib.contextmanager
def stop_request() -> Iterator[Stop]:
    """Turns the first Ctrl-C or SIGTERM into a request; the second one interrupts at once."""
    stop = Stop()

    def ask(signum: int, frame: object) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
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
