"""The labels of S3VE as its authors hand it out: which clips there are, and the stage of each.

Either the annotations of SPIresearch/SACD (JSON: `labels`, whose order is the class number of a
network trained with it, and `database`), or the lists they are made from (`classInd.txt`,
`trainlist01.txt`, `testlist01.txt`). The order differs from file to file (W, N1, N2, N3, R, or by
the alphabet): it is read, never assumed, and a clip's stage comes from its label's name.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from input_pipeline.errors import UserError
from input_pipeline.files import read_text
from input_pipeline.foreign_text import describe

STAGE_OF = {"W": 0, "N1": 1, "N2": 2, "N3": 3, "R": 4, "REM": 4}
"""Label, and folder name, -> stage as in `stages.STAGES`."""

CLASSES, TRAIN, TEST = "classInd.txt", "trainlist01.txt", "testlist01.txt"

_CLIP = re.compile(r"([A-Za-z0-9]{8})_(\d{1,4})_([A-Z0-9]{1,3})")
_MOST_BYTES = 1 << 28


@dataclass(frozen=True)
class LabelledClip:
    """One clip as the labels name it: `<night, 8 characters>_<position>_<label>`."""

    clip_id: str
    night_id: str
    clip_index: int
    label: str
    frames: int | None
    """How many the annotations count; None: they do not say."""


@dataclass(frozen=True)
class Labels:
    """All clips, and the order of the classes in the file."""

    classes: tuple[str, ...]
    clips: tuple[LabelledClip, ...]


def read_labels(files: Sequence[Path]) -> Labels:
    """Reads the one label file among `files`: annotations in JSON, or the lists.

    Raises:
        UserError: there is none or more than one, or what is wrong with it.
    """
    annotations = [path for path in files if path.suffix == ".json"]
    lists = {path.name: path for path in files if path.suffix == ".txt"}
    if len(annotations) == 1:
        return _of_json(annotations[0])
    if not annotations and CLASSES in lists and {TRAIN, TEST} & lists.keys():
        return _of_lists(lists)
    raise UserError(
        f"release: {len(annotations)} label files in JSON; expected one, with labels and database, "
        f"or {CLASSES} with {TRAIN} and {TEST}"
    )


def parse_clip_id(text: str) -> tuple[str, int, str] | None:
    """Night, position and label of a clip's name; None if it is none."""
    found = _CLIP.fullmatch(text)
    return (found[1], int(found[2]), found[3]) if found else None


def _of_json(path: Path) -> Labels:
    what = "release: the label file"  # its name is not shown, as that of no file from outside
    try:
        value = json.loads(read_text(path, what, _MOST_BYTES))
    except (ValueError, RecursionError):
        raise UserError(f"{what}: no JSON; expected labels and database") from None
    if not isinstance(value, Mapping):
        raise UserError(f"{what}: expected an object with labels and database")
    classes = _classes(value.get("labels"), f"{what}: labels")
    database = value.get("database")
    if not isinstance(database, Mapping) or not database:
        raise UserError(f"{what}: no database; expected one with an entry a clip")
    clips = []
    for number, (clip_id, entry) in enumerate(database.items(), start=1):
        where = f"{what}: entry {number}"
        annotation = entry.get("annotations") if isinstance(entry, Mapping) else None
        if not isinstance(annotation, Mapping):
            raise UserError(f"{where}: no annotations; expected a label and a segment")
        segment = annotation.get("segment")
        if not (
            isinstance(segment, list)
            and len(segment) == 2
            and all(isinstance(end, int) for end in segment)
            and segment[0] == 1 <= segment[1] <= 1_000_000
        ):
            raise UserError(f"{where}: expected a segment [1, number of frames + 1]")
        clips.append(_clip(clip_id, annotation.get("label"), classes, segment[1] - 1, where))
    return _labels(classes, clips, what)


def _of_lists(lists: Mapping[str, Path]) -> Labels:
    what = f"release: {CLASSES}"
    numbered = [line.split() for line in _lines(lists[CLASSES], what)]
    if any(len(row) != 2 or row[0] != str(place + 1) for place, row in enumerate(numbered)):
        raise UserError(f"{what}: expected lines of a number, from 1 on, and a label")
    classes = _classes([row[1] for row in numbered], what)
    clips = []
    for name in (TRAIN, TEST):
        for number, line in enumerate(_lines(lists[name], name) if name in lists else [], 1):
            where = f"release: {name}: line {number}"
            path, _, class_number = line.partition(" ")
            label, _, file_name = path.partition("/")
            clip = _clip(file_name.partition(".")[0], label, classes, None, where)
            if class_number and class_number.strip() != str(classes.index(label) + 1):
                raise UserError(f"{where}: class number and label differ by {CLASSES}")
            clips.append(clip)
    return _labels(classes, clips, what)


def _lines(path: Path, what: str) -> list[str]:
    return [line for line in read_text(path, what, _MOST_BYTES).splitlines() if line.strip()]


def _classes(value: Any, what: str) -> tuple[str, ...]:
    known = ", ".join(STAGE_OF)
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise UserError(f"{what}: expected a list of names")
    stages = [STAGE_OF.get(name) for name in value]
    if sorted(stage for stage in stages if stage is not None) != list(range(5)) or None in stages:
        raise UserError(f"{what}: {len(value)} names; expected each stage once, of {known}")
    return tuple(value)


def _clip(
    clip_id: str, label: Any, classes: tuple[str, ...], frames: int | None, where: str
) -> LabelledClip:
    parsed = parse_clip_id(clip_id)
    if parsed is None:
        raise UserError(
            f"{where}: a clip's name of {describe(clip_id)}; expected NIGHT_POSITION_LABEL, the "
            "night of 8 characters"
        )
    if not isinstance(label, str) or label not in classes:
        raise UserError(f"{where}: expected a label of {', '.join(classes)}")
    night_id, clip_index, named = parsed
    if STAGE_OF.get(named) != STAGE_OF[label]:
        raise UserError(f"{where}: the clip's name says another stage than its label {label}")
    return LabelledClip(clip_id, night_id, clip_index, label, frames)


def _labels(classes: tuple[str, ...], clips: list[LabelledClip], what: str) -> Labels:
    places = {(clip.night_id, clip.clip_index) for clip in clips}
    if len(places) != len(clips):
        raise UserError(f"{what}: {len(clips) - len(places)} clips of a place that another has")
    if not clips:
        raise UserError(f"{what}: no clips")
    return Labels(classes, tuple(sorted(clips, key=lambda c: (c.night_id, c.clip_index))))
