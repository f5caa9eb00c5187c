"""Whose labels a training may use: those of all subjects, or of a share of them."""

from collections import defaultdict

import numpy as np
from jaxtyping import Bool

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.splits import place
from input_pipeline.stages import ahi_group


def labelled_subjects(table: ClipTable, fraction: float, seed: int) -> tuple[str, ...]:
    """The subjects that keep their labels, from every AHI group in its proportion.

    Those of a smaller fraction are among those of a larger one with the same seed, on every
    machine. A subject with several nights counts by their mean AHI; those without form a group.

    Args:
        table: of the split.
        fraction: share of its subjects, 0 to 1; rounded to a whole number of subjects, but no
            fraction above 0 leaves none.
        seed: of the choice.
    """
    nights: dict[str, dict[str, float]] = defaultdict(dict)
    for subject, night, ahi in zip(table.subject_id, table.night_id, table.ahi, strict=True):
        nights[str(subject)][str(night)] = float(ahi)
    groups: dict[int, list[str]] = defaultdict(list)
    for subject, ahis in nights.items():
        known = [ahi for ahi in ahis.values() if not np.isnan(ahi)]
        groups[ahi_group(float(np.mean(known))) if known else -1].append(subject)
    queue = []
    for subjects in groups.values():
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
