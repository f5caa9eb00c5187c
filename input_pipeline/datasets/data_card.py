"""The card beside a data set: what is in it, what was left out and why, and what it was made with.

`data_card.json` for programs, `data_card.md` for readers. It names nights and subjects by their ids
in the manifest and is as confidential as the tables.
"""

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.datasets.dataset_files import CARD_FILE, ClipTable, DatasetInfo, rebuild
from input_pipeline.digests import check_file, read_verified_json, write_verified_json
from input_pipeline.files import whole_file
from input_pipeline.night import Night
from input_pipeline.splits import subject_groups
from input_pipeline.stages import STAGES, UNKNOWN

TEXT_FILE = "data_card.md"
PACKAGES = ("sacd-jax", "numpy", "av", "edfio", "tensorflow-datasets", "array-record")
"""What has a hand in the clips; their versions stand in the card."""

COUNTED = (*STAGES, "unknown")
"""The columns of every count of stages."""


@dataclass(frozen=True)
class NightReport:
    """What became of one night."""

    counts: Mapping[str, int]
    """As of `clips.Clips.counts`: kept, and why others were left out."""
    notes: Sequence[str] = ()
    clock: str | None = None
    """Where the start of its video is known from."""


def make_card(
    info: DatasetInfo,
    tables: Mapping[str, ClipTable],
    nights: Sequence[Night],
    reports: Mapping[str, NightReport],
    problems: Mapping[str, str],
) -> dict[str, Any]:
    """The card as JSON has it.

    Args:
        tables: split -> its clips.
        nights: those of the data set.
        reports: night_id -> what became of it.
        problems: night_id -> why it is not in the data set.
    """
    parts = [name for name, table in tables.items() for _ in range(len(table))]
    column = {
        name: np.concatenate([getattr(table, name) for table in tables.values()])
        for name in ("subject_id", "night_id", "stage")
    }

    def counted(chosen: np.ndarray) -> dict[str, Any]:
        stages = Counter(column["stage"][chosen].tolist())
        return {
            "subjects": len(np.unique(column["subject_id"][chosen])),
            "nights": len(np.unique(column["night_id"][chosen])),
            "clips": int(chosen.sum()),
            "stages": {
                name: stages[label]
                for name, label in zip(COUNTED, (*range(len(STAGES)), UNKNOWN), strict=True)
            },
        }

    groups = subject_groups(nights)
    group_of = {subject: name for name, members in groups.items() for subject in members}
    subjects = {}
    for subject in sorted(group_of):
        chosen = column["subject_id"] == subject
        names = sorted({part for part, taken in zip(parts, chosen, strict=True) if taken})
        where = {"ahi_group": group_of[subject], "split": "+".join(names)}
        subjects[subject] = where | counted(chosen)
    lost: Counter[str] = Counter()
    for report in reports.values():
        lost.update({why: count for why, count in report.counts.items() if why != "kept"})
    return {
        "name": info.name,
        "fingerprint": info.fingerprint,
        "simulated": info.simulated,
        "split_mode": info.split_mode,
        "settings": info.settings,
        "splits": {part: counted(np.asarray(parts) == part) for part in tables},
        "ahi_groups": {
            name: counted(np.isin(column["subject_id"], members))
            for name, members in groups.items()
        },
        "subjects": subjects,
        "left_out": {"nights": dict(problems), "clips": dict(lost)},
        "clock_sources": dict(Counter(report.clock or "none" for report in reports.values())),
        "nights": {name: vars(report) for name, report in reports.items()},
        "versions": _versions(),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:  # run from a checkout that is not installed
            found[name] = "not installed"
    return found


def write_card(folder: Path, card: Mapping[str, Any]) -> None:
    """Writes both files of the card into the folder of its data set."""
    write_verified_json(folder / CARD_FILE, card)
    with whole_file(folder / TEXT_FILE) as temporary:
        temporary.write_text("\n".join(markdown(card)) + "\n", encoding="utf-8")


def read_card(folder: Path, info: DatasetInfo) -> dict[str, Any] | None:
    """The card of a data set; None for one that has none (`ucf51`).

    Raises:
        UserError: it is not the card that was written.
    """
    path = folder / CARD_FILE
    if CARD_FILE not in info.files:
        return None
    check_file(path, info.files[CARD_FILE], what="data card", mend=rebuild(folder))
    return read_verified_json(path, what="data card", mend=rebuild(folder))


def left_out(card: Mapping[str, Any]) -> str:
    """One line: how many nights and clips are not in the data set, by reason."""
    nights, clips = card["left_out"]["nights"], card["left_out"]["clips"]
    reasons = [f"{_counted(count, 'clip')} ({why})" for why, count in clips.items()]
    if nights:
        reasons.insert(0, _counted(len(nights), "night"))
    return f"left out: {', '.join(reasons) or 'nothing'}"


def summary(card: Mapping[str, Any]) -> dict[str, Any]:
    """The card without what is said of single nights and subjects: for pages that are shown."""
    keys = ("splits", "ahi_groups", "clock_sources", "versions")
    lost = card["left_out"]
    left_out = {"nights": len(lost["nights"]), "clips": lost["clips"]}
    return {key: card[key] for key in keys} | {"left_out": left_out}


def notes(card: Mapping[str, Any]) -> list[str]:
    """Everything there is to say of single nights, a line each: left out, clips left out, notes."""
    said = [f"left out: {reason}" for reason in card["left_out"]["nights"].values()]
    for name, report in card["nights"].items():
        counts = dict(report["counts"])
        kept = counts.pop("kept", 0)
        said += [
            f"note: night {name}: {_counted(count, 'clip')} left out ({why}), {kept} kept"
            for why, count in counts.items()
        ]
        said += [f"note: night {name}: {text}" for text in report["notes"]]
    return said


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def _counts(
    title: str, counts: Mapping[str, Mapping[str, Any]], extra: Sequence[str] = ()
) -> list[str]:
    header = [title, *extra, "subjects", "nights", "clips", *COUNTED]
    rows = [
        [name, *(found[key] for key in extra)]
        + [found[key] for key in ("subjects", "nights", "clips")]
        + [found["stages"][stage] for stage in COUNTED]
        for name, found in counts.items()
    ]
    return _table(header, rows)


def markdown(card: Mapping[str, Any]) -> list[str]:
    """The card for readers, line by line."""
    clips = card["settings"]["clips"]
    kind = "simulated" if card["simulated"] else "recorded"
    versions = ", ".join(f"{name} {version}" for name, version in card["versions"].items())
    reasons = [*card["left_out"]["clips"].items()]
    return [
        f"# Data card: {card['name']}-{card['fingerprint'][:12]}",
        "",
        f"30-s clips of {kind} nights: {clips['frame_rate']:g} frames a second of "
        f"{clips['height']}x{clips['width']} pixels, EEG at {clips['eeg_rate']:g} Hz. Split "
        f"{card['split_mode']}. Confidential: it names subjects and nights by their ids.",
        "",
        *_counts("split", card["splits"]),
        "",
        *_counts("AHI group", card["ahi_groups"]),
        "",
        *_counts("subject", card["subjects"], extra=("ahi_group", "split")),
        "",
        "## Left out, and what to know",
        "",
        *_table(("clips left out because of", "clips"), reasons or [("nothing", 0)]),
        "",
        *(f"- {line}" for line in notes(card) or ["nothing to say of single nights"]),
        "",
        "## Origin",
        "",
        *_table(("start of the video from", "nights"), [*card["clock_sources"].items()]),
        "",
        f"Fingerprint {card['fingerprint']}. Made with {versions}.",
    ]
