"""One mesh axis, `data`: batches are sharded over it, everything else is replicated."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax._src import distributed
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from input_pipeline.errors import UserError
from sacd_jax import peers

AXIS = "data"
_JAX_TIMEOUT_SECONDS = 2 * int(peers.TIMEOUT_SECONDS)
"""JAX's own; its words are a C++ stack, so `peers` is to notice first."""


def several_processes() -> bool:
    """Whether the launcher's environment describes several processes that train together."""
    slurm_step = "SLURM_STEP_NODELIST" in os.environ  # not in a batch script or an array job
    return (
        "JAX_COORDINATOR_ADDRESS" in os.environ
        or (slurm_step and int(os.environ.get("SLURM_NTASKS", "1")) > 1)
        or "," in os.environ.get("TPU_WORKER_HOSTNAMES", "")
    )


def initialize() -> None:
    """Joins the other processes that the launcher's environment describes; sets the compile cache.

    Slurm and Cloud TPU are known to JAX. Elsewhere `JAX_COORDINATOR_ADDRESS` (host:port, where
    process 0 listens), `JAX_NUM_PROCESSES` and `JAX_PROCESS_ID` say who belongs together.

    Raises:
        UserError: one of them is missing or is no number.
    """
    if several_processes() and not jax.distributed.is_initialized():
        peers.join()
        try:
            jax.distributed.initialize(
                num_processes=_number("JAX_NUM_PROCESSES"),
                process_id=_number("JAX_PROCESS_ID"),
                heartbeat_timeout_seconds=_JAX_TIMEOUT_SECONDS,
                shutdown_timeout_seconds=_JAX_TIMEOUT_SECONDS,
            )
        except ValueError as error:
            raise UserError(
                f"JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROCESS_ID: {error}"
            ) from error
        joined = distributed.global_state  # no public way leads to its store; Orbax goes this one
        peers.watch(
            joined.client, joined.process_id, joined.num_processes, joined.coordinator_address
        )
        # JAX takes SIGTERM for itself, as a notice that Orbax may look at; it is ours to handle.
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
    # Of several processes on CPUs, only process 0 finds what was compiled once: keys differ. It
    # would be ahead of the others by a compilation, and Gloo gives them half a minute.
    if jax.distributed.is_initialized() and jax.default_backend() == "cpu":
        jax.config.update("jax_enable_compilation_cache", False)
    # Every later run finds what was compiled once, small programs included.
    if not jax.config.jax_compilation_cache_dir:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "sacd_jax" / "compiled"))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _number(name: str) -> int | None:
    """An environment variable; None leaves the number for JAX to find out."""
    text = os.environ.get(name)
    if text is not None and not text.isdecimal():
        raise UserError(f"{name} is {text!r}, expected a number")
    return None if text is None else int(text)


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh of all devices. Auto axes: Explicit ones refuse gathers of sharded rows."""
    devices = devices or jax.devices()
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def platform(mesh: Mesh) -> str:
    """What the devices are: `cpu`, `gpu` or `tpu`."""
    return mesh.devices.flat[0].platform


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
    """Rows distributed over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def to_device(mesh: Mesh) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
    """Returns a function from this process's rows of a batch to the global batch on the mesh."""
    sharding = sharded(mesh)

    def put(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}

    return put


def jit_step(step: Callable[..., tuple[Any, Any]], mesh: Mesh, state: Any) -> jax.stages.Wrapped:
    """Compiles a step for a mesh; the state is donated and keeps its layout.

    Args:
        step: (state, ...) -> (next state, result). It finds the mesh by
            `jax.sharding.get_abstract_mesh` and may say itself what devices exchange.
        mesh: whose devices it runs on.
        state: arrays, or their shapes, with their shardings.
    """

    def on_mesh(*args: Any) -> tuple[Any, Any]:
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            return step(*args)

    layout = jax.tree.map(lambda leaf: leaf.sharding, state)
    return jax.jit(on_mesh, donate_argnums=0, out_shardings=(layout, None))


def check_batch_size(
    batch_size: int, mesh: Mesh, clips_together: int = 1, name: str = "batch_size"
) -> None:
    """Refuses a batch of which a device's share is not whole groups.

    Raises:
        UserError: names the sizes that would do.
    """
    share = mesh.size * clips_together
    if batch_size % share:
        groups = f" with groups of {clips_together} clips" if clips_together > 1 else ""
        raise UserError(
            f"{name} {batch_size} cannot be dealt out to {mesh.size} devices{groups}: "
            f"expected a multiple of {share}"
        )


def wait_for_all(name: str) -> None:
    """Returns once every process has reached this point; `name` tells such points apart."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def place(tree: Any, mesh: Mesh, by_rows: tuple[str, ...] = ()) -> Any:
    """Copies a tree of host arrays to the mesh: replicated, or distributed by rows.

    Args:
        tree: arrays.
        mesh: the devices.
        by_rows: paths of arrays or subtrees, such as `buffers/student_bank`, whose rows are
            distributed; their number must be a multiple of the devices.
    """

    def put(path: jax.tree_util.KeyPath, leaf: Any) -> jax.Array:
        return jax.device_put(leaf, sharding_of(path, mesh, by_rows))

    return jax.tree_util.tree_map_with_path(put, tree)


def sharding_of(path: jax.tree_util.KeyPath, mesh: Mesh, by_rows: tuple[str, ...]) -> NamedSharding:
    """Where an array of a tree lies, by its path; see `place`."""
    name = jax.tree_util.keystr(path, simple=True, separator="/")
    distributed = any(f"{name}/".startswith(f"{part}/") for part in by_rows)
    return sharded(mesh) if distributed else replicated(mesh)


class AnyProcess:
    """A question that processes answer step by step; all of them get the same answer."""

    def __init__(self, mesh: Mesh):
        self._put = to_device(mesh)
        self._any = jax.jit(jnp.any, out_shardings=replicated(mesh))
        self._earlier: jax.Array | None = None

    def says(self, mine: bool) -> bool:
        """True if any process passed True in the previous call; one call late, so it never blocks.

        All processes must call it equally often. A single process gets its own answer at once.
        """
        if jax.process_count() == 1:
            return mine
        flags = np.full(jax.local_device_count(), mine)
        earlier, self._earlier = self._earlier, self._any(self._put({"flags": flags})["flags"])
        return earlier is not None and bool(earlier)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree of host arrays to every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))
