"""Which subjects keep their labels: whole ones, of every AHI group, the same on every machine."""

from itertools import pairwise

import numpy as np
import pytest

from input_pipeline.datasets import ClipTable
from input_pipeline.labels import labelled_rows, labelled_subjects
from input_pipeline.source import open_split

from .test_loader import loader, take

SIZES = {2.0: 19, 10.0: 19, 20.0: 13, 40.0: 13}
"""The paper's proportions among 64 subjects, by an AHI of each group."""


def table_of(sizes: dict[float, int], clips: int = 3) -> ClipTable:
    ahi = np.repeat(np.array([*sizes]), [*sizes.values()]).repeat(clips)
    subject = np.arange(sum(sizes.values())).repeat(clips)
    names = [f"s{number:02}" for number in subject]
    index = np.tile(np.arange(clips), len(names) // clips)
    return ClipTable.of_columns(names, names, index, index * 0, ahi)


TABLE = table_of(SIZES)


@pytest.mark.parametrize(
    ("fraction", "counts"),
    [(4 / 64, [1, 1, 1, 1]), (16 / 64, [5, 5, 3, 3]), (1.0, [19, 19, 13, 13]), (0.0, [0] * 4)],
)
def test_every_apnoea_group_has_its_share(fraction, counts):
    chosen = np.isin(TABLE.subject_id, labelled_subjects(TABLE, fraction, seed=1))
    np.testing.assert_array_equal([chosen[TABLE.ahi == ahi].sum() / 3 for ahi in SIZES], counts)


def test_the_choice_follows_from_the_seed_and_grows_with_the_fraction():
    chosen = [set(labelled_subjects(TABLE, count / 64, seed=0)) for count in range(65)]
    assert [len(each) for each in chosen] == [*range(65)]
    assert all(few < more for few, more in pairwise(chosen))
    assert chosen[4] == {"s15", "s25", "s49", "s59"}  # on every machine
    assert chosen[4] != set(labelled_subjects(TABLE, 4 / 64, seed=1))
    assert len(labelled_subjects(TABLE, 1e-6, seed=0)) == 1
    counts = [len(labelled_subjects(TABLE, share / 64, seed=0)) for share in (3.4, 3.6)]
    assert counts == [3, 4]  # to the nearest


@pytest.mark.parametrize("seed", range(3))
def test_groups_are_spread_evenly_over_the_order_of_subjects(seed):
    """The one of a group of its own comes in the middle of the four others."""
    table = table_of({2.0: 4, 40.0: 1})
    chosen = ["s04" in labelled_subjects(table, count / 5, seed) for count in range(6)]
    assert chosen == [False] * 3 + [True] * 3


def test_a_subject_with_unknown_apnoea_may_be_chosen():
    assert labelled_rows(table_of({np.nan: 3}), 1 / 3, seed=0).sum() == 3


def test_a_split_without_labels_of_some_still_gives_all_its_clips(small_dataset):
    source = open_split(small_dataset, "train")
    assert source.with_labels_of(1.0, 0) is source
    hidden = source.with_labels_of(0.5, seed=0)
    kept = labelled_rows(source.table, 0.5, seed=0)
    np.testing.assert_array_equal(hidden.table.stage, np.where(kept, source.table.stage, -1))
    assert 0 < kept.sum() < len(source) and hidden.fingerprint == source.fingerprint
    for unlabelled in (False, True):
        expected = (hidden.table.stage >= 0) | unlabelled
        one_pass = loader(hidden, keys=("eeg",)).train(4, seed=0, unlabelled=unlabelled)
        batches = take(one_pass, int(expected.sum()) // 4)
        rows = np.concatenate([batch["index"] for batch in batches])
        assert set(rows.tolist()) <= set(np.flatnonzero(expected).tolist())
        assert len(set(rows.tolist())) == len(rows)
        np.testing.assert_array_equal(
            np.concatenate([batch["stage"] for batch in batches]), hidden.table.stage[rows]
        )
