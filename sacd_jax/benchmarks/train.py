"""A training from its config, end to end: clips a second, waiting for data, MFU, memory, saving.

Every run of the config is trained for a number of steps, in order, by the training command's own
loop, into a temporary folder: with its data set, its loader, its evaluation and its checkpoints.
Speeds leave the first lines of the log out, in which the device is still being fed. One process,
with all of its devices.
"""

import argparse
import dataclasses
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from input_pipeline.datasets import prepare
from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from input_pipeline.groups import steps_per_pass
from input_pipeline.source import open_split
from sacd_jax import command_line, parallel
from sacd_jax.benchmarks import timing
from sacd_jax.config import Experiment, RunConfig
from sacd_jax.report.tables import Cell, Table, show
from sacd_jax.runs import goodput, log
from sacd_jax.training import loop

EXAMPLE = "python -m sacd_jax.benchmark train --config configs/demo.py --steps 100"

_LINES = 8
"""Of the log of a run; the first two are left out."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `benchmark train`."""
    add = parser.add_argument
    add("--config", required=True, metavar="FILE", help="experiment, as of sacd_jax.train")
    add(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="replaces a setting of the config: runs.sacd.batch_size=64, or batch_size=64 of all",
    )
    add("--runs", help="names of the experiment's runs, with commas; all by default")
    add("--data_dir", type=Path, help="where data sets are built; a temporary folder by default")
    add("--steps", type=int, default=80, help="of each run (default: 80)")
    add("--json", type=Path, metavar="FILE", help="writes every figure there")


def run(arguments: argparse.Namespace) -> None:
    """Trains and prints the table.

    Raises:
        UserError: no such config, setting or run, or what the training itself refuses.
    """
    if arguments.steps < _LINES:
        raise UserError(f"--steps is {arguments.steps}, expected at least {_LINES}")
    settings = [(name, value) for name, _, value in (s.partition("=") for s in arguments.set)]
    experiment = command_line.load_config(arguments.config, Experiment)
    experiment = command_line.override(experiment, settings)
    chosen = arguments.runs.split(",") if arguments.runs else list(experiment.runs)
    for name in chosen:
        if name not in experiment.runs:
            raise UserError(f"--runs names {name!r}, expected some of {list(experiment.runs)}")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        workdir = Path(folder)
        dataset = prepare(experiment.dataset, arguments.data_dir or workdir / "data")
        parallel.initialize()
        for name in chosen:
            shortened = _shortened(experiment.runs[name], dataset, arguments.steps)
            if shortened.task != "boost":  # takes no steps
                loop.train(shortened, workdir / name, dataset)
                results.append({"run": name, **measured(workdir / name, shortened.batch_size)})
    machine = timing.machine()
    facts = {"config": arguments.config, "steps": arguments.steps, "settings": dict(settings)}
    show(table(results, machine))
    if arguments.json:
        write_json(arguments.json, {"machine": machine, "settings": facts, "results": results})


def _shortened(run: RunConfig, dataset: Path, steps: int) -> RunConfig:
    """The run with so many steps, a line of the log every eighth of them and four checkpoints."""
    source = open_split(dataset, "train").with_labels_of(run.label_fraction, run.seed)
    a_pass = steps_per_pass(
        source.table, run.batch_size, run.batch_mode, run.consecutive_clips, run.uses_unlabelled
    )
    every = steps // _LINES
    return dataclasses.replace(
        run,
        passes=steps / a_pass,
        log_every_steps=every,
        checkpoint_every_passes=2 * every / a_pass,
        evaluate_every_passes=4 * every / a_pass,
    )


def measured(workdir: Path, batch_size: int) -> dict[str, Any]:
    """Figures of a run that has ended, from its log and its account of time.

    Returns:
        `steps`, `batch_size`, `clips_per_second`, `clips_per_second_per_device`, `data_wait`,
        `mfu` (None where the device's peak is not known), `device_peak_gb` or `host_peak_gb`,
        `compile_seconds`, `save_seconds` (the longest that a save kept the steps waiting) and
        `seconds` (of the whole run, by kind).
    """
    lines = [line for line in log.read(workdir).lines if line["split"] == "train"]
    ends = [0, *(line["step"] for line in lines)]
    steady = [
        (line, batch_size * (end - before) / line["clips_per_second"])
        for line, before, end in zip(lines, ends, ends[1:], strict=False)
    ][2:]
    elapsed = sum(seconds for _, seconds in steady)

    def mean(name: str) -> float | None:
        if name not in steady[0][0]:
            return None
        return sum(line[name] * seconds for line, seconds in steady) / elapsed

    rate = batch_size * (ends[-1] - ends[2]) / elapsed
    peaks = {name: value for name, value in lines[-1].items() if name.endswith("_peak_gb")}
    spent = goodput.spent(goodput.read(workdir))
    return {
        "steps": ends[-1],
        "batch_size": batch_size,
        "clips_per_second": rate,
        "clips_per_second_per_device": rate / jax.device_count(),
        "data_wait": mean("data_wait"),
        "mfu": mean("mfu"),
        **peaks,
        "compile_seconds": spent.seconds["compile"],
        "save_seconds": max(line["save_seconds"] for line in lines),
        "seconds": dict(spent.seconds),
    }


def table(results: Sequence[dict[str, Any]], machine: dict[str, Any]) -> Table:
    """One row a run."""
    header = ("run", "clips/s", "clips/s/device", "wait %", "MFU %", "GB", "compile s", "save ms")
    rows = []
    for found in results:
        peak = next(value for name, value in found.items() if name.endswith("_peak_gb"))
        mfu = "–" if found["mfu"] is None else f"{100 * found['mfu']:.1f}"
        texts = (
            found["run"],
            f"{found['clips_per_second']:.4g}",
            f"{found['clips_per_second_per_device']:.4g}",
            f"{100 * found['data_wait']:.1f}",
            mfu,
            f"{peak:.2f}",
            f"{found['compile_seconds']:.1f}",
            f"{1000 * found['save_seconds']:.0f}",
        )
        rows.append(tuple(map(Cell, texts)))
    notes = (
        "GB: peak of the fullest device, of the process on a CPU; save: the longest wait for one",
        timing.facts(machine),
    )
    return Table("training, end to end", header, tuple(rows), notes)
