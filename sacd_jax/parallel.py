"""One mesh axis `data`: batches are sharded over it, everything else is replicated."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from input_pipeline.errors import UserError

AXIS = "data"
LAUNCHERS = (
    "COORDINATOR_ADDRESS",
    "JAX_COORDINATOR_ADDRESS",
    "SLURM_JOB_ID",
    "TPU_WORKER_HOSTNAMES",
)
"""Environment variables by which a launcher asks for several processes."""


def initialize() -> None:
    """Joins other processes when the launcher's environment asks for it; sets the compile cache."""
    several_tasks = int(os.environ.get("SLURM_NTASKS", "2")) > 1
    hosts = os.environ.get("TPU_WORKER_HOSTNAMES", ",").count(",") > 0
    asked = any(name in os.environ for name in LAUNCHERS) and several_tasks and hosts
    if asked and not jax.distributed.is_initialized():
        jax.distributed.initialize()
    # Programs compiled once are found again by every later run, also the small ones.
    if not jax.config.jax_compilation_cache_dir:
        home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
        jax.config.update("jax_compilation_cache_dir", str(home / "sacd_jax" / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """A mesh of all devices. Auto axes: Explicit ones refuse gathers of sharded rows."""
    devices = devices or jax.devices()
    return jax.make_mesh((len(devices),), (AXIS,), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def sharded(mesh: Mesh) -> NamedSharding:
    """Rows are dealt out over the devices."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def to_device(mesh: Mesh) -> Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]:
    """A function from this process' rows of a batch to the global batch on the mesh."""
    sharding = sharded(mesh)

    def put(batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        return {k: jax.make_array_from_process_local_data(sharding, v) for k, v in batch.items()}

    return put


def check_batch_size(
    batch_size: int, mesh: Mesh, group_size: int = 1, name: str = "batch_size"
) -> None:
    """A device's share of the batch must be whole groups.

    Raises:
        UserError: says which sizes would do.
    """
    share = mesh.size * group_size
    if batch_size % share:
        groups = f" with groups of {group_size} clips" if group_size > 1 else ""
        raise UserError(
            f"{name} {batch_size} cannot be dealt out to {mesh.size} devices{groups}: "
            f"expected a multiple of {share}"
        )


def wait_for_all(name: str) -> None:
    """Returns when every process has come here; `name` says where that is."""
    if jax.process_count() > 1:
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copies a tree of host arrays to every device of the mesh."""
    return jax.device_put(tree, replicated(mesh))
