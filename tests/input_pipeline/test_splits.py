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
    MODES,
    SPLITS,
    Splits,
    SplitSettings,
    read_splits,
    write_splits,
)
from input_pipeline.splits import (
    make_splits as split_by,
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


def make_splits(nights: list[Night], **settings) -> Splits:
    return split_by(nights, SplitSettings(**settings))


def sizes_of(subjects: tuple[str, ...]) -> dict[str, int]:
    return dict(Counter(subject.split("-")[0] for subject in subjects))


@pytest.mark.parametrize("mode", ["subject", "paper_val", "leave_one_subject_out"])
def test_subjects_whom_nobody_scored_are_trained_on_only(mode):
    nights = nights_of(normal=6, mild=6)
    scored = make_splits(nights, mode=mode)
    more = [Night(f"u{i}", f"u{i}", None, Path("x.edf"), scorer="nobody") for i in range(3)]
    again = Night("again", scored.test[0], None, Path("x.edf"), scorer="nobody")
    found = make_splits([*more, *nights, again], mode=mode)
    assert (found.test, found.validation) == (scored.test, scored.validation)
    assert set(found.train) == {*scored.train, "u0", "u1", "u2"}
    assert found.notes[-1] == "3 subjects without a scored night are trained on only"


def test_a_cohort_that_nobody_scored_is_refused():
    nights = [Night(f"u{i}", f"u{i}", None, Path("x.edf"), scorer="nobody") for i in range(5)]
    for mode in MODES:
        with pytest.raises(UserError, match="; expected more subjects|no night is scored"):
            split_by(nights, SplitSettings(mode=mode))


def test_how_many_are_tested_and_validated_on():
    """The rest of what is learned from; at least one subject of a group stays in each part."""
    for size, test, validation, counts in (
        (4, 0.75, 0.2, (2, 1)),
        (10, 0.2, 0.2, (2, 2)),
        (10, 0.2, 0.1, (2, 1)),
        (10, 0.5, 0.5, (5, 3)),
        (3, 0.9, 0.9, (1, 1)),
    ):
        fractions = {"test_fraction": test, "validation_fraction": validation}
        found = make_splits(nights_of(normal=size), **fractions)
        assert (len(found.test), len(found.validation)) == counts
    for size, fraction, count in ((9, 0.2, 2), (9, 0.3, 2), (9, 0.01, 1), (5, 0.9, 3)):
        options = {"mode": "leave_one_subject_out", "validation_fraction": fraction}
        assert len(make_splits(nights_of(normal=size), **options).validation) == count


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
    test, validation = fractions
    splits = make_splits(nights, seed=seed, test_fraction=test, validation_fraction=validation)
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


@pytest.mark.parametrize("mode", ["subject", "paper_val"])
def test_a_group_of_one_subject_is_learnt_from(mode):
    splits = make_splits(nights_of(normal=1, severe=5), mode=mode)
    assert "normal-0" in splits.train
    assert "normal-0" not in splits.validation + splits.test


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


WAYS = ("ahi_groups 2", "ahi_groups 1", "mode paper_val", "mode leave_one_subject_out")


@pytest.mark.parametrize(
    ("sizes", "works"),
    [
        ({"normal": 2, "mild": 2, "moderate": 2, "severe": 2}, WAYS),
        ({"normal": 2, "moderate": 2}, WAYS[1:]),
        ({"normal": 1, "mild": 1, "severe": 1}, (WAYS[1], WAYS[3])),
        ({"normal": 2}, (WAYS[2],)),
        ({"normal": 1}, ()),
    ],
)
def test_an_empty_part_is_refused_with_what_works_instead(sizes, works):
    nights = nights_of(**sizes)
    with pytest.raises(UserError, match="no subject is left for") as raised:
        make_splits(nights, seed=0)
    assert tuple(way for way in WAYS if way in str(raised.value)) == works
    for way in works:
        key, value = way.split()
        make_splits(nights, seed=0, **{key: int(value) if value.isdecimal() else value})


def test_fewer_groups_hold_the_same_subjects():
    nights = nights_of(normal=2, mild=3, moderate=2, severe=2, unknown=1)
    assert list(make_splits(nights, ahi_groups=2).groups) == [
        *("normal+mild", "moderate+severe", "unknown")
    ]
    splits = make_splits(nights, ahi_groups=1)
    assert {name: len(members) for name, members in splits.groups.items()} == {"all": 10}
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (6, 2, 2)


@given(
    sizes=st.lists(st.integers(0, 5), min_size=4, max_size=4).filter(lambda sizes: sum(sizes) > 2),
    seed=st.integers(0, 99),
    fraction=st.floats(0.01, 0.99),
)
def test_leaving_one_out_tests_everybody_once(sizes, seed, fraction):
    nights = nights_of(**dict(zip(AHI_OF_GROUP, sizes, strict=True)))
    everybody = sorted(night.subject_id for night in nights)
    common = {"seed": seed, "mode": "leave_one_subject_out", "validation_fraction": fraction}
    folds = [make_splits(nights, fold=fold, **common) for fold in range(len(everybody))]
    assert [fold.test for fold in folds] == [(subject,) for subject in everybody]
    for fold in folds:
        assert fold.train and fold.validation
        assert sorted([*fold.train, *fold.validation, *fold.test]) == everybody
    with pytest.raises(UserError, match=f"fold {len(everybody)}: expected 0 to"):
        make_splits(nights, fold=len(everybody), **common)


def test_a_subject_in_two_parts_is_refused(tmp_path):
    with pytest.raises(UserError, match="'a' is in train and in test, a leak"):
        Splits(SplitSettings(), ("a", "b"), ("c",), ("a",), {})
    splits = make_splits(nights_of(normal=5), seed=0)
    write_splits(tmp_path / "splits.json", splits)
    assert read_splits(tmp_path / "splits.json") == splits
    value = json.loads((tmp_path / "splits.json").read_text())
    value["validation"] = value["train"]
    del value["digest"]  # as somebody does who changes it on purpose
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


GOOD = {"settings": {}, "train": ["a"], "validation": ["b"], "test": ["c"]}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("{", "not a JSON object"),
        ([], "not a JSON object"),
        (None, "no such file"),
        ('{"train": ["M\xfcller"]}'.encode("latin-1"), "line 1: not text in UTF-8"),
        ({"train": []}, "no key 'settings'"),
        (GOOD | {"train": {"a": 1}}, "train is no list"),
        (GOOD | {"train": [["a"]]}, "train, entry 0"),
        (GOOD | {"train": ["x", "Erika Mustermann"]}, r"train, entry 1: no subject_id .16 char"),
        (GOOD | {"groups": []}, "must be objects"),
        (GOOD | {"Erika": 1}, "unknown keys"),
        (GOOD | {"settings": {"Erika": 1}}, "unknown settings"),
        (GOOD | {"settings": {"mode": "Erika"}}, "split.mode: expected subject or"),
        (GOOD | {"settings": {"test_fraction": "Erika"}}, "of another type"),
    ],
)
def test_a_bad_split_file_says_so_and_shows_no_name(tmp_path, content, match):
    path = tmp_path / "splits.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UserError, match=match) as raised:
        read_splits(path)
    assert "Erika" not in str(raised.value) and "\n" not in str(raised.value)


def test_a_split_that_was_changed_after_writing_is_refused(tmp_path):
    write_splits(tmp_path / "splits.json", make_splits(nights_of(normal=5), seed=0))
    text = (tmp_path / "splits.json").read_text()
    (tmp_path / "splits.json").write_text(text.replace("normal-3", "normal-9"))
    with pytest.raises(UserError, match=r"split file .* was changed .*without a digest"):
        read_splits(tmp_path / "splits.json")


@pytest.mark.parametrize(
    "wrong",
    [
        {"mode": "random"},
        {"test_fraction": 1.0},
        {"validation_fraction": 0},
        {"ahi_groups": 3},
        {"fold": -1, "mode": "leave_one_subject_out"},
        {"fold": 1},
    ],
)
def test_bad_settings_are_refused(wrong):
    with pytest.raises(UserError, match="expected"):
        SplitSettings(**wrong)


def test_an_unknown_subject_is_named():
    splits = make_splits(nights_of(normal=5), seed=0)
    with pytest.raises(UserError, match=r"'stranger' \(night n1\)"):
        splits.part_of("stranger", "n1", 0)
