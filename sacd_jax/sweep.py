"""Trains the missing runs of a sweep, each in a process of its own, and writes the sweep's table.

Every run is resumable, and so is a sweep: the same command goes on where an earlier one stopped.
"""

import sys
from pathlib import Path

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets import prepare
from input_pipeline.errors import UserError
from input_pipeline.files import only_results
from sacd_jax import parallel
from sacd_jax.command_line import Parser
from sacd_jax.report import tables
from sacd_jax.sweeps import children, plan, preregistration, table
from sacd_jax.sweeps.sweep_config import SweepConfig
from sacd_jax.sweeps.training import train_missing, train_one

EXAMPLE = "python -m sacd_jax.sweep --config configs/sweeps/table2.py:size=demo --workdir runs"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = Parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--rows", help="keys of the rows to train, with commas, wildcards allowed; all by default"
    )
    parser.add_argument("--seeds", help="seeds to train, with commas; the config's by default")
    parser.add_argument("--data_dir", help="where data sets are built; <workdir>/data by default")
    parser.add_argument("--run", help="train this one run of the sweep in this process")
    parser.add_argument(
        "--jobs", type=int, default=1, help="runs at a time; with more, each has one thread"
    )
    parser.add_argument("--index", type=int, help="share of this job, from 0; with --of")
    parser.add_argument("--of", type=int, help="number of shares, each for a job of an array")
    parser.add_argument(
        "--list", action="store_true", help="only list the runs and how far they are"
    )
    argv = sys.argv[1:] if argv is None else argv
    values = parser.parse(argv, SweepConfig)
    sweep = values.config
    if values.jobs < 1:
        parser.error(f"argument --jobs: {values.jobs}, expected 1 or more")
    if parallel.several_processes():
        raise UserError(
            "a sweep starts a process for every run itself, and none over several hosts: start it "
            "once, or share its runs with --index and --of"
        )
    workdir = Path(values.workdir)
    runs_folder = workdir / plan.RUNS
    seeds = _seeds(values.seeds) if values.seeds else sweep.seeds
    chosen = plan.row_runs(sweep, seeds, values.rows.split(",") if values.rows else ())
    data = Path(values.data_dir or workdir / "data")
    if values.run:
        parallel.initialize()
        dataset = prepare(sweep.dataset, data)
        train_one(values.run, plan.with_lenders(sweep, chosen), workdir, dataset)
        return
    if (values.index is None) != (values.of is None):
        raise UserError("--index and --of belong together: the share of this job, and of how many")
    if values.index is not None:
        chosen = plan.share(chosen, values.index, values.of)
    runs = plan.with_lenders(sweep, chosen)
    if values.list:
        tables.show(table.listing(sweep, runs, runs_folder))
        return

    dataset = prepare(sweep.dataset, data)
    if (frozen := preregistration.freeze(sweep, workdir, dataset)) is not None:
        print(f"judged as fixed in {frozen}", file=sys.stderr)
    logs = workdir / "logs"
    start = children.starter("sacd_jax.sweep", argv, logs, values.jobs)
    failed = train_missing(sweep, runs, start, workdir, dataset, values.jobs)
    with only_results(workdir):
        path = table.write(sweep, runs_folder, dataset, workdir)
    print(path.read_text(encoding="utf-8"))
    print(f"table: {path}")
    if failed:
        names = ", ".join(failed)
        raise UserError(f"{len(failed)} of {len(runs)} runs failed: {names}; see {logs}")


def _seeds(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise UserError(f"--seeds is {text!r}, expected different numbers such as 0,1,2")
    return tuple(int(part) for part in parts)


if __name__ == "__main__":
    with one_line_errors():
        main()
