"""Predictions of a finished run on a split: its metrics; or the report of a whole experiment.

With `--preregistered`, the table of a sweep, judged by what was fixed before its first run.
"""

import argparse
import json
from pathlib import Path

import jax

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets.dataset_files import read_info
from input_pipeline.errors import UserError
from input_pipeline.splits import SPLITS
from sacd_jax import metrics, parallel
from sacd_jax.report.experiment import read_description, report
from sacd_jax.runs import run_folder
from sacd_jax.runs.run_folder import ExperimentFolder
from sacd_jax.sweeps import plan, preregistration, table
from sacd_jax.training.evaluator import evaluate_run, predicted_splits

EXAMPLE = "python -m sacd_jax.evaluate --workdir runs/demo/sacd --split test"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.evaluate",
        description=__doc__,
        epilog=f"example: {EXAMPLE}",
    )
    parser.add_argument(
        "--workdir", type=Path, required=True, help="folder of a run, or of an experiment's runs"
    )
    parser.add_argument(
        "--preregistered",
        type=Path,
        help="judge the sweep in --workdir by this file, written before its first run",
    )
    for name in ("figure", "test", "correction"):
        parser.add_argument(f"--{name}", help="refused if it is not what --preregistered fixed")
    parser.add_argument(
        "--split",
        default="test",
        choices=SPLITS,
        help="part of the data, for a run",
    )
    arguments = parser.parse_args(argv)
    asked = {name: getattr(arguments, name) for name in ("figure", "test", "correction")}
    if arguments.preregistered is not None:
        _judge(arguments.preregistered, arguments.workdir, {**asked, "split": arguments.split})
        return
    for name, value in asked.items():
        if value is not None:
            raise UserError(f"--{name} is for the judgement of a sweep: expected --preregistered")
    parallel.initialize()
    first = jax.process_index() == 0
    folder = ExperimentFolder(arguments.workdir)
    if folder.description.exists():
        _fit_temperatures(folder)
        if first:
            print(f"report: {report(arguments.workdir)}")
        parallel.wait_for_all("report")
        return
    measured = evaluate_run(arguments.workdir, arguments.split)
    if first:
        print(json.dumps({"split": arguments.split, **metrics.json_ready(measured)}))


def _judge(path: Path, workdir: Path, asked: dict[str, str | None]) -> None:
    """Prints the table of a sweep, by what a file says."""
    sweep, dataset = preregistration.read(path)
    assert sweep.judgement is not None  # `read` has seen to it
    preregistration.hold_to(sweep.judgement, asked, path)
    written = table.write(sweep, workdir / plan.RUNS, dataset, workdir)
    print(written.read_text(encoding="utf-8"))
    print(f"table: {written}")


def _fit_temperatures(folder: ExperimentFolder) -> None:
    """Predicts the validation split of finished runs that have no temperature (of old versions)."""
    runs = [folder.run(name) for name in read_description(folder)["runs"]]
    runs = [run for run in runs if run.finished and not run.temperature.exists()]
    parallel.wait_for_all("temperatures")  # before one process writes what another looks for
    for run in runs:
        _, dataset = run_folder.read_run(run.path)
        if "validation" in predicted_splits(read_info(dataset)):
            evaluate_run(run.path, "validation")


if __name__ == "__main__":
    with one_line_errors():
        main()
