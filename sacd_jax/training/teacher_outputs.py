"""What a frozen teacher says of every clip of a split: computed once, stored, read back.

A training with `teacher_cache = True` reads the stored outputs in place of the teacher's own input:
the network neither computes nor takes memory, and the batch needs no EEG.
"""

import contextlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from input_pipeline.errors import UserError
from input_pipeline.files import only_one, remove_unfinished
from input_pipeline.fingerprints import fingerprint
from input_pipeline.progress import Progress
from input_pipeline.source import ClipSource
from input_pipeline.subject_folds import fold_of_rows
from input_pipeline.teacher_cache import read_cache, write_cache
from sacd_jax import models, parallel
from sacd_jax.config import RunConfig
from sacd_jax.models.encoder import Batch, EncoderOutput
from sacd_jax.runs import model_file
from sacd_jax.runs.lending import lender, lent_teacher
from sacd_jax.runs.model_file import Model
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.tasks.distill import as_stored
from sacd_jax.training import teacher_folds
from sacd_jax.training.evaluator import Evaluator

FOLD = "teacher_fold"
"""Name of the stored array that says which fold's network spoke of each clip, int32."""


def outputs(
    run: RunConfig, source: ClipSource, mesh: jax.sharding.Mesh, siblings: Path
) -> dict[str, np.ndarray] | None:
    """The stored outputs of a run's teacher on a split; computed now if they are missing.

    Args:
        run: any run. The networks of its `teacher_folds` are trained already.
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
    lent_teacher(run.teacher, siblings, source.info)  # it is the network that the config names
    folds = run.teacher_folds if source.split == "train" else 0
    stored = _stored(_cache(lender(run.teacher, siblings), source, run, mesh, folds))
    stored.pop(FOLD, None)  # no method reads it
    return stored


def identity(run: RunConfig, source: ClipSource, siblings: Path) -> str | None:
    """Fingerprint of the networks that a run begins to learn from: its teacher, those of its folds.

    Args:
        run: any run. The networks of its `teacher_folds` are trained already.
        source: its train split.
        siblings: folder of the experiment's runs.

    Returns:
        None for a run without a teacher.

    Raises:
        UserError: one of them is missing, or another network than the config names.
    """
    if run.teacher is None:
        return None
    place = RunFolder(lender(run.teacher, siblings))
    teacher = lent_teacher(run.teacher, siblings, source.info)
    return _weights(teacher, *_of_folds(place, run.teacher_folds))


def refresh(
    teacher: Path, source: ClipSource, run: RunConfig, mesh: jax.sharding.Mesh, folds: int = 0
) -> tuple[Path, bool]:
    """Stores a network's outputs unless they are there; replaces those of other data or weights.

    Args:
        teacher: folder of its run.
        source: the split.
        run: says how many clips are read at a time.
        mesh: where the network computes.
        folds: stores those of so many networks of folds; the whole teacher's must be there.

    Returns:
        the folder of the cache, and whether they were computed now.

    Raises:
        UserError: the network reads video, see `store`.
    """
    cache = _cache(teacher, source, run, mesh, folds)
    with contextlib.suppress(UserError):
        read_cache(cache.folder, **cache.identity)
        return cache.folder, False
    if jax.process_index() == 0:
        shutil.rmtree(cache.folder, ignore_errors=True)  # of other weights or data, or broken
    parallel.wait_for_all("stale cache")
    cache.fill()
    parallel.wait_for_all("teacher cache")
    return cache.folder, True


@dataclass(frozen=True)
class _Cache:
    """Where outputs lie, what they were computed from, and how they are computed."""

    folder: Path
    identity: Mapping[str, str]
    fill: Callable[[], None]


def _cache(
    teacher: Path, source: ClipSource, run: RunConfig, mesh: jax.sharding.Mesh, folds: int = 0
) -> _Cache:
    model, place = model_file.load(teacher), RunFolder(teacher)
    if not folds:
        folder = place.teacher_cache(source.split)
        fill = partial(store, folder, model, source, run, mesh)
        return _Cache(folder, _identity(source, model), fill)
    whole = _stored(_cache(teacher, source, run, mesh))
    of_rows = fold_of_rows(source.table, folds, teacher_folds.seed_of(teacher))
    networks = _of_folds(place, folds)
    identity = {"data": source.fingerprint, "weights": _weights(model, *networks)}
    folder = place.teacher_cache(source.split, folds)
    fill = partial(
        _store_out_of_fold, folder, networks, of_rows, whole, source, run, mesh, identity
    )
    return _Cache(folder, identity, fill)


def _stored(cache: _Cache) -> dict[str, np.ndarray]:
    folder = cache.folder
    lock = contextlib.nullcontext()
    if jax.process_count() == 1:  # runs of a sweep that share a teacher; processes of one run meet
        lock = only_one(folder.parent / ".lock", f"waiting for another run to fill {folder}")
    with lock:
        if not folder.exists():
            if jax.process_index() == 0:
                remove_unfinished(folder.parent)
            cache.fill()
        parallel.wait_for_all("teacher cache")
    return read_cache(folder, **cache.identity)


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
    batches = _batches(model, source, run, mesh)
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


def _store_out_of_fold(
    folder: Path,
    networks: Sequence[Model],
    of_rows: Int[np.ndarray, " clips"],
    whole: Mapping[str, np.ndarray],
    source: ClipSource,
    run: RunConfig,
    mesh: jax.sharding.Mesh,
    identity: Mapping[str, str],
) -> None:
    """Stores what each row's own network says of it, and the number of that network as `FOLD`."""
    passes = [_batches(model, source, run, mesh) for model in networks]
    if jax.process_index() != 0:
        for _ in itertools.chain.from_iterable(passes):
            pass
        return
    total = len(networks) * len(source)
    with (
        write_cache(folder, rows=len(source), **identity) as cache,
        Progress("run teachers of folds", total=total, unit="clip") as progress,
    ):
        for fold, batches in enumerate(passes):
            index, arrays = teacher_folds.out_of_fold(batches, of_rows == fold, whole)
            cache.write(index, {**arrays, FOLD: of_rows[index]})
            progress.advance(len(source))


def _batches(
    model: Model, source: ClipSource, run: RunConfig, mesh: jax.sharding.Mesh
) -> Iterator[dict[str, np.ndarray]]:
    """What a network says of a split, by batches; see `store` for what is refused."""
    encoder = models.create(model.encoder, model.num_classes, **model.options)
    if "video" in encoder.input_keys:
        raise UserError(
            f"teacher {model.encoder} reads video, which is cropped anew in every step: its "
            "outputs cannot be stored; set teacher_cache to False"
        )
    variables = parallel.replicate(model.variables, mesh)
    return Evaluator(encoder, run, mesh, keep=_kept).batches(variables, source)


def _identity(source: ClipSource, model: Model) -> dict[str, str]:
    """Fingerprints of the data, and of the network."""
    return {"data": source.fingerprint, "weights": _weights(model)}


def _weights(model: Model, *of_folds: Model) -> str:
    """Fingerprint of a teacher and of its networks of folds."""
    every = [model_file.identity(each) for each in (model, *of_folds)]
    return fingerprint(every) if of_folds else every[0]


def _of_folds(teacher: RunFolder, folds: int) -> list[Model]:
    return [model_file.load(teacher.without_fold(fold, folds).path) for fold in range(folds)]


def _kept(output: EncoderOutput, rows: Batch) -> Mapping[str, jax.Array]:
    stored = {name: array.astype(jnp.float32) for name, array in as_stored(output).items()}
    return {**stored, "index": rows["index"], "mask": rows["mask"]}
