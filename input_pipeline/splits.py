"""Who is trained on, who is validated on, who is tested on: whole subjects, stratified by AHI
group.

In each AHI group, subjects are put in an order that depends on the seed and their names alone (so
that it is the same everywhere and a new subject does not shuffle the others); the first floor((1 -
test_fraction) n) are for training, the rest for test, and validation_fraction of the training
subjects become validation. Groups of three and more subjects have at least one in
each part.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import write_json
from input_pipeline.night import Night
from input_pipeline.stages import AHI_GROUPS, ahi_group

SPLITS = ("train", "validation", "test")
"""The parts of a dataset, in this order everywhere."""

MODES = ("subject", "paper_val")
"""`subject`: validation on subjects of its own. `paper_val`: validation clips are drawn from the
training subjects, as the paper's counts imply. That leaks subjects into the choice of the model, so
it is never the default and is named in every table."""

UNKNOWN_AHI = "unknown"
"""The group of subjects whose AHI is not in the manifest."""


@dataclass(frozen=True)
class SplitSettings:
    """How subjects are divided."""

    seed: int = 0
    mode: str = "subject"
    test_fraction: float = 0.2
    """Share of each group's subjects that is tested on."""
    validation_fraction: float = 0.2
    """Share of the training subjects (`paper_val`: of their clips) that is validated on."""

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise UserError(f"split.mode {self.mode!r}: expected {' or '.join(MODES)}")
        for name in ("test_fraction", "validation_fraction"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(
                    f"split.{name} {getattr(self, name)}: expected more than 0, less than 1"
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
                    place = _place(self.settings.seed, f"{night_id}/{clip_index}")
                    return "validation" if place < self.settings.validation_fraction else "train"
                return part
        raise UserError(f"subject {subject_id!r} (night {night_id}) is in no part of the split")


def _place(seed: int, name: str) -> float:
    """A number in [0, 1) for a name: the same on every machine and NumPy."""
    digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _subject_groups(nights: Sequence[Night]) -> dict[str, tuple[str, ...]]:
    """AHI group -> subjects by name; a subject with several nights counts by their mean AHI."""
    ahi: dict[str, list[float]] = {}
    for night in nights:
        ahi.setdefault(night.subject_id, []).extend([] if night.ahi is None else [night.ahi])
    groups: dict[str, list[str]] = {name: [] for name in (*AHI_GROUPS, UNKNOWN_AHI)}
    for subject in sorted(ahi):
        known = ahi[subject]
        groups[AHI_GROUPS[ahi_group(float(np.mean(known)))] if known else UNKNOWN_AHI].append(
            subject
        )
    return {name: tuple(subjects) for name, subjects in groups.items() if subjects}


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


def make_splits(
    nights: Sequence[Night],
    seed: int,
    mode: str = "subject",
    test_fraction: float = 0.2,
    validation_fraction: float = 0.2,
) -> Splits:
    """Divides the subjects of `nights`; the arguments are those of `SplitSettings`.

    Groups of one subject are trained on only, groups of two have none in validation; `notes` says
    so.

    Raises:
        UserError: a part would be empty.
    """
    settings = SplitSettings(seed, mode, test_fraction, validation_fraction)
    groups = _subject_groups(nights)
    parts: dict[str, list[str]] = {part: [] for part in SPLITS}
    notes = []
    for name, subjects in groups.items():
        order = sorted(subjects, key=lambda subject: (_place(settings.seed, subject), subject))
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
    for part, subjects in parts.items():
        if not subjects and not (part == "validation" and settings.mode == "paper_val"):
            sizes = ", ".join(f"{name} {len(subjects)}" for name, subjects in groups.items())
            raise UserError(
                f"no subject is left for {part}: found {sum(map(len, groups.values()))} subjects "
                f"({sizes}); expected at least 3 in one AHI group"
            )
    return Splits(
        settings,
        *(tuple(sorted(parts[part])) for part in SPLITS),
        groups=groups,
        notes=tuple(notes),
    )


def write_splits(path: Path, splits: Splits) -> None:
    """Writes the split as JSON."""
    write_json(path, asdict(splits))


def read_splits(path: Path) -> Splits:
    """Reads what `write_splits` wrote, or a split made by hand in the same form.

    Raises:
        UserError: no such file, not a split, or a subject in two parts.
    """
    try:
        value = json.loads(path.read_text())
        parts = [tuple(map(str, value[part])) for part in SPLITS]
        groups = {name: tuple(subjects) for name, subjects in value.get("groups", {}).items()}
        return Splits(
            SplitSettings(**value["settings"]), *parts, groups, tuple(value.get("notes", ()))
        )
    except FileNotFoundError:
        raise UserError(f"split file {path}: no such file") from None
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"split file {path}: not a split ({type(error).__name__}: {error})"
        ) from None
