"""The subjects of a split in parts of nearly one size, each with its share of every AHI group."""

from collections import defaultdict

import numpy as np
from jaxtyping import Int

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.splits import place
from input_pipeline.stages import ahi_group


def subjects_by_ahi(table: ClipTable) -> list[list[str]]:
    """The subjects of each AHI group, by name.

    A subject with several nights counts by their mean AHI; those without form a group.
    """
    nights: dict[str, dict[str, float]] = defaultdict(dict)
    for subject, night, ahi in zip(table.subject_id, table.night_id, table.ahi, strict=True):
        nights[str(subject)][str(night)] = float(ahi)
    groups: dict[int, list[str]] = defaultdict(list)
    for subject, ahis in sorted(nights.items()):
        known = [ahi for ahi in ahis.values() if not np.isnan(ahi)]
        groups[ahi_group(float(np.mean(known))) if known else -1].append(subject)
    return [subjects for _, subjects in sorted(groups.items())]


def subject_folds(table: ClipTable, folds: int, seed: int) -> dict[str, int]:
    """Subject -> its fold, 0 to `folds` - 1; the same on every machine.

    Sizes of folds, and their numbers of subjects of one AHI group, differ by 1 at most.

    Args:
        table: of the split.
        folds: number of parts.
        seed: of the order in which the subjects of a group are dealt out.

    Raises:
        UserError: there are fewer subjects than folds.
    """
    dealt = [
        subject
        for subjects in subjects_by_ahi(table)
        for subject in sorted(subjects, key=lambda each: (place(seed, f"folds/{each}"), each))
    ]
    if len(dealt) < folds:
        raise UserError(
            f"{folds} folds of {len(dealt)} training subjects, expected {len(dealt)} at most"
        )
    return {subject: position % folds for position, subject in enumerate(dealt)}


def fold_of_rows(table: ClipTable, folds: int, seed: int) -> Int[np.ndarray, " clips"]:
    """The fold of each row's subject, int32; see `subject_folds`."""
    fold = subject_folds(table, folds, seed)
    return np.array([fold[str(subject)] for subject in table.subject_id], np.int32)
