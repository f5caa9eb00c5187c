"""Runs a frozen teacher over the data once and stores what it says of every clip.

A training with `teacher_cache = True` reads the stored outputs in place of the teacher's own input:
the network neither computes nor takes memory, and the batch needs no EEG.
"""

import argparse
import contextlib
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from input_pipeline.command_errors import one_line_errors
from input_pipeline.errors import UserError
from input_pipeline.files import only_one, remove_unfinished
from input_pipeline.fingerprints import array_fingerprint, fingerprint
from input_pipeline.progress import Progress
from input_pipeline.source import ClipSource, open_split
from input_pipeline.splits import SPLITS
from input_pipeline.teacher_cache import read_cache, write_cache
from sacd_jax import config as configs
from sacd_jax import models, parallel
from sacd_jax.config import RunConfig
from sacd_jax.evaluate import Evaluator
from sacd_jax.models.encoder import Batch, EncoderOutput
from sacd_jax.runs import model_file, run_folder
from sacd_jax.runs.model_file import Model
from sacd_jax.tasks.create import lender, lent_teacher
from sacd_jax.tasks.distill import as_stored

EXAMPLE = "python -m sacd_jax.cache_teacher --workdir runs/demo/teacher"


def cache_folder(teacher: Path, split: str) -> Path:
    """Where the stored outputs of the network in the folder `teacher` lie."""
    return teacher / "teacher_cache" / split


def weights_fingerprint(model: Model) -> str:
    """Changes with every bit of the weights and with the network they are for."""
    arrays = flatten_dict(model.variables, sep="/")
    facts = [model.encoder, model.num_classes, model.options]
    return fingerprint([*facts, array_fingerprint(arrays)])


def _kept(output: EncoderOutput, rows: Batch) -> Mapping[str, jax.Array]:
    stored = {name: array.astype(jnp.float32) for name, array in as_stored(output).items()}
    return {**stored, "index": rows["index"], "mask": rows["mask"]}


def store(
    folder: Path, model: Model, source: ClipSource, run: RunConfig, mesh: jax.sharding.Mesh
) -> None:
    """Runs a network over a split, in eval mode, and stores its outputs.

    Args:
        folder: of the cache; it must not be there. It appears when every row is stored.
        model: the network.
        source: the split.
        run: says how many clips are read at a time.
        mesh: where the network computes.

    Raises:
        UserError: the network reads video. What it says depends on each step's crop and frames.
    """
    encoder = models.create(model.encoder, model.num_classes, **model.options)
    if "video" in encoder.input_keys:
        raise UserError(
            f"teacher {model.encoder} reads video, which is cropped anew in every step: its "
            "outputs cannot be stored; set teacher_cache to False"
        )
    variables = parallel.replicate(model.variables, mesh)
    batches = Evaluator(encoder, run, mesh, keep=_kept).batches(variables, source)
    if jax.process_index() != 0:  # others compute their share of each batch
        for _ in batches:
            pass
        return
    facts = {"data": source.fingerprint, "weights": weights_fingerprint(model)}
    with (
        write_cache(folder, rows=len(source), **facts) as cache,
        Progress(f"run teacher, {source.split}", total=len(source), unit="clip") as progress,
    ):
        for arrays in batches:
            index = arrays.pop("index")
            cache.write(index, arrays)
            progress.advance(len(index))


def outputs(
    run: RunConfig, source: ClipSource, mesh: jax.sharding.Mesh, siblings: Path
) -> dict[str, np.ndarray]:
    """The stored outputs of a run's teacher on a split; computed now if they are not there.

    Args:
        run: with a teacher.
        source: the split.
        mesh: where the teacher computes if it has to.
        siblings: folder of the experiment's runs; a teacher may be named by its run.

    Returns:
        the arrays of `tasks.distill.as_stored`, [rows of the split, …], mapped from disk.

    Raises:
        UserError: what is stored belongs to other data or other weights.
    """
    assert run.teacher is not None  # RunConfig has seen to it
    model = lent_teacher(run.teacher, siblings)
    folder = cache_folder(lender(run.teacher, siblings), source.split)
    lock = contextlib.nullcontext()
    if jax.process_count() == 1:  # runs of a sweep that share a teacher; processes of one run meet
        lock = only_one(folder.parent / ".lock", f"waiting for another run to fill {folder}")
    with lock:
        if not folder.exists():
            if jax.process_index() == 0:
                remove_unfinished(folder.parent)
            store(folder, model, source, run, mesh)
        parallel.wait_for_all("teacher cache")
    return read_cache(folder, data=source.fingerprint, weights=weights_fingerprint(model))


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
    arguments = parser.parse_args(argv)
    parallel.initialize()
    workdir = arguments.workdir
    stored = run_folder.read_config(workdir)
    run, model = configs.build(RunConfig, stored["run"]), model_file.load(workdir)
    mesh = parallel.make_mesh()
    first = jax.process_index() == 0
    for split in arguments.split or SPLITS:
        source = open_split(workdir / stored["dataset"], split)
        facts = {"data": source.fingerprint, "weights": weights_fingerprint(model)}
        folder = cache_folder(workdir, split)
        with contextlib.suppress(UserError):
            read_cache(folder, **facts)
            if first:
                print(f"{folder}: kept, it belongs to this network and data", file=sys.stderr)
            continue
        if first:
            shutil.rmtree(folder, ignore_errors=True)  # stale or broken
        parallel.wait_for_all("stale cache")
        store(folder, model, source, run, mesh)
        parallel.wait_for_all("teacher cache")
        for name, array in read_cache(folder, **facts).items() if first else ():
            print(f"{folder / name}.npy  {array.dtype} {list(array.shape)}")


if __name__ == "__main__":
    with one_line_errors():
        main()
