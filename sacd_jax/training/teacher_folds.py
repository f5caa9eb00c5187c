"""Teachers that did not see the subjects they speak of: one for each fold of the training subjects.

On clips that a teacher was trained on its outputs are nearly the labels, and little is left to
distil. With `teacher_folds = K` a student learns of each training clip what one of K networks says
that was trained as the teacher was, but without the subjects of the clip's fold. Clips of
validation and test subjects keep the teacher's own outputs: no teacher saw them, nothing is trained
on them, and a mean of K networks would be another teacher, most often a better one, than the one in
the tables.

Networks that were trained apart do not share a space of vectors. Each is turned (a rotation or
reflection, so that cosines and distances among its clips stay) to lie as close as it can on the
whole teacher's vectors of the clips that both were trained on; logits stay as they are.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.subject_folds import subject_folds
from sacd_jax.config import EncoderConfig, RunConfig
from sacd_jax.runs import run_folder
from sacd_jax.runs.lending import run_or_folder
from sacd_jax.runs.run_folder import RunFolder

Arrays = Mapping[str, np.ndarray]

NOT_TURNED = ("teacher_logits",)
"""Arrays of `tasks.distill.as_stored` that mean the same in every network."""


def left_out(run: RunConfig, table: ClipTable) -> tuple[str, ...]:
    """The subjects that a run with `without_fold` does without; none of another run.

    Args:
        run: any run.
        table: of the train split.
    """
    if not run.without_fold:
        return ()
    fold, folds, seed = run.without_fold
    of = subject_folds(table, folds, seed)
    return tuple(sorted(subject for subject in of if of[subject] == fold))


def seed_of(teacher: Path) -> int:
    """The seed of a teacher's folds: its own, so that all its students share them."""
    return run_folder.read_run(teacher)[0].seed


def trainings(teacher: Path, folds: int, dataset: Path) -> dict[Path, RunConfig]:
    """Folder -> training of the network of each fold, after those that lend it weights.

    Args:
        teacher: folder of its run; the others lie beside it.
        folds: number of folds.
        dataset: that the student learns from.

    Raises:
        UserError: the teacher was not trained by `classify` on these data, or it began with the
            weights of a network of other data.
    """
    seed, found = seed_of(teacher), dict[Path, RunConfig]()

    def add(folder: Path, fold: int) -> None:
        recipe, data = run_folder.read_run(folder)
        if data.resolve() != dataset.resolve():
            raise UserError(
                f"teacher_folds: {folder.name} was trained on another data set, which may hold the "
                "same subjects; expected the one of the run"
            )
        if recipe.task != "classify":
            raise UserError(
                f"teacher_folds: {folder.name} is a run of task {recipe.task!r}, which learned "
                "from a teacher itself; expected 'classify'"
            )

        def without(origin: str) -> str:
            """The lender in the same fold, if it is a run; converted weights serve all folds."""
            lends = run_or_folder(origin, folder.parent)
            if RunFolder(lends.parent).config.exists():
                raise UserError(
                    f"teacher_folds: {folder.name} began with a file within a run; expected the "
                    "folder of that run, to train it without a fold as well"
                )
            if not RunFolder(lends).config.exists():
                return origin
            add(lends, fold)
            return str(Path(origin).with_name(RunFolder(lends).without_fold(fold, folds).path.name))

        student = recipe.student
        student = EncoderConfig(
            student.name,
            student.options,
            without(student.pretrained) if student.pretrained else "",
            {part: without(origin) for part, origin in student.parts.items()},
        )
        training = dataclasses.replace(recipe, student=student, without_fold=(fold, folds, seed))
        found[RunFolder(folder).without_fold(fold, folds).path] = training

    for fold in range(folds):
        add(teacher, fold)
    return found


def out_of_fold(
    batches: Iterable[Arrays], held_out: Bool[np.ndarray, " rows"], whole: Arrays
) -> tuple[Int[np.ndarray, " held_out"], dict[str, np.ndarray]]:
    """What one network says of the clips it was not trained on, turned towards the whole teacher.

    Args:
        batches: its outputs on the split in any order, with the row of each as `index`.
        held_out: rows whose subjects it did not see.
        whole: the whole teacher's outputs over the rows of the split, of the same shapes.

    Returns:
        Rows, and the arrays of these rows.
    """
    kept: list[dict[str, np.ndarray]] = []
    products: dict[str, np.ndarray] = {}
    for batch in batches:
        out = held_out[batch["index"]]
        kept.append({name: values[out] for name, values in batch.items()})
        seen = batch["index"][~out]
        for name in batch.keys() - {"index", *NOT_TURNED}:
            own = batch[name][~out].astype(np.float64)
            product = own.T @ np.asarray(whole[name][seen], np.float64)
            products[name] = products.get(name, 0.0) + product
    arrays = {name: np.concatenate([part[name] for part in kept]) for name in kept[0]}
    index = arrays.pop("index")
    for name, product in products.items():
        turned = arrays[name].astype(np.float64) @ rotation(product)
        arrays[name] = turned.astype(arrays[name].dtype)
    return index, arrays


def rotation(product: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"]:
    """The orthogonal R with the least ||A R - B||, from A^T B (Schönemann 1966)."""
    # In float32: inner vectors of AttnSleep have 2,400 numbers, and this takes seconds then.
    left, _, right = np.linalg.svd(product.astype(np.float32))
    return left.astype(np.float64) @ right
