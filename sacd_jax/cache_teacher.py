"""Runs a frozen teacher over the data once and stores what it says of every clip.

Trainings with `teacher_cache = True` read the stored outputs in place of the teacher's own input.
They compute them by themselves where they are missing; this command does it beforehand, and
replaces those of an earlier network.
"""

import argparse
import sys
from pathlib import Path

import jax
import numpy as np

from input_pipeline.command_errors import one_line_errors
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS
from sacd_jax import parallel
from sacd_jax.runs import run_folder
from sacd_jax.training import teacher_outputs
from sacd_jax.training.loop import train_folds

EXAMPLE = "python -m sacd_jax.cache_teacher --workdir runs/demo/teacher"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.cache_teacher",
        description=__doc__,
        epilog=f"example: {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workdir", type=Path, required=True, help="folder of a finished run of task classify"
    )
    parser.add_argument(
        "--split", choices=SPLITS, action="append", help="part of the data; all by default"
    )
    parser.add_argument(
        "--folds",
        type=int,
        default=0,
        help="also what networks that did not see a clip's subject say of the training clips, for "
        "trainings with teacher_folds: the number of folds, 2 or more; they are trained if missing",
    )
    arguments = parser.parse_args(argv)
    splits, folds = arguments.split or SPLITS, arguments.folds
    if folds and (folds < 2 or "train" not in splits):
        raise UserError(f"--folds {folds}: expected 2 or more, and train among the splits")
    parallel.initialize()
    run, dataset = run_folder.read_run(arguments.workdir)
    mesh = parallel.make_mesh()
    if folds:
        train_folds(arguments.workdir, folds, dataset)
    for split, of in [*((split, 0) for split in splits), *([("train", folds)] if folds else ())]:
        source = open_split(dataset, split)
        folder, new = teacher_outputs.refresh(arguments.workdir, source, run, mesh, of)
        if jax.process_index() != 0:
            continue
        if not new:
            print(f"{folder}: kept, it belongs to this network and data", file=sys.stderr)
            continue
        for path in sorted(folder.glob("*.npy")):
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            print(f"{path}  {array.dtype} {list(array.shape)}")


if __name__ == "__main__":
    with one_line_errors():
        main()
