"""Orbax checkpoints of the whole training state, and a refusal to resume another run's."""

import errno
import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from input_pipeline.errors import UserError

_FULL_DISK = ("no space left", "resource_exhausted", "enospc")


class Checkpoints:
    """The checkpoints of one run: saved asynchronously, restored to the devices at hand.

    The data position is the step itself, so nothing of the input pipeline is stored.
    """

    def __init__(self, folder: Path, facts: dict[str, Any], keep: int = 2):
        """
        Args:
            folder: created if missing.
            facts: JSON values that a resumed run must share, such as the fingerprint of the data.
            keep: how many of the newest checkpoints are kept.
        """
        logging.getLogger("absl").setLevel(logging.ERROR)  # Orbax narrates every save
        self._facts, self._folder = facts, folder
        self._manager = ocp.CheckpointManager(
            folder.absolute(),
            options=ocp.CheckpointManagerOptions(max_to_keep=keep, create=True),
        )

    def latest(self) -> int | None:
        """Step of the newest whole checkpoint, or None."""
        return self._manager.latest_step()

    def save(self, state: Any, step: int) -> None:
        """Starts writing a checkpoint; raises what went wrong with the previous one."""
        # Asked first: a write that fails half-way buries its reason under the tracebacks of others.
        needed = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
        if shutil.disk_usage(self._folder).free < needed:
            raise OSError(errno.ENOSPC, "no space left on the disk", "checkpoint")
        try:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardSave(state),
                    facts=ocp.args.JsonSave({**self._facts, **_shapes(state)}),
                ),
            )
        except Exception as error:
            raise _named(error) from error

    def restore(self, like: Any) -> Any:
        """The newest state, laid out like `like` (arrays or shapes with shardings).

        Raises:
            UserError: the checkpoint belongs to other data or another form of the state.
        """
        step = self._manager.latest_step()
        target = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), like
        )
        facts = self._manager.restore(step, args=ocp.args.Composite(facts=ocp.args.JsonRestore()))[
            "facts"
        ]
        # Compared before a byte is read: Orbax finds a wrong shape in the midst of other reads.
        for key, value in {**self._facts, **_shapes(like)}.items():
            if facts.get(key) != value:
                raise UserError(
                    f"checkpoint of step {step}: {key} is {facts.get(key)}, expected {value}; "
                    "use another workdir"
                )
        return self._manager.restore(
            step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target))
        )["state"]

    def wait(self) -> None:
        """Returns when everything is on disk; raises what went wrong in the background."""
        try:
            self._manager.wait_until_finished()
            self._manager.check_for_errors()
        except Exception as error:
            raise _named(error) from error

    def close(self) -> None:
        """Frees the writer's threads; call `wait` first to learn of errors."""
        self._manager.close()


def _named(error: Exception) -> Exception:
    # Orbax and TensorStore wrap the operating system's word in errors of their own.
    full = isinstance(error, OSError) and error.errno in (None, errno.ENOSPC)
    if full or any(word in str(error).lower() for word in _FULL_DISK):
        return OSError(errno.ENOSPC, "no space left on the disk", "checkpoint")
    return error


def _shapes(state: Any) -> dict[str, str]:
    """Path of each array of a state -> its type, such as float32[4,3]."""
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    return {
        f"state{jax.tree_util.keystr(path)}": f"{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
        for path, leaf in leaves
    }
