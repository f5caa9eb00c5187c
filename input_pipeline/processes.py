"""The one place that starts processes of our own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any

SINGLE_THREADED = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
"""Environment of workers that share the cores: one thread each."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def parallel_map(
    function: Callable[[Any], Any], items: Sequence[Any], jobs: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Calls `function` on every item in `jobs` processes; yields (position, result) as they end.

    Fresh interpreters are spawned, so `function` must be importable and must not need JAX.
    The first error ends the pool and is raised. With one job it runs in this process.
    """
    jobs = min(jobs or cores(), max(len(items), 1))
    if jobs == 1:
        for position, item in enumerate(items):
            yield position, function(item)
        return
    before = {key: os.environ.get(key) for key in SINGLE_THREADED}
    os.environ.update(SINGLE_THREADED)  # spawned workers read it when they import NumPy
    try:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            futures = {pool.submit(function, item): position for position, item in enumerate(items)}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


def start_module(
    module: str, arguments: Sequence[str], environment: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """Starts `python -m module arguments…` with this interpreter and an extended environment."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env={**os.environ, **(environment or {})}, **options)
