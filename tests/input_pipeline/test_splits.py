"""Splits: whole subjects, every AHI group in every part, the same everywhere."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.night import Night
from input_pipeline.splits import (
    SPLITS,
    Splits,
    SplitSettings,
    make_splits,
    read_splits,
    write_splits,
)

AHI_OF_GROUP = {"normal": 4.9, "mild": 5.0, "moderate": 30.0, "severe": 30.1}


def nights_of(**sizes: int) -> list[Night]:
    """One night for each subject of groups of these sizes."""
    return [
        Night(
            f"{group}-{i}-night", f"{group}-{i}", None, Path("x.edf"), ahi=AHI_OF_GROUP.get(group)
        )
        for group, size in sizes.items()
        for i in range(size)
    ]


def sizes_of(subjects: tuple[str, ...]) -> dict[str, int]:
    return dict(Counter(subject.split("-")[0] for subject in subjects))


def test_the_papers_subjects_give_the_registers_numbers():
    nights = nights_of(normal=30, mild=30, moderate=20, severe=25)
    splits = make_splits(nights, seed=0)
    assert sizes_of(splits.test) == {"normal": 6, "mild": 6, "moderate": 4, "severe": 5}
    assert sizes_of(splits.validation) == {"normal": 5, "mild": 5, "moderate": 3, "severe": 4}
    assert sizes_of(splits.train) == {"normal": 19, "mild": 19, "moderate": 13, "severe": 16}
    assert splits.notes == ()


def test_the_demos_24_subjects_give_2_of_each_group_to_test():
    nights = nights_of(normal=6, mild=6, moderate=6, severe=6)
    splits = make_splits(nights, seed=0, test_fraction=1 / 3, validation_fraction=1 / 3)
    assert set(sizes_of(splits.test).values()) == {2}
    assert set(sizes_of(splits.validation).values()) == {1}
    assert set(sizes_of(splits.train).values()) == {3}


@given(
    sizes=st.lists(st.integers(0, 9), min_size=4, max_size=4).filter(lambda sizes: max(sizes) >= 3),
    seed=st.integers(0, 2**31),
    fractions=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)),
)
def test_every_subject_once_and_every_group_of_three_everywhere(sizes, seed, fractions):
    nights = nights_of(**dict(zip(AHI_OF_GROUP, sizes, strict=True)))
    splits = make_splits(nights, seed, "subject", *fractions)
    everybody = [*splits.train, *splits.validation, *splits.test]
    assert sorted(everybody) == sorted(night.subject_id for night in nights)
    for group, size in zip(AHI_OF_GROUP, sizes, strict=True):
        for part in SPLITS:
            if size >= 3:
                assert sizes_of(getattr(splits, part))[group] >= 1
        assert any(group in note for note in splits.notes) == (size in (1, 2))


def test_the_order_of_the_manifest_does_not_matter_and_the_seed_does():
    nights = nights_of(normal=10, severe=10)
    assert make_splits(nights, seed=1) == make_splits(nights[::-1], seed=1)
    assert make_splits(nights, seed=1).test != make_splits(nights, seed=2).test


def test_a_known_split_stays_what_it_is():
    # A new NumPy or machine must not move subjects from test into train.
    assert make_splits(nights_of(normal=10), seed=0).test == ("normal-3", "normal-5")


def test_all_nights_of_a_subject_are_in_one_part_and_count_by_their_mean_ahi():
    nights = nights_of(normal=5)
    extra = [Night(f"again-{i}", "normal-0", None, Path("x.edf"), ahi=100.0) for i in range(3)]
    splits = make_splits([*nights, *extra], seed=0)
    assert splits.groups["severe"] == ("normal-0",)  # (4.9 + 300) / 4 events an hour
    parts = {splits.part_of("normal-0", night.night_id, 3) for night in (nights[0], *extra)}
    assert len(parts) == 1


def test_subjects_without_ahi_are_a_group_and_are_spoken_of():
    splits = make_splits(nights_of(unknown=5, mild=5), seed=0)
    assert sizes_of(splits.test) == {"unknown": 1, "mild": 1}
    assert any("without an AHI" in note for note in splits.notes)


@pytest.mark.parametrize(
    "sizes", [{"normal": 2}, {"normal": 1, "mild": 1}, {"normal": 2, "mild": 2}]
)
def test_an_empty_part_is_refused(sizes):
    with pytest.raises(UserError, match="no subject is left for"):
        make_splits(nights_of(**sizes), seed=0)


def test_a_subject_in_two_parts_is_refused(tmp_path):
    with pytest.raises(UserError, match="'a' is in train and in test, a leak"):
        Splits(SplitSettings(), ("a", "b"), ("c",), ("a",), {})
    splits = make_splits(nights_of(normal=5), seed=0)
    write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json") == splits
    value = json.loads((tmp_path / "splits.json").read_text())
    value["validation"] = value["train"]
    (tmp_path / "splits.json").write_text(json.dumps(value))
    with pytest.raises(UserError, match="leak"):
        read_splits(tmp_path / "splits.json")


def test_paper_val_leaks_clips_of_training_subjects_only_when_named():
    nights = nights_of(normal=10)
    splits = make_splits(nights, seed=0, mode="paper_val")
    assert splits.validation == () and len(splits.train) == 8
    train, test = splits.train[0], splits.test[0]
    parts = Counter(splits.part_of(train, "night", index) for index in range(2000))
    assert parts["train"] + parts["validation"] == 2000 and 340 < parts["validation"] < 460
    assert {splits.part_of(test, "night", index) for index in range(50)} == {"test"}
    subject_wise = make_splits(nights, seed=0)
    for index in range(50):
        assert subject_wise.part_of(subject_wise.train[0], "night", index) == "train"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{", "not a split"),
        ("[]", "not a split"),
        ('{"train": []}', "not a split"),
        (None, "no such file"),
    ],
)
def test_a_bad_split_file_says_so(tmp_path, text, match):
    if text is not None:
        (tmp_path / "splits.json").write_text(text)
    with pytest.raises(UserError, match=match):
        read_splits(tmp_path / "splits.json")


@pytest.mark.parametrize(
    "wrong", [{"mode": "random"}, {"test_fraction": 1.0}, {"validation_fraction": 0}]
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(UserError, match="expected"):
        SplitSettings(**wrong)


def test_an_unknown_subject_is_named():
    splits = make_splits(nights_of(normal=5), seed=0)
    with pytest.raises(UserError, match=r"'stranger' \(night n1\)"):
        splits.part_of("stranger", "n1", 0)
