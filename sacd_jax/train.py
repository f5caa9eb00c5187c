"""Trains the networks of an experiment, one after the other, and reports on them.

Every run is resumable and lives in a folder of its own: config, metrics, checkpoints, the best
network, predictions on the test subjects.
"""

import sys
from pathlib import Path

import jax

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets import prepare
from input_pipeline.errors import UserError
from sacd_jax import parallel
from sacd_jax.command_line import Parser
from sacd_jax.config import Experiment, as_json
from sacd_jax.report import experiment as reports
from sacd_jax.runs import run_folder
from sacd_jax.training.loop import train
from sacd_jax.training.profile import Steps

EXAMPLE = "python -m sacd_jax.train --config configs/demo.py --workdir runs/demo"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = Parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--runs", help="names of the experiment's runs to train, with commas; all by default"
    )
    parser.add_argument("--data_dir", help="where data sets are built; <workdir>/data by default")
    parser.add_argument(
        "--profile",
        metavar="FIRST:COUNT",
        help="writes a trace of COUNT steps from step FIRST on into each run's folder, for xprof",
    )
    values = parser.parse(sys.argv[1:] if argv is None else argv, Experiment)
    workdir, experiment = Path(values.workdir), values.config
    profiled = Steps.read(values.profile) if values.profile else None
    chosen = values.runs.split(",") if values.runs else list(experiment.runs)
    for name in chosen:
        if name not in experiment.runs:
            raise UserError(f"--runs names {name!r}, expected some of {list(experiment.runs)}")

    for name in chosen:  # before a data set is built, which takes long
        run_folder.refuse_other(workdir / name, {"run": as_json(experiment.runs[name])})
    dataset = prepare(experiment.dataset, Path(values.data_dir or workdir / "data"))
    parallel.initialize()
    for name in chosen:
        train(experiment.runs[name], workdir / name, dataset, profiled)
    if len(experiment.runs) > 1 and jax.process_index() == 0:
        reports.describe(experiment, workdir, dataset)
        print(f"report: {reports.report(workdir)}")
    parallel.wait_for_all("report")


if __name__ == "__main__":
    with one_line_errors():
        main()
