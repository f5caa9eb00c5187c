"""Orbax checkpoints of the whole training state: verified, and never those of another run.

Digests of all arrays are stored with them. What does not come back as it was saved is set aside, as
`checkpoints/damaged/STEP`, and the newest whole checkpoint before it is restored.
"""

import errno
import functools
import logging
import shutil
import sys
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils

from input_pipeline.digests import KEY, json_digest
from input_pipeline.disk import check_room, disk_full, is_full
from input_pipeline.errors import UserError
from sacd_jax import parallel
from sacd_jax.training.array_digests import digests

_DIGESTS = "digests"
_NOT_ALWAYS_NOTED = ("teacher",)  # facts that earlier versions did not write
_LATE_COMPLAINTS = ("Event loop is closed", "Encountered error while", "never awaited")
_DROPPED_READS = ("async_deserialize", "tensorstore_spec")  # of Orbax, of TensorStore below it
_OVERHEAD = 4096  # bytes of index and metadata of one array
_OWN_FILES = 2**20  # of Orbax


def newest_step(folder: Path) -> int:
    """Step of the newest whole checkpoint in a folder, 0 without one; also while it is written
    to."""
    names = (path.name for path in folder.glob("[0-9]*"))
    return max((int(name) for name in names if name.isdecimal()), default=0)


class Checkpoints:
    """The checkpoints of one run: saved asynchronously, restored to the devices at hand.

    The data position is the step itself, so nothing of the input pipeline is stored.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], keep: int = 2):
        """
        Args:
            folder: created if missing.
            facts: JSON values that a resumed run must share, such as the fingerprints of the data
                and of the teacher.
            keep: how many of the newest checkpoints are kept.
        """
        logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax narrates saves and damage
        _expect_late_complaints()
        self._facts, self._folder, self._keep = facts, folder, keep
        self._step, self._needed = 0, 0
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._begun: Future[None] | None = None
        if jax.process_index() == 0 and folder.is_dir():
            self._set_aside_unlisted()
        parallel.wait_for_all("open checkpoints")
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
        )

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: Any, step: int) -> None:
        """Starts writing a checkpoint; raises what went wrong with the previous one.

        The state may be donated as soon as this returns.
        """
        self.wait()
        # Asked first: a write that fails half-way buries its reason under the tracebacks of others.
        leaves = jax.tree.leaves(state)
        self._needed = sum(leaf.nbytes + _OVERHEAD for leaf in leaves) + _OWN_FILES
        self._step = step
        check_room(self._folder / str(step), self._needed)
        if jax.process_count() == 1:
            self._begun = self._thread.submit(self._begin, _on_host(state), step)
            return
        # Orbax's barriers are collectives here: all processes need them between the same steps.
        try:
            self._begin(state, step)
        except Exception as error:
            raise self._named(error) from None

    def _begin(self, state: Any, step: int) -> None:
        facts = {**self._facts, **_shapes(state), _DIGESTS: digests(state)}
        self._manager.save(
            step,
            args=ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                facts=ocp.args.JsonSave({**facts, KEY: json_digest(facts)}),
            ),
        )

    def restore(self, like: Any) -> tuple[Any, int] | None:
        """The newest whole state, laid out like `like` (arrays with shardings), and its step.

        Damaged checkpoints are set aside, each with a line on stderr. None where none is whole.

        Raises:
            UserError: the checkpoint belongs to other data or another form of the state.
        """
        while (step := self._manager.latest_step()) is not None:
            state, damage = self._read(step, like)
            if not _any_process(bool(damage)):
                self._remove_old()
                return state, step
            if jax.process_index() == 0:
                self._set_aside(step, damage or "another process cannot read it")
            parallel.wait_for_all("damaged checkpoint")
            self._manager.reload()
        return None

    def _remove_old(self) -> None:
        """Removes what a kill between the newest save and the removal of the oldest one left."""
        for step in sorted(self._manager.all_steps())[: -self._keep]:
            self._manager.delete(step)

    def _read(self, step: int, like: Any) -> tuple[Any, str]:
        """The state of a step, and what is wrong with it or ""."""
        try:
            return self._verified(step, like)
        except (UserError, PermissionError, MemoryError):
            raise
        except Exception as error:  # Orbax and TensorStore have many for files that are broken
            if "RESOURCE_EXHAUSTED" in str(error):  # the devices' memory
                raise
            return None, f"cannot be read ({type(error).__name__})"

    def _verified(self, step: int, like: Any) -> tuple[Any, str]:
        facts = self._manager.restore(step, args=ocp.args.Composite(facts=ocp.args.JsonRestore()))[
            "facts"
        ]
        noted = facts.pop(KEY, None)
        expected = facts.pop(_DIGESTS, None)
        if noted is None and expected is None:
            print(
                f"checkpoint of step {step}: an earlier version wrote it, without digests; "
                "restored unverified",
                file=sys.stderr,
            )
        elif noted != json_digest({**facts, _DIGESTS: expected}) or expected is None:
            return None, "the digest of its facts differs"
        # Compared before a byte is read: Orbax finds a wrong shape in the midst of other reads.
        for key, value in {**self._facts, **_shapes(like)}.items():
            if key in _NOT_ALWAYS_NOTED and key not in facts:
                continue
            if facts.get(key) != value:
                raise UserError(
                    f"checkpoint of step {step}: {key} is {facts.get(key)}, expected {value}; "
                    "put back what it began with, or use another workdir"
                )
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        state = self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
        )["state"]
        found = digests(state)
        changed = [name for name in found if expected and found[name] != expected[name]]
        return state, f"the digest of state{changed[0]} differs" if changed else ""

    def _set_aside_unlisted(self) -> None:
        """Sets aside what Orbax cannot even list: it would open none of the others either."""
        for found in ocp.path.step.standard_name_format().find_all(self._folder):
            try:
                _ = found.commit_timestamp
            except Exception as error:
                self._set_aside(found.step, f"cannot be read ({type(error).__name__})")

    def _set_aside(self, step: int, damage: str) -> None:
        aside = self._folder / "damaged" / str(step)
        shutil.rmtree(aside, ignore_errors=True)  # of an earlier damage of the same step
        aside.parent.mkdir(exist_ok=True)
        (self._folder / str(step)).rename(aside)
        print(
            f"checkpoint of step {step}: damaged, {damage}; set aside as {aside}",
            file=sys.stderr,
            flush=True,
        )

    def wait(self) -> None:
        """Returns when everything is on disk; raises what went wrong in the background."""
        try:
            self._wait_for_begun()
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise self._named(error) from None

    def close(self) -> None:
        """Waits for what is being written and frees the writer's threads; raises as `wait` does."""
        try:
            try:
                self._wait_for_begun()
            finally:
                self._thread.shutdown()
                self._manager.close()
        except Exception as error:
            raise self._named(error) from None

    def _wait_for_begun(self) -> None:
        begun, self._begun = self._begun, None
        if begun is not None:
            begun.result()

    def _named(self, error: Exception) -> Exception:
        # Orbax and TensorStore wrap the operating system's word in errors of their own, or lose it.
        code = is_full(error)
        if code is None and isinstance(error, OSError) and error.errno is None:
            code = errno.ENOSPC
        path = self._folder / str(self._step)
        return error if code is None else disk_full(code, path, self._needed)


@functools.cache
def _expect_late_complaints() -> None:
    """Orbax drops what else it reads or writes at an error; each complains on stderr."""
    hook = sys.unraisablehook

    def others(found: Any) -> None:
        if not any(words in str(found.exc_value) for words in _LATE_COMPLAINTS):
            hook(found)

    sys.unraisablehook = others
    warnings.filterwarnings("ignore", "coroutine .* was never awaited")
    logging.getLogger("asyncio").addFilter(_is_not_of_a_dropped_read)


def _is_not_of_a_dropped_read(record: logging.LogRecord) -> bool:
    """Filters what asyncio says, at some later moment, of arrays whose restoring was given up."""
    return not any(words in record.getMessage() for words in _DROPPED_READS)


def _any_process(mine: bool) -> bool:
    """Whether any process says so."""
    if jax.process_count() == 1:
        return mine
    return bool(np.any(multihost_utils.process_allgather(np.array(mine))))


def _on_host(state: Any) -> Any:
    """A copy in the host's memory; NumPy's view of an array on a CPU would be donated with it."""
    for leaf in jax.tree.leaves(state):
        leaf.copy_to_host_async()
    return jax.tree.map(np.array, state)


def _shapes(state: Any) -> dict[str, str]:
    """Path of each array of a state -> its type, such as float32[4,3]."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        f"state{jax.tree_util.keystr(path)}": f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }
