"""Negative controls of a distillation: which clip's teacher outputs each clip is joined with.

If a student gains as much from a teacher that speaks of another clip, the gain is not what the
teacher knows of this one. Every control is fixed for a run, so that the student could learn it by
heart as it could the truth, and no clip keeps its own outputs where there is any other choice.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int, Shaped

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.errors import UserError

Rows = Int[np.ndarray, " clips"]


def control_rows(table: ClipTable, control: str, seed: int) -> Rows:
    """The row whose teacher outputs each row is joined with.

    Args:
        table: of the split.
        control: a key of `CONTROLS`.
        seed: of what is drawn; the same rows on every machine.

    Raises:
        UserError: the control needs several subjects, and there is one.
    """
    return CONTROLS[control](table, np.random.default_rng(seed))


def shifted(table: ClipTable, by: int) -> Rows:
    """The clip `by` places later in an unbroken piece of a night; its end takes its beginning.

    Pieces of `by` clips or fewer are joined with one another and shifted as one; a clip that is
    alone even then goes with the last long piece.
    """
    pieces = table.runs()
    long = [piece for piece in pieces if len(piece) > by]
    short = [piece for piece in pieces if len(piece) <= by]
    if short:
        rest = np.concatenate(short)
        alone = len(rest) == 1 and long
        long[-1:] = [np.concatenate([long[-1], rest])] if alone else [*long[-1:], rest]
    rows = np.arange(len(table))
    for piece in long:
        rows[piece] = np.roll(piece, -by if len(piece) > by else -1)
    return rows


def shuffled_within(groups: Shaped[np.ndarray, " clips"], rng: np.random.Generator) -> Rows:
    """A random other clip of the same group; each clip is taken once."""
    rows = np.arange(len(groups))
    for name in np.unique(groups):
        drawn = rng.permutation(np.flatnonzero(groups == name))
        rows[drawn] = np.roll(drawn, -1)  # one cycle through all of them: none meets itself
    return rows


def shuffled_across(groups: Shaped[np.ndarray, " clips"], rng: np.random.Generator) -> Rows:
    """A random clip of another group; each clip is taken once.

    Clips stay with their own group only where it holds more than half of all.
    """
    rows = rng.permutation(len(groups))
    for row in range(len(rows)):
        if groups[rows[row]] == groups[row]:
            # A place that may have this row's clip, and whose clip this row may have.
            may = (groups != groups[row]) & (groups[rows] != groups[row])
            if may.any():
                other = rng.choice(np.flatnonzero(may))
                rows[[row, other]] = rows[[other, row]]
    return rows


def other_night(table: ClipTable, rng: np.random.Generator) -> Rows:
    """The clip at the same place in a night of another subject, which goes round if it is shorter.

    Subjects are put in a random ring, and each takes the nights of the next.
    """
    subjects = rng.permutation(np.unique(table.subject_id))
    rows = np.arange(len(table))
    nights = {
        subject: [
            np.flatnonzero((table.subject_id == subject) & (table.night_id == night))
            for night in np.unique(table.night_id[table.subject_id == subject])
        ]
        for subject in subjects
    }
    for subject, other in zip(subjects, np.roll(subjects, -1), strict=True):
        theirs = nights[other]
        for number, night in enumerate(nights[subject]):
            taken = theirs[number % len(theirs)]
            rows[night] = taken[np.arange(len(night)) % len(taken)]
    return rows


def _several_subjects(table: ClipTable) -> ClipTable:
    if len(np.unique(table.subject_id)) < 2:
        raise UserError("teacher_control: the training clips are of one subject, expected several")
    return table


CONTROLS: dict[str, Callable[[ClipTable, np.random.Generator], Rows]] = {
    "none": lambda table, _: np.arange(len(table)),
    "shift_1": lambda table, _: shifted(table, 1),
    "shift_10": lambda table, _: shifted(table, 10),
    "shuffled_within_subject": lambda table, rng: shuffled_within(table.subject_id, rng),
    "shuffled_across_subjects": lambda table, rng: shuffled_across(
        _several_subjects(table).subject_id, rng
    ),
    "other_night": lambda table, rng: other_night(_several_subjects(table), rng),
}
"""Name of a control -> what it does; `none` is the truth."""
