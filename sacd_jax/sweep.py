"""Trains the runs of a sweep that are missing, each in a process of its own, and writes its table.

Every run is resumable, and so is a sweep: the same command goes on where an earlier one stopped.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import flags

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets import prepare
from input_pipeline.errors import UserError
from input_pipeline.files import only_one
from input_pipeline.progress import Progress
from sacd_jax import config as configs
from sacd_jax import parallel
from sacd_jax.report import tables
from sacd_jax.report.tables import Cell, Table
from sacd_jax.sweeps import children, plan, table
from sacd_jax.sweeps.plan import Planned, Sweep
from sacd_jax.train import train

EXAMPLE = "python -m sacd_jax.sweep --config configs/sweeps/table2.py:demo --workdir runs/tables"


def main(argv: list[str]) -> None:
    """Command line; see `--help`."""
    values = configs.parse_flags(argv, EXAMPLE)
    sweep = plan.resolve(values.config)
    if parallel.several_processes():
        raise UserError(
            "a sweep starts a process for every run itself, and none over several hosts: start it "
            "once, or share its runs with --index and --of"
        )
    workdir = Path(values.workdir)
    runs_folder = workdir / plan.RUNS
    seeds = _seeds(values.seeds) if values.seeds else sweep.config.seeds
    chosen = plan.row_runs(sweep, seeds, values.rows.split(",") if values.rows else ())
    data = Path(values.data_dir or workdir / "data")
    if values.run:
        parallel.initialize()
        dataset = prepare(sweep.config.dataset, data)
        train_one(values.run, plan.with_teachers(sweep, chosen), workdir, dataset)
        return
    if (values.index is None) != (values.of is None):
        raise UserError("--index and --of belong together: the share of this job, and of how many")
    if values.index is not None:
        chosen = plan.share(chosen, values.index, values.of)
    runs = plan.with_teachers(sweep, chosen)
    if values["list"].value:
        tables.show(listing(sweep, runs, runs_folder))
        return

    dataset = prepare(sweep.config.dataset, data)
    logs = workdir / "logs"
    start = children.starter("sacd_jax.sweep", argv[1:], logs, values.jobs)
    failed = train_missing(sweep, runs, start, workdir, dataset, values.jobs)
    path = table.write(sweep, runs_folder, dataset, workdir)
    print(path.read_text())
    print(f"table: {path}")
    if failed:
        names = ", ".join(failed)
        raise UserError(f"{len(failed)} of {len(runs)} runs failed: {names}; see {logs}")


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"--seeds is {text!r}, expected different numbers such as 0,1,2")
    return tuple(int(part) for part in parts)


def train_missing(
    sweep: Sweep,
    runs: Sequence[Planned],
    start: children.Start,
    workdir: Path,
    dataset: Path,
    jobs: int,
) -> dict[str, str]:
    """Starts the runs that are not done; returns name -> reason of those that failed."""
    runs_folder = workdir / plan.RUNS
    missing = [run for run in runs if plan.state(run, runs_folder, dataset) != plan.DONE]
    with Progress(
        f"sweep {sweep.config.name}", total=len(runs), unit="run", start=len(runs) - len(missing)
    ) as progress:
        return children.run_all(missing, start, workdir / "logs", jobs, progress)


def train_one(name: str, runs: Sequence[Planned], workdir: Path, dataset: Path) -> None:
    """Trains one run here; processes that want the same one take turns, and find it done.

    Raises:
        UserError: the sweep has no run of that name.
    """
    named = [run for run in runs if run.name == name]
    if not named:
        raise UserError(f"--run: the sweep has no run {name!r}; --list shows them")
    with only_one(workdir / "locks" / name, f"waiting for another process to train {name}"):
        train(named[0].run, workdir / plan.RUNS / name, dataset)


def listing(sweep: Sweep, runs: Sequence[Planned], runs_folder: Path) -> Table:
    """The runs and how far they are."""
    states = {run.name: plan.state(run, runs_folder) for run in runs}
    done = sum(state == plan.DONE for state in states.values())
    body = tuple((Cell(name), Cell(state)) for name, state in states.items())
    title = sweep.config.title or sweep.config.name
    return Table(title, ("run", "state"), body, (f"{done} of {len(runs)} runs done.",))


def define_flags() -> None:
    """Defines the command's flags."""
    configs.define_flags(
        rows="keys of the rows to train, with commas, wildcards allowed; all by default",
        seeds="seeds to train, with commas; the config's by default",
        data_dir="where data sets are built; <workdir>/data by default",
        run="train this one run of the sweep in this process",
    )
    shown = {"module_name": configs.__name__}  # … by --help among the flags of the command
    flags.DEFINE_integer("jobs", 1, "runs at a time; with more, each has one thread", 1, **shown)
    flags.DEFINE_integer("index", None, "share of this job, from 0; with --of", 0, **shown)
    flags.DEFINE_integer("of", None, "number of shares, each for a job of an array", 1, **shown)
    flags.DEFINE_boolean("list", False, "only list the runs and how far they are", **shown)


if __name__ == "__main__":
    define_flags()
    with one_line_errors():
        main(sys.argv)
