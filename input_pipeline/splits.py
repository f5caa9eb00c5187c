"""Who is trained on, who is validated on, who is tested on: whole subjects, stratified by AHI
group.

In each AHI group, subjects are put in an order that depends on the seed and their names alone (so
that it is the same everywhere and a new subject does not shuffle the others); the first floor((1 -
test_fraction) n) are for training, the rest for test, and validation_fraction of the training
subjects become validation. Groups of three and more subjects have at least one in each part.

Cohorts too small for that have three other ways: fewer AHI groups, `paper_val`, and
`leave_one_subject_out`, in which every subject is tested on once.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.errors import UserError
from input_pipeline.foreign_text import describe
from input_pipeline.night import Night, is_name
from input_pipeline.stages import AHI_GROUPS, ahi_group

SPLITS = ("train", "validation", "test")
"""The parts of a dataset, in this order everywhere."""

LEAVE_ONE_OUT = "leave_one_subject_out"

MODES = ("subject", "paper_val", LEAVE_ONE_OUT)
"""`subject`: validation on subjects of its own. `paper_val`: validation clips are drawn from the
training subjects, as the paper's counts imply. That leaks subjects into the choice of the model, so
it is never the default and is named in every table. `leave_one_subject_out`: one subject is tested
on, the one at position `fold` in the order of the names; `sacd_jax.cross_validate` runs all
folds."""

UNKNOWN_AHI = "unknown"
"""The group of subjects whose AHI is not in the manifest."""

AHI_GROUPINGS = {
    4: tuple((name,) for name in AHI_GROUPS),
    2: (AHI_GROUPS[:2], AHI_GROUPS[2:]),
    1: ((*AHI_GROUPS, UNKNOWN_AHI),),
}
"""How many AHI groups are split each by itself -> what each of them holds."""


@dataclass(frozen=True)
class SplitSettings:
    """How subjects are divided."""

    seed: int = 0
    mode: str = "subject"
    test_fraction: float = 0.2
    """Share of each group's subjects that is tested on."""
    validation_fraction: float = 0.2
    """Share of the training subjects (`paper_val`: of their clips) that is validated on."""
    ahi_groups: int = 4
    """Groups by AHI that are split each by itself: 4 (normal, mild, moderate, severe), 2 (AHI below
    15 and from 15 on) or 1 (all subjects together)."""
    fold: int = 0
    """`leave_one_subject_out`: position of the test subject in the order of the names."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"split.mode: expected {' or '.join(MODES)}")
        for name in ("test_fraction", "validation_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(
                    f"split.{name} {getattr(self, name)}: expected more than 0, less than 1"
                )
        if self.ahi_groups not in AHI_GROUPINGS:
            expected = ", ".join(map(str, AHI_GROUPINGS))
            raise UserError(f"split.ahi_groups {self.ahi_groups}: expected one of {expected}")
        if self.fold < 0 or (self.fold and self.mode != LEAVE_ONE_OUT):
            raise UserError(
                f"split.fold {self.fold}: expected 0, or with {LEAVE_ONE_OUT} the number of a "
                "subject from 0 on"
            )


@dataclass(frozen=True)
class Splits:
    """The subjects of each part, in groups. With `paper_val` there are no validation subjects."""

    settings: SplitSettings
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    groups: dict[str, tuple[str, ...]]
    """AHI group -> its subjects."""
    notes: tuple[str, ...] = ()
    """What could not be done as the rule says, for the user to read."""

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for part in SPLITS:
            for subject in getattr(self, part):
                if subject in seen:
                    raise UserError(
                        f"subject {subject!r} is in {seen[subject]} and in {part}, a leak; "
                        "expected one part a subject"
                    )
                seen[subject] = part

    def part_of(self, subject_id: str, night_id: str, clip_index: int) -> str:
        """The part that a clip belongs to.

        Raises:
            UserError: the split does not know the subject.
        """
        for part in SPLITS:
            if subject_id in getattr(self, part):
                if part == "train" and self.settings.mode == "paper_val":
                    drawn = place(self.settings.seed, f"{night_id}/{clip_index}")
                    return "validation" if drawn < self.settings.validation_fraction else "train"
                return part
        raise UserError(f"subject {subject_id!r} (night {night_id}) is in no part of the split")


def place(seed: int, name: str) -> float:
    """A number in [0, 1) for a name: the same on every machine and NumPy."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def subject_groups(nights: Sequence[Night], number: int = 4) -> dict[str, tuple[str, ...]]:
    """AHI group -> subjects by name; a subject with several nights counts by their mean AHI.

    Args:
        number: of groups, a key of `AHI_GROUPINGS`.
    """
    ahi: dict[str, list[float]] = {}
    for night in nights:
        ahi.setdefault(night.subject_id, []).extend([] if night.ahi is None else [night.ahi])
    groups: dict[str, list[str]] = {name: [] for name in (*AHI_GROUPS, UNKNOWN_AHI)}
    for subject in sorted(ahi):
        known = ahi[subject]
        groups[AHI_GROUPS[ahi_group(float(np.mean(known)))] if known else UNKNOWN_AHI].append(
            subject
        )
    merged = {"+".join(names): names for names in AHI_GROUPINGS[number]}
    if number == 1:
        merged = {"all": merged.popitem()[1]}
    else:
        merged[UNKNOWN_AHI] = (UNKNOWN_AHI,)
    found = {
        name: tuple(sorted(subject for each in names for subject in groups[each]))
        for name, names in merged.items()
    }
    return {name: subjects for name, subjects in found.items() if subjects}


def _counts(subjects: int, settings: SplitSettings) -> tuple[int, int]:
    """How many of a group's subjects are for test and for validation."""
    if subjects == 1:
        return 0, 0
    learn = math.floor((1 - settings.test_fraction) * subjects + 1e-9)  # 0.8 * 5 is 4
    needed = 1 if settings.mode == "paper_val" or subjects == 2 else 2
    learn = min(max(learn, needed), subjects - 1)
    if needed == 1:
        return subjects - learn, 0
    validation = math.floor(settings.validation_fraction * learn + 0.5)
    return subjects - learn, min(max(validation, 1), learn - 1)


def make_splits(nights: Sequence[Night], settings: SplitSettings) -> Splits:
    """Divides the subjects of `nights`.

    Groups of one subject and subjects without a scored night are trained on only, groups of two
    have none in validation; `notes` says so.

    Raises:
        UserError: a part would be empty; the line says which other settings would do.
    """
    try:
        return _make(nights, settings)
    except _EmptyPartError as error:
        ways = []
        for changes in _OTHER_WAYS:
            try:
                _make(nights, replace(settings, fold=0, **changes))
            except _EmptyPartError:
                continue
            ways += [f"{key} {value}" for key, value in changes.items()]
        works = (
            f"what works: {', '.join(ways)} (build's --ahi-groups and --split-mode, or "
            "dataset.split in a config)"
        )
        raise UserError(f"{error}; {works if ways else 'expected more subjects'}") from None


_OTHER_WAYS: tuple[Mapping[str, Any], ...] = (
    {"ahi_groups": 2},
    {"ahi_groups": 1},
    {"mode": "paper_val"},
    {"mode": LEAVE_ONE_OUT},
)


class _EmptyPartError(Exception):
    """Nobody is left for a part."""


def _make(nights: Sequence[Night], settings: SplitSettings) -> Splits:
    measurable = {night.subject_id for night in nights if night.scored}
    groups = subject_groups(
        [night for night in nights if night.subject_id in measurable], settings.ahi_groups
    )
    if settings.mode == LEAVE_ONE_OUT:
        parts, notes = _leave_one_out(groups, settings), []
    else:
        parts, notes = _by_fractions(groups, settings)
    for part, subjects in parts.items():
        if not subjects and not (part == "validation" and settings.mode == "paper_val"):
            sizes = ", ".join(f"{name} {len(members)}" for name, members in groups.items())
            raise _EmptyPartError(
                f"no subject is left for {part} among {sum(map(len, groups.values()))} ({sizes}); "
                "a group needs 3 to be in all three parts"
            )
    unscored = {night.subject_id for night in nights} - measurable
    if unscored:
        parts["train"] += unscored
        notes.append(f"{len(unscored)} subjects without a scored night are trained on only")
    return Splits(
        settings,
        *(tuple(sorted(parts[part])) for part in SPLITS),
        groups=groups,
        notes=tuple(notes),
    )


def _in_order(subjects: Sequence[str], seed: int) -> list[str]:
    return sorted(subjects, key=lambda subject: (place(seed, subject), subject))


def _by_fractions(
    groups: Mapping[str, Sequence[str]], settings: SplitSettings
) -> tuple[dict[str, list[str]], list[str]]:
    """The parts, each group divided by itself, and what there is to say."""
    parts: dict[str, list[str]] = {part: [] for part in SPLITS}
    notes = []
    for name, subjects in groups.items():
        order = _in_order(subjects, settings.seed)
        test, validation = _counts(len(order), settings)
        train = len(order) - test - validation
        parts["train"] += order[:train]
        parts["validation"] += order[train : train + validation]
        parts["test"] += order[train + validation :]
        if name == UNKNOWN_AHI:
            notes.append(f"{len(order)} subjects without an AHI are split as a group of their own")
        if len(order) < 3:
            notes.append(
                f"AHI group {name} has {len(order)} of the 3 subjects that all three parts need"
            )
    return parts, notes


def _leave_one_out(
    groups: Mapping[str, Sequence[str]], settings: SplitSettings
) -> dict[str, list[str]]:
    """One subject for test; of the others, `validation_fraction` of each group for validation, and
    at least one subject.

    Raises:
        UserError: there is no such fold.
    """
    everybody = sorted(subject for subjects in groups.values() for subject in subjects)
    if not everybody:
        raise _EmptyPartError("no night is scored: there is nobody to test on")
    if settings.fold >= len(everybody):
        raise UserError(
            f"split.fold {settings.fold}: expected 0 to {len(everybody) - 1}, a fold for each of "
            f"{len(everybody)} subjects"
        )
    tested = everybody[settings.fold]
    parts: dict[str, list[str]] = {"train": [], "validation": [], "test": [tested]}
    others = [
        _in_order([each for each in subjects if each != tested], settings.seed)
        for subjects in groups.values()
    ]
    for order in others:
        count = math.floor(settings.validation_fraction * len(order) + 0.5)
        count = min(count, len(order) - 1)
        parts["validation"] += order[len(order) - count :] if count > 0 else []
        parts["train"] += order[: len(order) - max(count, 0)]
    if not parts["validation"] and len(parts["train"]) > 1:
        taken = max(others, key=len)[-1]
        parts["train"].remove(taken)
        parts["validation"].append(taken)
    return parts


def write_splits(path: Path, splits: Splits) -> None:
    """Writes the split as JSON, with a digest."""
    write_verified_json(path, asdict(splits))


def read_splits(path: Path) -> Splits:
    """Reads what `write_splits` wrote, or a split made by hand in the same form.

    By hand, `settings`, the three parts (lists of subjects) and no digest are enough.

    Raises:
        UserError: no such file, not a split, changed after it was written, or a subject in two
            parts.
    """
    mend = "expected splits.json of a data set, or one made by hand in its form without a digest"
    value = read_verified_json(path, what="split file", mend=mend, by_hand=True)

    def wrong(what: str) -> UserError:
        return UserError(f"split file {path}: not a split, {what}; {mend}")

    def subjects(found: Any, where: str) -> tuple[str, ...]:
        if not isinstance(found, list):
            raise wrong(f"{where} is no list")
        for position, name in enumerate(found):
            if not (isinstance(name, str) and is_name(name)):
                raise wrong(f"{where}, entry {position}: no subject_id ({describe(str(name))})")
        return tuple(found)

    for key in ("settings", *SPLITS):
        if key not in value:
            raise wrong(f"no key {key!r}")
    if not value.keys() <= {each.name for each in fields(Splits)}:
        raise wrong("unknown keys")
    groups = value.get("groups", {})
    if not (isinstance(groups, dict) and isinstance(value["settings"], dict)):
        raise wrong("settings and groups must be objects")
    try:
        settings = SplitSettings(**value["settings"])
    except TypeError:
        raise wrong("unknown settings, or of another type") from None
    return Splits(
        settings,
        *(subjects(value[part], part) for part in SPLITS),
        {name: subjects(members, "groups") for name, members in groups.items()},
        tuple(map(str, value.get("notes", ()))),
    )
