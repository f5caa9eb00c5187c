"""What a frozen teacher says of every clip of a split: computed once, stored, read back.

A training with `teacher_cache = True` reads the stored outputs in place of the teacher's own input:
the network neither computes nor takes memory, and the batch needs no EEG.
"""

import contextlib
import shutil
from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from input_pipeline.errors import UserError
from input_pipeline.files import only_one, remove_unfinished
from input_pipeline.fingerprints import array_fingerprint, fingerprint
from input_pipeline.progress import Progress
from input_pipeline.source import ClipSource
from input_pipeline.teacher_cache import read_cache, write_cache
from sacd_jax import models, parallel
from sacd_jax.config import RunConfig
from sacd_jax.models.encoder import Batch, EncoderOutput
from sacd_jax.runs.lending import lender, lent_teacher
from sacd_jax.runs.model_file import Model
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.tasks.distill import as_stored
from sacd_jax.training.evaluator import Evaluator


def outputs(
    run: RunConfig, source: ClipSource, mesh: jax.sharding.Mesh, siblings: Path
) -> dict[str, np.ndarray] | None:
    """The stored outputs of a run's teacher on a split; computed now if they are missing.

    Args:
        run: any run.
        source: the split.
        mesh: where the teacher computes if it has to.
        siblings: folder of the experiment's runs; a teacher may be named by its run.

    Returns:
        the arrays of `tasks.distill.as_stored`, [rows of the split, …], mapped from disk; None for
        a run that does without (`teacher_cache` False).

    Raises:
        UserError: what is stored belongs to other data or other weights.
    """
    if not run.teacher_cache:
        return None
    assert run.teacher is not None  # RunConfig has seen to it
    model = lent_teacher(run.teacher, siblings)
    folder = RunFolder(lender(run.teacher, siblings)).teacher_cache(source.split)
    lock = contextlib.nullcontext()
    if jax.process_count() == 1:  # runs of a sweep that share a teacher; processes of one run meet
        lock = only_one(folder.parent / ".lock", f"waiting for another run to fill {folder}")
    with lock:
        if not folder.exists():
            if jax.process_index() == 0:
                remove_unfinished(folder.parent)
            store(folder, model, source, run, mesh)
        parallel.wait_for_all("teacher cache")
    return read_cache(folder, **_identity(source, model))


def refresh(
    folder: Path, model: Model, source: ClipSource, run: RunConfig, mesh: jax.sharding.Mesh
) -> bool:
    """Stores a network's outputs unless they are there; replaces those of other data or weights.

    Args:
        folder: of the cache.
        model: the network.
        source: the split.
        run: says how many clips are read at a time.
        mesh: where the network computes.

    Returns:
        whether they were computed now.

    Raises:
        UserError: the network reads video, see `store`.
    """
    with contextlib.suppress(UserError):
        read_cache(folder, **_identity(source, model))
        return False
    if jax.process_index() == 0:
        shutil.rmtree(folder, ignore_errors=True)  # of another network or other data, or broken
    parallel.wait_for_all("stale cache")
    store(folder, model, source, run, mesh)
    parallel.wait_for_all("teacher cache")
    return True


def store(
    folder: Path, model: Model, source: ClipSource, run: RunConfig, mesh: jax.sharding.Mesh
) -> None:
    """Runs a network over a split, in eval mode, and stores its outputs.

    Args:
        folder: of the cache; it must not exist. It appears when every row is stored.
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
    with (
        write_cache(folder, rows=len(source), **_identity(source, model)) as cache,
        Progress(f"run teacher, {source.split}", total=len(source), unit="clip") as progress,
    ):
        for arrays in batches:
            index = arrays.pop("index")
            cache.write(index, arrays)
            progress.advance(len(index))


def _identity(source: ClipSource, model: Model) -> dict[str, str]:
    """Fingerprints of the data, and of the network with every bit of its weights."""
    arrays = flatten_dict(model.variables, sep="/")
    facts = [model.encoder, model.num_classes, model.options]
    weights = fingerprint([*facts, array_fingerprint(arrays)])
    return {"data": source.fingerprint, "weights": weights}


def _kept(output: EncoderOutput, rows: Batch) -> Mapping[str, jax.Array]:
    stored = {name: array.astype(jnp.float32) for name, array in as_stored(output).items()}
    return {**stored, "index": rows["index"], "mask": rows["mask"]}
