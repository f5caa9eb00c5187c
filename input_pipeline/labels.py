"""Whose labels a training may use: those of all subjects, or of a share of them."""

import numpy as np
from jaxtyping import Bool

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.splits import place
from input_pipeline.subject_folds import subjects_by_ahi


def labelled_subjects(table: ClipTable, fraction: float, seed: int) -> tuple[str, ...]:
    """The subjects that keep their labels, from every AHI group in its proportion.

    Those of a smaller fraction are among those of a larger one with the same seed, on every
    machine.

    Args:
        table: of the split.
        fraction: share of its subjects, 0 to 1; rounded to a whole number of subjects, but no
            fraction above 0 leaves none.
        seed: of the choice.
    """
    queue = []
    for subjects in subjects_by_ahi(table):
        drawn = sorted(subjects, key=lambda subject: place(seed, f"labels/{subject}"))
        # Every group is spread evenly over the queue, so that any beginning of it is stratified.
        queue += [
            ((rank + 0.5) / len(drawn), place(seed, f"labels/{subject}"), subject)
            for rank, subject in enumerate(drawn)
        ]
    count = int(fraction * len(queue) + 0.5)
    if fraction > 0:
        count = max(count, min(1, len(queue)))
    return tuple(sorted(subject for *_, subject in sorted(queue)[:count]))


def labelled_rows(table: ClipTable, fraction: float, seed: int) -> Bool[np.ndarray, " clips"]:
    """Which rows belong to one of the `labelled_subjects`."""
    return np.isin(table.subject_id, labelled_subjects(table, fraction, seed))
