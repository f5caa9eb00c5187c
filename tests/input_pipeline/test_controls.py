"""Negative controls: what moves, what stays, and that none is the truth."""

import typing

import numpy as np
import pytest

from input_pipeline.controls import CONTROLS, control_rows, shifted
from input_pipeline.datasets import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from sacd_jax.config import Control

from .test_loader import loader, take


def table_of(*nights: tuple[str, list[int]]) -> ClipTable:
    """Nights, each of a subject, by the positions of their clips."""
    names = [f"n{number}" for number, (_, index) in enumerate(nights) for _ in index]
    subjects = [subject for subject, index in nights for _ in index]
    index = np.concatenate([index for _, index in nights])
    return ClipTable.of_columns(names, subjects, index, index * 0, index * 0.0)


PIECES = [[*range(30)], [*range(5), *range(9, 40)], [3], [*range(12)]]
TABLE = table_of(*zip("abac", PIECES, strict=True))


@pytest.mark.parametrize("control", [name for name in CONTROLS if name != "none"])
def test_no_clip_keeps_its_own_and_the_seed_says_all(control):
    rows = control_rows(TABLE, control, seed=1)
    assert not (rows == np.arange(len(TABLE))).any()
    np.testing.assert_array_equal(rows, control_rows(TABLE, control, seed=1))
    if control != "other_night":
        assert sorted(rows) == [*range(len(TABLE))]  # each is taken once
    if control.startswith("shuffled") or control == "other_night":
        assert any((rows != control_rows(TABLE, control, seed)).any() for seed in range(2, 9))
    same = TABLE.subject_id[rows] == TABLE.subject_id
    assert same.all() if control.endswith("within_subject") else True
    assert not same.any() if control in ("shuffled_across_subjects", "other_night") else True


def test_shifts_stay_in_unbroken_nights_that_are_long_enough():
    for by, control in ((1, "shift_1"), (10, "shift_10")):
        rows = control_rows(TABLE, control, 0)
        piece = np.arange(35, 66)  # n1 behind its gap
        np.testing.assert_array_equal(rows[piece[:-by]], piece[by:])
        np.testing.assert_array_equal(rows[piece[-by:]], piece[:by])
    short = [*range(30, 35), 66]  # before the gap, and the night of one clip
    assert sorted(rows[short]) == short


@pytest.mark.parametrize(
    ("nights", "by", "rows"),
    [
        ((4, 1), 1, [1, 2, 3, 4, 0]),  # alone: goes with the long one
        ((5, 2, 1), 2, [2, 3, 4, 0, 1, 7, 5, 6]),  # the short ones, as one, are long enough
        ((5, 2, 1), 3, [3, 4, 0, 1, 2, 6, 7, 5]),
        ((2, 2), 4, [1, 2, 3, 0]),
    ],
)
def test_shifts_by_hand(nights, by, rows):
    table = table_of(*((name, [*range(count)]) for name, count in zip("abc", nights, strict=False)))
    assert shifted(table, by).tolist() == rows


def test_what_is_drawn_stays_what_it_is():
    """A run that goes on, on another machine or with another NumPy, is joined with the same."""
    table = table_of(("a", [0, 1, 2]), ("b", [0, 1]), ("c", [0, 1, 2, 3]))
    for control, rows in (
        ("shuffled_within_subject", [2, 0, 1, 4, 3, 8, 5, 6, 7]),
        ("shuffled_across_subjects", [7, 6, 5, 8, 0, 4, 2, 3, 1]),
        ("other_night", [5, 6, 7, 0, 1, 3, 4, 3, 4]),
    ):
        assert control_rows(table, control, seed=3).tolist() == rows


def test_another_night_keeps_its_order_and_goes_round():
    table = table_of(("a", [*range(5)]), ("b", [*range(3)]), ("a", [7, 8]))
    np.testing.assert_array_equal(
        control_rows(table, "other_night", 0), [5, 6, 7, 5, 6, 0, 1, 2, 5, 6]
    )
    alone = table_of(("a", [*range(5)]))
    for control in ("other_night", "shuffled_across_subjects"):
        with pytest.raises(UserError, match="the training clips are of one subject, expected sev"):
            control_rows(alone, control, 0)


def test_names_are_those_of_the_config():
    assert typing.get_args(Control) == tuple(CONTROLS)
    np.testing.assert_array_equal(control_rows(TABLE, "none", 0), np.arange(len(TABLE)))


def test_controls_move_the_teachers_side_alone(small_dataset):
    source = open_split(small_dataset, "train")
    own = np.arange(len(source))
    extra = {"teacher_logits": own * 10.0, "domain": own}
    rows = control_rows(source.table, "shuffled_across_subjects", 0)
    read = [
        take(loader(source, keys=("eeg",), extra=extra, extra_rows=moved).train(8, seed=0), 3)
        for moved in ({}, {"teacher_logits": rows})
    ]
    for plain, controlled in zip(*read, strict=True):
        np.testing.assert_array_equal(controlled["teacher_logits"], rows[plain["index"]] * 10.0)
        for name in plain.keys() - {"teacher_logits"}:
            np.testing.assert_array_equal(plain[name], controlled[name])
