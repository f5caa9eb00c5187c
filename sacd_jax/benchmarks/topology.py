"""XLA's estimates of a training step on TPUs that are not here. Nothing runs.

The full step (forward, backward, SGD with momentum, BatchNorm), data-parallel over a TPU topology,
is compiled ahead of time by libtpu, which needs no TPU; a large network takes minutes. Estimates
rank programs for one kind of chip; they are no measurements.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import jax
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from input_pipeline.progress import Progress
from sacd_jax import parallel
from sacd_jax.benchmarks import hlo, timing
from sacd_jax.benchmarks.step import add_step_arguments, make_task
from sacd_jax.benchmarks.timed_step import check_positive, first_variables, random_batch
from sacd_jax.models import conv
from sacd_jax.report.tables import Cell, Table, show
from sacd_jax.tasks.classify import Classify

EXAMPLE = (
    "python -m sacd_jax.benchmark topology --model r2plus1d_18 --form folded,direct "
    "--topology v5e:2x4 --batch 16"
)

CLOCKS = {"TPU v5 lite": 1.503e9, "TPU v5": 1.75e9, "TPU v6 lite": 1.75e9}
"""Kind of chip -> cycles a second, which the program does not tell: the peak of the data sheet
(197, 459 and 918 Tflop/s in bfloat16) over two operations for each cell of the matrix units (4 of
128x128, 8 of 128x128, 4 of 256x256). Checked against a convolution counted by hand on v5e only."""

_COMPILER_ONLY = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
"""What libtpu would else ask a cloud's metadata server (the topology's name decides all else), and
that no other process need wait: only the compiler is used."""


@dataclass(frozen=True)
class Estimate:
    """What XLA says of one compiled step, for one device.

    Attributes:
        name, group: as of `timing.Contestant`.
        milliseconds: estimated cycles at the chip's clock; None for a chip whose clock is unknown.
        flops: operations, those with the zeros of folded kernels included.
        bytes_accessed: bytes read and written.
        peak_bytes: most that is alive at once in the device's memory, arguments included.
        program: see `hlo.Program`.
        compile_seconds: wall seconds here.
    """

    name: str
    group: str
    milliseconds: float | None
    flops: float
    bytes_accessed: float
    peak_bytes: int
    program: hlo.Program
    compile_seconds: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the subcommand."""
    add_step_arguments(parser, form="folded,direct", batch=16, dtype="bfloat16")
    parser.add_argument(
        "--topology",
        default="v5e:2x4",
        metavar="NAME",
        help="chips as KIND:AxB, such as v5e:2x4, v6e:2x4 or v5p:2x2x1 (default: v5e:2x4)",
    )
    parser.add_argument(
        "--devices", type=int, metavar="N", help="of the topology that take part (default: all)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Compiles the steps and prints the table.

    Raises:
        UserError: no libtpu, an unknown topology, network or form.
    """
    check_positive(arguments, "batch", "frames", "size")
    mesh = make_mesh(arguments.topology, arguments.devices)
    wanted = [(m, f) for m in arguments.model.split(",") for f in arguments.form.split(",")]
    tasks = {
        (model, form): make_task(model, form, arguments.dtype)  # all, before minutes of compiling
        for model, form in wanted
    }
    estimates = []
    with Progress("compile", total=len(wanted), unit="program") as progress:
        for (model, form), task in tasks.items():
            batch = random_batch(task.student.input_keys, arguments)
            start = time.perf_counter()
            compiled = compile_step(task, batch, mesh)
            seconds = time.perf_counter() - start
            estimates.append(estimate(f"{model}, {form}", model, compiled, mesh, seconds))
            progress.advance()

    settings = {
        name: getattr(arguments, name)
        for name in ("topology", "batch", "frames", "size", "colours", "dtype")
    }
    settings["devices"] = mesh.size
    chip = mesh.devices.flat[0].device_kind
    libtpu = importlib.metadata.version("libtpu")
    show(table(settings, chip, libtpu, estimates))
    if arguments.json:
        versions = {"jax": jax.__version__, "libtpu": libtpu}
        results = [{**vars(each), "program": vars(each.program)} for each in estimates]
        write_json(
            arguments.json,
            {"measured": False, "chip": chip, **versions, "settings": settings, "results": results},
        )


def make_mesh(topology: str, devices: int | None = None) -> Mesh:
    """The project's mesh over the first devices of a TPU topology that need not be here.

    Raises:
        UserError: libtpu is not installed, or the topology is not one that it knows.
    """
    if importlib.util.find_spec("libtpu") is None:
        raise UserError("libtpu is not installed, which compiles for TPUs: pip install -e '.[tpu]'")
    for name, value in _COMPILER_ONLY.items():
        os.environ.setdefault(name, value)
    # libtpu is asked for its compiler alone: a TPU that is here stays free.
    jax.config.update("jax_platforms", "cpu")
    try:
        found = topologies.get_topology_desc(topology, platform="tpu").devices
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"--topology {topology}: expected chips as KIND:AxB, such as v5e:2x4; libtpu: {reason}"
        ) from error
    if devices is not None and not 0 < devices <= len(found):
        raise UserError(f"--devices is {devices}, expected 1 to {len(found)} for {topology}")
    return parallel.make_mesh(found[:devices])


def compile_step(task: Classify, batch: dict[str, Any], mesh: Mesh) -> jax.stages.Compiled:
    """Compiles the training step for the mesh's devices, state replicated, clips dealt out.

    Args:
        task: what is trained.
        batch: one device's clips.
        mesh: devices; they need not be here.
    """

    def placed(leaf: Any, sharding: NamedSharding, times: int = 1) -> jax.ShapeDtypeStruct:
        shape = (times * leaf.shape[0], *leaf.shape[1:]) if leaf.shape else ()
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

    with conv.tracing_for(mesh.devices.flat[0].platform):
        state = jax.eval_shape(
            lambda batch: task.first_state(0, first_variables(task.student, batch)), batch
        )
        state = jax.tree.map(lambda leaf: placed(leaf, parallel.replicated(mesh)), state)
        rows = {key: placed(leaf, parallel.sharded(mesh), mesh.size) for key, leaf in batch.items()}
        layout = jax.tree.map(lambda leaf: leaf.sharding, state)
        step = task.train_step
        jitted = jax.jit(step, donate_argnums=0, out_shardings=(layout, None))
        return jitted.lower(state, rows).compile()


def estimate(
    name: str, group: str, compiled: jax.stages.Compiled, mesh: Mesh, seconds: float
) -> Estimate:
    """Collects what the compiler says of a program."""
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    assert cost is not None and memory is not None
    program = hlo.read(compiled.as_text() or "")
    clock = CLOCKS.get(mesh.devices.flat[0].device_kind)
    return Estimate(
        name,
        group,
        1000 * program.cycles / clock if clock else None,
        cost["flops"],
        cost["bytes accessed"],
        memory.peak_memory_in_bytes,
        program,
        seconds,
    )


def table(settings: dict[str, Any], chip: str, libtpu: str, estimates: list[Estimate]) -> Table:
    """The estimates as a table."""
    header = (
        "",
        "est. ms",
        "ratio",
        "TFLOP",
        "GB accessed",
        "peak GB",
        "collectives",
        "their MB",
        "in loops",
        "compile s",
    )
    first: dict[str, Estimate] = {}
    rows = []
    for each in estimates:
        base, program = first.setdefault(each.group, each), each.program
        texts = (
            "–" if each.milliseconds is None else f"{each.milliseconds:.1f}",
            f"{program.cycles / base.program.cycles:.2f}",
            f"{each.flops / 1e12:.3g}",
            f"{each.bytes_accessed / 1e9:.3g}",
            f"{each.peak_bytes / 1e9:.2f}",
            str(program.collectives.total()),
            f"{program.collective_bytes / 1e6:.1f}",
            str(program.in_loops),
            f"{each.compile_seconds:.0f}",
        )
        rows.append((Cell(each.name), *(Cell(text) for text in texts)))
    clock = CLOCKS.get(chip)
    rate = f"at {clock / 1e9:.3g} GHz" if clock else "but its clock is not known here"
    unpriced = Counter[str]()
    for each in estimates:
        unpriced += each.program.unpriced
    kinds = ", ".join(sorted(unpriced)) or "none"
    notes = (
        "Nothing ran: estimates of XLA's cost model for one step on one "
        f"{chip} of {settings['devices']}, compiled by libtpu {libtpu}.",
        f"est. ms: the compiler's cycles {rate}; ratio: to the network's first. Differences below "
        "10 % mean nothing.",
        f"Without an estimate, so in no time above: {kinds}.",
        "TFLOP count the zeros of folded kernels.",
    )
    return Table(
        timing.heading("XLA's estimates of a training step", settings), header, tuple(rows), notes
    )
