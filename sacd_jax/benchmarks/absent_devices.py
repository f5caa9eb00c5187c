"""Devices that are not here, to compile for: TPUs by libtpu, GPUs by a description of the card.

Neither compiler needs the device. XLA compiles for a GPU from numbers of its data sheet; CUDA's
compiler and libraries must be installed (extra cuda13), a driver need not.
"""

import importlib.util
import os
import re
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh

from input_pipeline.errors import UserError
from sacd_jax import parallel

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """What the data sheet says of a chip.

    Attributes:
        memory: bytes that a program may use: all of a TPU's, of a GPU's the share that JAX takes
            when nothing else is set (three quarters).
        bandwidth: bytes a second between memory and chip.
        clock: cycles a second, in which libtpu's compiler counts; None where it does not.
        link: bytes a second that it sends into a ring of the chips that links join.
        joined: how many chips links join: a pod, or a machine of GPUs.
        network: bytes a second that it sends to chips beyond.
        machine: chips of a machine.
    """

    memory: int
    bandwidth: float
    clock: float | None
    link: float
    joined: int
    network: float
    machine: int


_TPUS = {
    "TPU v5 lite": Chip(16 * GIB, 819e9, 1.503e9, 100e9, 256, 3.125e9, 8),
    "TPU v5": Chip(95 * GIB, 2765e9, 1.75e9, 200e9, 6144, 6.25e9, 4),
    "TPU v6 lite": Chip(32 * GIB, 1640e9, 1.75e9, 200e9, 256, 6.25e9, 8),
}
"""Kind of TPU -> its numbers. The clock, which the program does not tell, is the peak (197, 459 and
918 Tflop/s in bfloat16) over two operations for each cell of the matrix units (4 of 128x128, 8 of
128x128, 4 of 256x256). Checked against a convolution counted by hand on v5e only.

Links and network as in Google's docs.cloud.google.com/tpu/docs/v5e, /v5p and /v6e: 400, 1,200 and
800 GB/s of a chip, both directions of its 4, 6 and 4 ports together; a ring runs both ways along
one axis of the torus, so a chip sends by two ports. A v5e pod's network is 6.4 Tbit/s for 256
chips, that of a v5p chip 50 Gbit/s; v6e's is assumed to be as much."""


@dataclass(frozen=True)
class _Gpu:
    """A card as XLA wants it described; sizes in bytes, numbers of a streaming multiprocessor.

    `nvlink` and `network` are what a card sends to those of its machine and through an adapter of
    its own, bytes a second, as in NVIDIA's DGX: NVLink's 600 and 900 GB/s are both directions, the
    adapters have 200 Gbit/s beside an A100 and 400 beside an H100.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    fp32_lanes: int
    clock_ghz: float
    memory: int
    bandwidth: float
    l2: int
    shared_memory: int
    nvlink: float
    network: float

    def description(self) -> str:
        """XLA's text of it (`stream_executor::GpuTargetConfigProto`)."""
        major, minor = self.capability
        # Hopper's own instructions are a feature of the architecture.
        feature = "feature_extension: ACCELERATED_FEATURES" if major >= 9 else ""
        return f"""
        gpu_device_info {{
          threads_per_block_limit: 1024
          threads_per_warp: 32
          threads_per_core_limit: 2048
          shared_memory_per_block: 49152
          shared_memory_per_block_optin: {self.shared_memory - 1024}
          shared_memory_per_core: {self.shared_memory}
          registers_per_core_limit: 65536
          registers_per_block_limit: 65536
          block_dim_limit_x: 2147483647
          block_dim_limit_y: 65535
          block_dim_limit_z: 65535
          core_count: {self.multiprocessors}
          fpus_per_core: {self.fp32_lanes}
          clock_rate_ghz: {self.clock_ghz}
          memory_bandwidth: {self.bandwidth:.0f}
          l2_cache_size: {self.l2}
          device_memory_size: {self.memory}
          cuda_compute_capability {{ major: {major} minor: {minor} {feature} }}
        }}
        platform_name: "CUDA"
        dnn_version_info {{ major: 9 minor: 12 patch: 0 }}
        device_description_str: "{self.name}"
        """


_A100 = (108, 64, 1.41, 80 * GIB, 2039e9, 40 << 20, 167936, 300e9, 25e9)
_H100 = (132, 128, 1.98, 80 * GIB, 3352e9, 50 << 20, 233472, 450e9, 50e9)
_H200 = (132, 128, 1.98, 141 * 10**9, 4800e9, 50 << 20, 233472, 450e9, 50e9)
_GPUS = {
    "a100": _Gpu("NVIDIA A100-SXM4-80GB", (8, 0), *_A100),
    "h100": _Gpu("NVIDIA H100 80GB HBM3", (9, 0), *_H100),
    "h200": _Gpu("NVIDIA H200", (9, 0), *_H200),
}
_EXPECTED = (
    "TPUs as KIND:AxB, such as v5e:2x4, or GPUs as KIND or KIND:HOSTSxGPUS, such as h100:1x8, "
    f"of the kinds {', '.join(_GPUS)}"
)

_COMPILER_ONLY = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
"""What libtpu would else ask a cloud's metadata server (the topology's name decides all else), and
that no other process need wait: only the compiler is used."""


def make_mesh(topology: str, devices: int | None = None) -> Mesh:
    """The project's mesh over the first devices of a topology that need not be here.

    Raises:
        UserError: its compiler is not installed, or the topology is not one that it knows.
    """
    found = _gpus(topology) if topology.partition(":")[0] in _GPUS else _tpus(topology)
    if devices is not None and not 0 < devices <= len(found):
        raise UserError(f"--devices is {devices}, expected 1 to {len(found)} for {topology}")
    return parallel.make_mesh(found[:devices])


def chip(mesh: Mesh) -> Chip | None:
    """Numbers of the mesh's devices; None for a kind that is not in the tables."""
    kind = mesh.devices.flat[0].device_kind
    for gpu in _GPUS.values():
        if gpu.name == kind:
            links = (gpu.nvlink, 8, gpu.network)
            return Chip(gpu.memory * 3 // 4, gpu.bandwidth, None, *links, 8)
    return _TPUS.get(kind)


def _tpus(topology: str) -> list[Any]:
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("libtpu is not installed, which compiles for TPUs: pip install -e '.[tpu]'")
    for name, value in _COMPILER_ONLY.items():
        os.environ.setdefault(name, value)
    return _described(f"--topology {topology}", "libtpu", topology, platform="tpu")


def _gpus(topology: str) -> list[Any]:
    name, _, grid = topology.partition(":")
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", grid or "1x1"):
        raise UserError(f"--topology {topology}: expected {_EXPECTED}")
    plugins = ("jax_cuda13_plugin", "jax_cuda12_plugin")
    if not any(importlib.util.find_spec(plugin) for plugin in plugins):
        raise UserError(
            "JAX's CUDA packages are not installed, which compile for GPUs: "
            "pip install -e '.[cuda13]'"
        )
    options = {"target_config": _GPUS[name].description(), "topology": f"1x{grid or '1x1'}"}
    return _described(f"--topology {topology}", "XLA", "", platform="cuda", **options)


def _described(asked: str, compiler: str, name: str, platform: str, **options: str) -> list[Any]:
    # Only the compiler is wanted: devices that are here stay free.
    jax.config.update("jax_platforms", "cpu")
    try:
        found = topologies.get_topology_desc(name, platform=platform, **options)
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{asked}: expected {_EXPECTED}; {compiler}: {reason}") from error
    return list(found.devices)
