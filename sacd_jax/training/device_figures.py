"""What a device can do and what a step asks of it: peak FLOP/s, memory, multiplications."""

import math
import re
import resource
import sys
from collections.abc import Iterator
from typing import Any

import jax
from jax.extend.core import ClosedJaxpr, Jaxpr

PEAK_FLOPS = {
    # NVIDIA's data sheets, dense bfloat16 on tensor cores, without sparsity.
    "NVIDIA A100": 312e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H100": 989e12,
    "NVIDIA H200": 989e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    # cloud.google.com/tpu/docs, system architecture of each version, bfloat16 a chip.
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}
"""Beginning of `device_kind` -> FLOP/s in bfloat16; the longest that fits holds."""


def peak_flops(device_kind: str) -> float | None:
    """FLOP/s of a device in bfloat16, None where it is not known; of a CPU it never is."""
    # "NVIDIA A100-SXM4-80GB" is an A100, "NVIDIA L40" no L4.
    fitting = [kind for kind in PEAK_FLOPS if re.match(rf"{kind}(?!\w)", device_kind)]
    return PEAK_FLOPS[max(fitting, key=len)] if fitting else None


def memory_peak() -> dict[str, float]:
    """Most memory that was held so far, in GB: of the fullest device here (`device_peak_gb`), or of
    this process where the backend does not tell (`host_peak_gb`)."""
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    peaks = [each["peak_bytes_in_use"] for each in stats if "peak_bytes_in_use" in each]
    if peaks:
        return {"device_peak_gb": max(peaks) / 1e9}
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB
    return {"host_peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9}


def matmul_flops(jaxpr: ClosedJaxpr | Jaxpr) -> int:
    """Multiplications and additions of a program's matrix products and convolutions, over all
    devices.

    All else is left out, as is usual for MFU. What is computed twice (`remat`) or with zeros
    (folded kernels, padding) counts as it stands; the zeros that a stride puts between the rows of
    a gradient do not.
    """
    total = 0
    inner = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    for eqn in inner.eqns:
        name, params = eqn.primitive.name, eqn.params
        if name == "dot_general":
            left, out = eqn.invars[0].aval, eqn.outvars[0].aval
            contracted = params["dimension_numbers"][0][0]
            total += 2 * out.size * math.prod(left.shape[axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel, out = eqn.invars[1].aval, eqn.outvars[0].aval
            features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            zeros = math.prod(params["lhs_dilation"])
            total += 2 * out.size * kernel.size // (features * zeros)
        elif name == "cond":
            total += max(map(matmul_flops, params["branches"]))
        else:
            times = params["length"] if name == "scan" else 1
            times = params["mesh"].size if name == "shard_map" else times
            total += times * sum(map(matmul_flops, _programs(params)))
    return total


def _programs(params: dict[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    for value in params.values():
        if isinstance(value, ClosedJaxpr | Jaxpr):
            yield value
