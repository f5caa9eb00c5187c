"""The one place that starts processes of our own."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from typing import Any

from input_pipeline.errors import UserError

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
    The first error ends the pool at once (what its workers were writing stays unfinished) and is
    raised; so does closing the generator. With one job it runs in this process.
    """
    jobs = min(jobs or cores(), max(len(items), 1))
    if jobs == 1:
        for position, item in enumerate(items):
            yield position, function(item)
        return
    before = {key: os.environ.get(key) for key in SINGLE_THREADED}
    os.environ.update(SINGLE_THREADED)  # spawned workers read it when they import NumPy
    try:
        with ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=end_with_parent
        ) as pool:
            try:
                with _interrupts_kept():
                    futures = {pool.submit(function, item): at for at, item in enumerate(items)}
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool as error:
                time.sleep(0.5)  # for a signal that was sent to this process, too
                raise UserError(
                    "a worker process was killed (often for want of memory: fewer --jobs need "
                    "less); run the same command again to go on"
                ) from error
            except BaseException:
                # Nobody waits for the rest: a night may take minutes.
                for process in list(pool._processes.values()):
                    process.terminate()
                pool.shutdown(cancel_futures=True)
                raise
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value


@contextlib.contextmanager
def _interrupts_kept() -> Iterator[None]:
    """Ctrl-C waits for the end of the block; processes that begin in it never hear of it.

    A terminal sends it to all, and each worker would print where it stood; the parent ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """Lets a worker end when its parent is killed; on its own it would wait for work for ever."""
    parent = parent_process()

    def wait() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def start_module(
    module: str, arguments: Sequence[str], environment: dict[str, str] | None = None, **options: Any
) -> subprocess.Popen:
    """Starts `python -m module arguments…` with this interpreter and an extended environment."""
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.Popen(command, env={**os.environ, **(environment or {})}, **options)


def start_script(interpreter: str, script: os.PathLike[str], **options: Any) -> subprocess.Popen:
    """Starts a file with another interpreter, isolated: it has its own packages, none of ours."""
    return subprocess.Popen([interpreter, "-I", os.fspath(script)], **options)
