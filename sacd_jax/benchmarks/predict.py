"""Staging a night from its video, in turns with decoding the same video and nothing else.

The ratio is what staging costs beside decoding. Peak memory is that of `python -m sacd_jax.predict`
in a process of its own, from its start to the page.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from input_pipeline.readers.video import VideoReader
from sacd_jax.benchmarks import timing
from sacd_jax.benchmarks.input import Reading
from sacd_jax.benchmarks.timed_step import check_positive
from sacd_jax.report.tables import show
from sacd_jax.staging import memory
from sacd_jax.staging.stager import load_stager

EXAMPLE = "python -m sacd_jax.benchmark predict --model runs/demo/sacd --video night.mp4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `benchmark predict`."""
    add = parser.add_argument
    add("--model", type=Path, required=True, help="folder of a finished run")
    add("--video", type=Path, required=True, help="one file; input_pipeline.simulate makes some")
    add("--threads", type=int, default=2, help="that decode (default: 2)")
    add("--rounds", type=int, default=3, help="runs of each (default: 3)")
    add("--json", type=Path, metavar="FILE", help="writes every figure there")


def run(arguments: argparse.Namespace) -> None:
    """Times both and prints the table.

    Raises:
        UserError: no such model or video, or a video that cannot be staged.
    """
    check_positive(arguments, "threads", "rounds")
    peak = _peak_mib(arguments)
    memory.map_large_blocks()
    stager, threads = load_stager(arguments.model), arguments.threads
    epochs = 0

    def stage() -> None:
        nonlocal epochs
        epochs = len(stager.predict(arguments.video, threads=threads))

    def decode() -> None:
        with VideoReader(arguments.video, name="night", threads=threads) as reader:
            for _ in reader.frames():
                pass

    contestants = [Reading("decoding alone", decode), Reading("staging", stage)]
    timed = timing.take_turns(contestants, arguments.rounds)
    machine = timing.machine()
    settings = {"epochs": epochs, "threads": threads, "rounds": arguments.rounds}
    notes = (
        f"a clip is an epoch of 30 s; peak memory {peak:.0f} MiB",
        "wall and CPU seconds are medians; ratio: wall seconds over those of decoding alone",
        timing.facts(machine),
    )
    show(timing.table(timing.heading("staging a night", settings), timed, epochs, notes))
    if arguments.json:
        results = timing.as_json(timed, epochs)
        found = {"machine": machine, "settings": settings, "peak_mib": peak, "results": results}
        write_json(arguments.json, found)


def _peak_mib(arguments: argparse.Namespace) -> float:
    """Peak memory of the command that stages, before this process has grown: a child counts from
    what its parent has."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "sacd_jax.predict", "--out", out]
        for name in ("model", "video", "threads"):
            command += [f"--{name}", str(getattr(arguments, name))]
        done = subprocess.run(command, stdout=subprocess.DEVNULL)
    if done.returncode:
        raise UserError(f"python -m sacd_jax.predict ended with {done.returncode}, see above")
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**10  # Linux counts in KiB
