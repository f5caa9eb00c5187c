"""Parts of the subjects: nearly equal, every AHI group in each, the same on every machine."""

import numpy as np
import pytest

from input_pipeline.datasets import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from input_pipeline.subject_folds import fold_of_rows, subject_folds, subjects_by_ahi

from .test_labels import SIZES, TABLE, table_of
from .test_loader import loader, take


@pytest.mark.parametrize("folds", [2, 4, 5])
def test_parts_have_one_size_and_their_share_of_every_apnoea_group(folds):
    fold = fold_of_rows(TABLE, folds, seed=3)
    for rows in (np.ones(len(TABLE), bool), *(TABLE.ahi == ahi for ahi in SIZES)):
        sizes = np.bincount(fold[rows], minlength=folds) / 3
        assert sizes.max() - sizes.min() <= 1
    assert fold_of_rows(table_of({2.0: 3}), 3, 0).dtype == np.int32


def test_a_subject_counts_by_the_mean_of_its_known_nights():
    """Two nights, of which the sum is the next group's; one of two unknown; none known."""
    ahis = [3.0, 4.0, 20.0, np.nan, np.nan, 10.0]
    nights, subjects = [f"n{k}" for k in range(6)], ["a", "a", "b", "b", "c", "d"]
    table = ClipTable.of_columns(nights, subjects, np.zeros(6), np.zeros(6), np.array(ahis))
    assert subjects_by_ahi(table) == [["c"], ["a"], ["d"], ["b"]]


def test_parts_follow_from_the_seed():
    chosen = subject_folds(TABLE, 8, seed=0)
    first = {each for each in chosen if chosen[each] == 0}
    assert first == {"s05", "s06", "s11", "s20", "s27", "s45", "s47", "s51"}  # on every machine
    assert chosen != subject_folds(TABLE, 8, seed=1)
    with pytest.raises(UserError, match="65 folds of 64 training subjects, expected 64 at most"):
        subject_folds(TABLE, 65, seed=0)


def test_a_split_without_subjects_holds_none_of_their_clips(small_dataset):
    source = open_split(small_dataset, "train")
    assert source.without_subjects(["nobody"]) is source
    subjects = np.unique(source.table.subject_id)
    left = source.without_subjects(subjects[:1]).without_subjects(subjects[1:2])
    rows = np.flatnonzero(~np.isin(source.table.subject_id, subjects[:2]))
    assert left.fingerprint == source.without_subjects(subjects[:2]).fingerprint
    assert left.fingerprint != source.fingerprint
    batches = take(loader(left, keys=("eeg",)).evaluate(len(rows)), 1)
    np.testing.assert_array_equal(batches[0]["eeg"], [source[int(row)]["eeg"] for row in rows])
    np.testing.assert_array_equal(batches[0]["stage"], source.table.stage[rows])
    np.testing.assert_array_equal(batches[0]["index"], np.arange(len(rows)))
