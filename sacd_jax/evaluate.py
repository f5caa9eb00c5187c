"""Predictions of a finished run on a split: its metrics; or the report of a whole experiment."""

import argparse
import json
from pathlib import Path

import jax

from input_pipeline.command_errors import one_line_errors
from input_pipeline.splits import SPLITS
from sacd_jax import metrics, parallel
from sacd_jax.report.experiment import report
from sacd_jax.runs.run_folder import ExperimentFolder
from sacd_jax.training.evaluator import evaluate_run

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
        "--split",
        default="test",
        choices=SPLITS,
        help="part of the data, for a run",
    )
    arguments = parser.parse_args(argv)
    parallel.initialize()
    first = jax.process_index() == 0
    if ExperimentFolder(arguments.workdir).description.exists():
        if first:
            print(f"report: {report(arguments.workdir)}")
        parallel.wait_for_all("report")
        return
    measured = evaluate_run(arguments.workdir, arguments.split)
    if first:
        print(json.dumps({"split": arguments.split, **metrics.json_ready(measured)}))


if __name__ == "__main__":
    with one_line_errors():
        main()
