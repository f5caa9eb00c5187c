"""What lies in the folder of a built dataset beside the TFDS shards, and how it is read."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt64

from input_pipeline.clip_arrays import INPUTS, input_forms
from input_pipeline.datasets.frame_files import sums_path
from input_pipeline.digests import (
    check_file,
    file_digest,
    read_verified_json,
    write_verified_json,
)
from input_pipeline.errors import UserError
from input_pipeline.files import write_csv
from input_pipeline.fingerprints import fingerprint
from input_pipeline.stages import STAGES

INFO_FILE = "dataset.json"
SPLITS_FILE = "splits.json"
CARD_FILE = "data_card.json"
SHARE_FILE = "share.json"
"""In a copy that holds the frames of some training clips alone (`input_pipeline.copy_share`)."""


def rebuild(folder: Path) -> str:
    """What to do about a damaged data set."""
    return (
        f"delete the folder {folder} and copy it again, or build it "
        "(`python -m input_pipeline.build`, or the training that built it)"
    )


@dataclass(frozen=True)
class ClipTable:
    """Who and what each clip of a split is: row i describes record i of the split."""

    night_id: Shaped[np.ndarray, " clips"]
    subject_id: Shaped[np.ndarray, " clips"]
    clip_index: Int[np.ndarray, " clips"]
    """Position in the night; a jump means that clips are missing between."""
    stage: Int[np.ndarray, " clips"]
    """Label in the order of `stages.STAGES`; -1 where nobody scored."""
    ahi: Float[np.ndarray, " clips"]
    """Apnoea-hypopnoea index of the night, events an hour; NaN where it is not known."""
    age: Float[np.ndarray, " clips"]
    """Years; NaN where it is not known, as in data sets of earlier versions."""
    sex: Shaped[np.ndarray, " clips"]
    """`M`, `F` or "" where it is not known."""
    frames: Int[np.ndarray, " clips"] | None = None
    """Frames stored of each clip; None where all have `DatasetInfo.frames`."""

    @classmethod
    def of_columns(
        cls,
        night_id: Any,
        subject_id: Any,
        clip_index: Any,
        stage: Any,
        ahi: Any,
        frames: Any = None,
        age: Any = None,
        sex: Any = None,
    ) -> "ClipTable":
        """A table from any sequences, with the dtypes that the rest relies on."""
        return cls(
            np.asarray(night_id, dtype=np.str_),
            np.asarray(subject_id, dtype=np.str_),
            np.asarray(clip_index, dtype=np.int32),
            np.asarray(stage, dtype=np.int32),
            np.asarray(ahi, dtype=np.float32),
            np.asarray(np.full(len(stage), np.nan) if age is None else age, dtype=np.float32),
            np.asarray([""] * len(stage) if sex is None else sex, dtype=np.str_),
            None if frames is None else np.asarray(frames, dtype=np.int32),
        )

    def __len__(self) -> int:
        return len(self.stage)

    def runs(self) -> list[Int[np.ndarray, " clips"]]:
        """Rows of each unbroken piece of a night, in order: never across nights or missing
        clips."""
        broken = (self.night_id[1:] != self.night_id[:-1]) | (np.diff(self.clip_index) != 1)
        return [
            run for run in np.split(np.arange(len(self)), np.flatnonzero(broken) + 1) if len(run)
        ]

    def part(self, first: int, end: int) -> "ClipTable":
        """The rows from `first` to before `end`."""
        columns = {name: column for name, column in vars(self).items() if column is not None}
        return ClipTable(**{name: column[first:end] for name, column in columns.items()})

    def write(self, path: Path) -> None:
        """Writes the table as CSV."""
        columns = {name: column for name, column in vars(self).items() if column is not None}
        for name in ("ahi", "age"):
            columns[name] = ["" if np.isnan(value) else f"{value:g}" for value in columns[name]]
        for name in ("age", "sex"):
            if not any(columns[name]):
                del columns[name]
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        write_csv(path, list(columns), rows)

    @classmethod
    def read(cls, path: Path) -> "ClipTable":
        """Reads what `write` wrote; `read_table` checks first that it is still that."""
        with open(path, newline="") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
        columns = {name: [row[name] for row in rows] for name in reader.fieldnames or ()}
        for name in {"ahi", "age"} & set(columns):
            columns[name] = [float(value or "nan") for value in columns[name]]
        return cls.of_columns(**columns)


@dataclass(frozen=True)
class DatasetInfo:
    """What all clips of a dataset have in common; `dataset.json` in its folder."""

    name: str
    fingerprint: str
    """Hash of settings, nights and split: equal for the same data wherever it lies."""
    simulated: bool
    split_mode: str
    """`subject`, or `paper_val`: then validation clips come from training subjects, and every table
    says so. Of `ucf51`: `ucf51.SPLIT_MODE`."""
    frame_rate: float
    frames: int
    """Stored of each clip; 0 where their number differs (`ClipTable.frames`)."""
    height: int
    width: int
    channels: int
    eeg_rate: float
    samples: int
    counts: dict[str, dict[str, Any]]
    """Split -> numbers of subjects, nights, clips, and clips of each stage."""
    classes: tuple[str, ...] = STAGES
    """Names of the labels in their order."""
    audio_dim: int = 0
    """Length of the audio embedding; 0 where there is none (as `samples` and `height`)."""
    shared_splits: dict[str, str] = field(default_factory=dict)
    """Split -> the split whose clips it is made of."""
    settings: dict[str, Any] = field(default_factory=dict)
    """What was asked for (`settings.identity`); empty for `ucf51`."""
    frame_storage: str = "records"
    """See `DatasetSettings`."""
    files: dict[str, str] = field(default_factory=dict)
    """Name of a file beside the shards -> its digest."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))  # JSON gives a list

    @property
    def inputs(self) -> tuple[str, ...]:
        """What a clip holds for networks to read."""
        return tuple(input_forms(self))

    def clip_settings(self, keys: Sequence[str]) -> dict[str, Any]:
        """How clips were made, as far as it matters to a network that reads `keys`; a filter that
        is off is not mentioned."""
        asked = self.settings.get("clips", {})
        names = [name for key in keys if key in INPUTS for name in INPUTS[key].settings]
        values = {name: asked.get(name, getattr(self, name, None)) for name in names}
        return {name: value for name, value in values.items() if value is not None}

    def split_fingerprint(self, split: str, left_out: Sequence[str] = ()) -> str:
        """Of the clips of a split, without those of some subjects; not of the place."""
        facts: list[Any] = [self.fingerprint, split]
        return fingerprint([*facts, tuple(left_out)] if left_out else facts)

    def write(self, folder: Path) -> None:
        """Writes `dataset.json`, with the digests of the tables, checksums, split and card
        that are there."""
        tables = (*folder.glob("*.csv"), *folder.glob("*.npy"))
        beside = [*tables, folder / SPLITS_FILE, folder / CARD_FILE]
        files = {path.name: file_digest(path) for path in sorted(beside) if path.exists()}
        write_verified_json(folder / INFO_FILE, asdict(replace(self, files=files)))


def table_path(folder: Path, split: str) -> Path:
    """Where the table of a split lies."""
    return folder / f"{split}.csv"


def read_info(folder: Path) -> DatasetInfo:
    """Reads `dataset.json`.

    Raises:
        UserError: there is no finished dataset in `folder`, or the file is damaged.
    """
    path = folder / INFO_FILE
    if not path.is_file():
        raise UserError(
            f"{folder}: no {INFO_FILE}; expected the folder of a built dataset "
            "(see `python -m input_pipeline.build --help`)"
        )
    value = read_verified_json(path, what="dataset description", mend=rebuild(folder))
    try:
        return DatasetInfo(**value)
    except TypeError:
        raise UserError(
            f"dataset description {path}: of another version; {rebuild(folder)}"
        ) from None


def read_table(folder: Path, info: DatasetInfo, split: str) -> ClipTable:
    """Reads the table of a split that has clips of its own.

    Raises:
        UserError: it is not the table that was written.
    """
    path = table_path(folder, split)
    check_file(path, info.files.get(path.name), what="table", mend=rebuild(folder))
    return ClipTable.read(path)


def read_sums(folder: Path, info: DatasetInfo, split: str) -> UInt64[np.ndarray, "clips frames"]:
    """Reads the checksums of a split's frames.

    Raises:
        UserError: they are not what was written.
    """
    path = sums_path(folder, split)
    check_file(path, info.files.get(path.name), what="checksums", mend=rebuild(folder))
    return np.load(path, allow_pickle=False)


def read_share(folder: Path, clips: int) -> range:
    """The rows of the training split whose frames are there; all `clips` but in a partial copy.

    Raises:
        UserError: the file that says so is damaged.
    """
    path = folder / SHARE_FILE
    if not path.exists():
        return range(clips)
    mend = f"delete the folder {folder} and copy it again (`python -m input_pipeline.copy_share`)"
    match read_verified_json(path, what="share", mend=mend):
        case {"rows": [int(first), int(end)]} if 0 <= first <= end <= clips:
            return range(first, end)
    raise UserError(f"share {path}: expected the first row and the one behind the last; {mend}")
