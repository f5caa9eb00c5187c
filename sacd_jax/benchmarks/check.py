"""Whether the device computes 3-D convolutions and sums right, beside NumPy in float64.

Releases of cuDNN had wrong 3-D convolutions: in bfloat16 (9.8 to 9.10) and in TF32 (9.10.2 to
9.15). Each convolution of the video networks is compared in both precisions, forward and both
gradients; the errors are relative, in the Euclidean norm. A scatter-add must give the same bits
each time, or a resumed training cannot equal an undisturbed one.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from input_pipeline.files import write_json
from sacd_jax.benchmarks import timing
from sacd_jax.benchmarks.timed_step import check_positive
from sacd_jax.report.tables import Cell, Table, show

EXAMPLE = "python -m sacd_jax.benchmark check"

LIMITS = {"bfloat16": 1e-2, "float32": 2e-3}
"""Largest relative error: results are rounded to 8 bits; TF32 multiplies numbers of 11 bits."""

CONVOLUTIONS = (
    ((1, 7, 7), (1, 2, 2), 1, 1.0),
    ((3, 7, 7), (1, 2, 2), 1, 1.0),
    ((7, 7, 7), (1, 2, 2), 1, 1.0),
    ((1, 3, 3), (1, 1, 1), 1.0, 1.0),
    ((1, 3, 3), (1, 2, 2), 1.0, 2.0),
    ((3, 1, 1), (1, 1, 1), 1.0, 1.0),
    ((3, 1, 1), (2, 1, 1), 1.0, 2.0),
    ((3, 3, 3), (1, 1, 1), 1.0, 1.0),
    ((3, 3, 3), (2, 2, 2), 1.0, 2.0),
    ((1, 1, 1), (2, 2, 2), 1.0, 2.0),
)
"""Kernel, stride, channels in and out: a whole number is itself, a float in units of --channels."""


@dataclass(frozen=True)
class Checked:
    """One comparison; `right` says whether the error is within the limit."""

    name: str
    error: float
    limit: float

    @property
    def right(self) -> bool:
        """An error that is not a number is not right."""
        return self.error <= self.limit


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `benchmark check`."""
    add = parser.add_argument
    add("--batch", type=int, default=2, help="clips (default: 2)")
    add("--frames", type=int, default=8, help="of a clip (default: 8)")
    add("--size", type=int, default=28, help="side of a frame (default: 28)")
    add("--channels", type=int, default=64, help="of the narrower layers (default: 64)")
    add("--json", type=Path, metavar="FILE", help="writes every figure there")


def run(arguments: argparse.Namespace) -> None:
    """Compares, and prints the table; what is wrong is said there."""
    check_positive(arguments, "batch", "frames", "size", "channels")
    found = [*convolutions(arguments), *sums()]
    machine = timing.machine()
    verdicts = [("wrong", "right")[each.right] for each in found]
    rows = tuple(
        (Cell(each.name), Cell(f"{each.error:.1e}"), Cell(f"{each.limit:.0e}"), Cell(verdict))
        for each, verdict in zip(found, verdicts, strict=True)
    )
    header = ("", "relative error", "limit", "")
    show(Table("computing right", header, rows, (timing.facts(machine),)))
    if arguments.json:
        results = [asdict(each) | {"right": each.right} for each in found]
        settings = {name: getattr(arguments, name) for name in ("batch", "frames", "size")}
        write_json(arguments.json, {"machine": machine, "settings": settings, "results": results})


def convolutions(arguments: argparse.Namespace) -> Iterator[Checked]:
    """Each convolution and its gradients in each precision."""
    rng = np.random.default_rng(0)
    for (kernel, stride, inner, outer), dtype in itertools.product(CONVOLUTIONS, LIMITS):
        channels = [
            int(c * arguments.channels) if isinstance(c, float) else c for c in (inner, outer)
        ]
        size = (arguments.batch, arguments.frames, arguments.size, arguments.size, channels[0])
        x = jnp.asarray(rng.normal(size=size), dtype)
        taps = jnp.asarray(rng.normal(size=(*kernel, *channels)) / np.prod(kernel), dtype)
        y, pull = jax.vjp(lambda x, k, stride=stride: convolve(x, k, stride), x, taps)
        dy = jnp.asarray(rng.normal(size=y.shape), dtype)
        dx, dk = jax.jit(pull)(dy)
        wanted = reference(*(np.asarray(a, np.float64) for a in (x, taps, dy)), stride)
        shape = "x".join(map(str, kernel))
        whats = ("", ", d input", ", d kernel")
        for what, got, want in zip(whats, (y, dx, dk), wanted, strict=True):
            name = f"{dtype} {shape} stride {'x'.join(map(str, stride))}{what}"
            yield Checked(name, _error(got, want), LIMITS[dtype])


def _error(got: jax.Array, want: np.ndarray) -> float:
    return float(np.linalg.norm(np.asarray(got, np.float64) - want) / np.linalg.norm(want))


@jax.jit(static_argnums=2)
def convolve(x: jax.Array, kernel: jax.Array, stride: tuple[int, int, int]) -> jax.Array:
    """Convolution of [B, T, H, W, C] by [t, h, w, C, D], padded by half the kernel."""
    padding = [(size // 2, size // 2) for size in kernel.shape[:3]]
    return lax.conv_general_dilated(
        x, kernel, stride, padding, dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )


def reference(
    x: np.ndarray, kernel: np.ndarray, dy: np.ndarray, stride: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same in NumPy, a tap at a time: the result, and what `dy` gives for input and kernel."""
    taps = kernel.shape[:3]
    around = [(0, 0), *((size // 2, size // 2) for size in taps), (0, 0)]
    padded = np.pad(x, around)
    y, dpadded, dkernel = np.zeros(dy.shape), np.zeros(padded.shape), np.zeros(kernel.shape)
    for tap in np.ndindex(*taps):
        seen = tuple(
            slice(at, at + step * (count - 1) + 1, step)
            for at, step, count in zip(tap, stride, dy.shape[1:4], strict=True)
        )
        part = padded[:, *seen]
        y += part @ kernel[tap]
        dpadded[:, *seen] += dy @ kernel[tap].T
        dkernel[tap] = part.reshape(-1, part.shape[-1]).T @ dy.reshape(-1, dy.shape[-1])
    inner = (
        slice(size // 2, size // 2 + count) for size, count in zip(taps, x.shape[1:4], strict=True)
    )
    return y, dpadded[:, *inner], dkernel


def sums() -> Iterator[Checked]:
    """Scatter-adds beside NumPy, and whether they give the same bits each time."""
    rng = np.random.default_rng(1)
    rows, places = rng.uniform(0.5, 1.5, (4096, 64)), rng.integers(0, 256, 4096)
    add = jax.jit(lambda at, values: jnp.zeros((256, 64), values.dtype).at[at].add(values))
    for dtype, limit in (("bfloat16", 5e-2), ("float32", 1e-5)):
        values = jnp.asarray(rows, dtype)
        want = np.zeros((256, 64))
        np.add.at(want, places, np.asarray(values, np.float64))
        got = [add(places, values) for _ in range(5)]
        yield Checked(f"{dtype} scatter-add", _error(got[0], want), limit)
        again = max(float(jnp.abs(other - got[0]).max()) for other in got[1:])
        yield Checked(f"{dtype} scatter-add, five times", again, 0.0)
