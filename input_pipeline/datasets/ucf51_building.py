"""From UCF101's videos and the archive of embeddings to TFDS shards: one record a video."""

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds
from jaxtyping import UInt8

from input_pipeline.clip_arrays import Form
from input_pipeline.datasets import jpeg
from input_pipeline.datasets.dataset_files import ClipTable, DatasetInfo, table_path
from input_pipeline.datasets.shards import (
    PlainWriter,
    Records,
    clip_features,
    in_shards,
    write_shards,
)
from input_pipeline.datasets.ucf51 import (
    EMBEDDING,
    SPLIT_MODE,
    Ucf51Settings,
    Video,
    class_names,
    description,
    read_archive,
    with_paths,
)
from input_pipeline.errors import UserError
from input_pipeline.files import remove_unfinished, whole_file, whole_folder
from input_pipeline.fingerprints import fingerprint
from input_pipeline.processes import parallel_map
from input_pipeline.progress import Progress
from input_pipeline.readers.video import VideoReader

if TYPE_CHECKING:
    from av import VideoFrame

VERSION = "1.0.0"
"""Of the stored form; part of every fingerprint, so a change builds anew."""

FRAME_RATE = 25.0
"""Of most of UCF101 (some have 29.97); frames are stored as they come, none is left out."""


@dataclass(frozen=True)
class Plan:
    """What is to be built."""

    settings: Ucf51Settings
    videos: list[Video]
    digest: str


def plan(settings: Ucf51Settings) -> Plan:
    """Reads the archive and finds the videos.

    Raises:
        UserError: what is wrong with them.
    """
    videos = read_archive(settings.embeddings)
    if settings.videos is not None:
        videos = with_paths(videos, settings.videos)
    return Plan(settings, videos, fingerprint([VERSION, description(settings, videos)]))


def build(plan: Plan, folder: Path, jobs: int | None = None) -> None:
    """Builds the dataset in `folder`; videos that an earlier attempt converted are kept.

    Raises:
        UserError: a video that cannot be used; each is printed.
    """
    settings, store = plan.settings, folder.parent / ".jpeg"
    remove_unfinished(store)
    stored = _convert_all(plan, store, jobs) if settings.videos is not None else {}
    classes = class_names(plan.videos)
    parts = {
        split: [
            Record(video, classes.index(video.class_name), stored.get(video.video_id))
            for video in plan.videos
            if video.split == split
        ]
        for split in ("train", "test")
    }
    for split, records in parts.items():
        if not records:
            raise UserError(f"{settings.embeddings}: no video of split {split} (by its group)")
    with whole_folder(folder) as temporary:
        for split, records in parts.items():
            _table(records).write(table_path(temporary, split))
        total = len(plan.videos)
        with Progress("write videos", total=total, unit="video") as progress:
            builder = partial(Ucf51, parts=parts, on_record=progress.advance)
            write_shards(builder, temporary)
        _info(plan, parts, classes).write(temporary)
    shutil.rmtree(store, ignore_errors=True)


@dataclass(frozen=True)
class Record:
    """One video with its label and the file of its JPEG frames."""

    video: Video
    label: int
    frames: Path | None

    def size(self) -> int:
        """Bytes it takes in a shard, about."""
        return 4 * EMBEDDING + (self.frames.stat().st_size if self.frames else 0)

    def frame_count(self) -> int:
        """Stored frames; 0 without a video."""
        if self.frames is None:
            return 0
        with np.load(self.frames, allow_pickle=False) as file:
            return len(file["frame_ends"])

    def features(self) -> dict[str, Any]:
        """What is stored of it."""
        video = self.video
        features = {
            "audio_embedding": video.embedding,
            "stage": self.label,
            "subject_id": video.subject_id,
            "night_id": video.video_id,
            "clip_index": video.clip,
        }
        if self.frames is not None:
            with np.load(self.frames, allow_pickle=False) as file:
                features |= {name: file[name] for name in ("jpeg", "frame_ends")}
        return features


@dataclass(frozen=True)
class _Job:
    video_id: str
    source: Path
    target: Path
    settings: Ucf51Settings


def _convert_all(plan: Plan, store: Path, jobs: int | None) -> dict[str, Path]:
    settings, todo = plan.settings, []
    stored: dict[str, Path] = {}
    for video in plan.videos:
        assert video.path is not None
        facts = [VERSION, settings.height, settings.width, settings.quality]
        key = fingerprint([*facts, video.path.stat().st_size])[:12]
        stored[video.video_id] = store / f"{video.video_id}-{key}.npz"
        if not stored[video.video_id].is_file():
            todo.append(_Job(video.video_id, video.path, stored[video.video_id], settings))
    problems = []
    done, total = len(plan.videos) - len(todo), len(plan.videos)
    with Progress("convert videos", total=total, unit="video", start=done) as progress:
        for _, problem in parallel_map(_convert, todo, jobs):
            problems += [problem] if problem else []
            progress.advance()
    if problems:
        for problem in problems:
            print(problem, file=sys.stderr, flush=True)
        first = f": {problems[0]}" if len(problems) == 1 else ", listed above"
        raise UserError(f"{len(problems)} of {total} videos cannot be used{first}")
    return stored


def _convert(job: _Job) -> str | None:
    """Stores one video as JPEG frames; returns what is wrong with it, if a user can mend that."""
    try:
        with VideoReader(job.source, name=job.video_id, kind="video") as reader:
            frames = (covering(f, job.settings.height, job.settings.width) for f in reader.frames())
            content, ends = jpeg.encode(frames, job.settings.quality)
        with whole_file(job.target) as temporary, open(temporary, "wb") as file:
            np.savez(file, jpeg=np.frombuffer(content, np.uint8), frame_ends=ends)
    except UserError as error:
        return str(error)
    return None


def covering(frame: "VideoFrame", height: int, width: int) -> UInt8[np.ndarray, "height width 3"]:
    """The frame in RGB, scaled until it covers height x width, and its middle cut out."""
    scale = max(height / frame.height, width / frame.width)
    rows, columns = round(frame.height * scale), round(frame.width * scale)
    pixels = frame.reformat(columns, rows, "rgb24", interpolation="AREA").to_ndarray()
    top, left = (rows - height) // 2, (columns - width) // 2
    return np.ascontiguousarray(pixels[top : top + height, left : left + width])


def _table(records: Sequence[Record]) -> ClipTable:
    return ClipTable.of_columns(
        night_id=[record.video.video_id for record in records],
        subject_id=[record.video.subject_id for record in records],
        clip_index=[record.video.clip for record in records],
        stage=[record.label for record in records],
        ahi=np.full(len(records), np.nan),
        frames=[record.frame_count() for record in records],
    )


def _info(plan: Plan, parts: dict[str, list[Record]], classes: tuple[str, ...]) -> DatasetInfo:
    counts: dict[str, dict[str, Any]] = {}
    for split, records in parts.items():
        labels = np.bincount([record.label for record in records], minlength=len(classes))
        counts[split] = {
            "subjects": len({record.video.subject_id for record in records}),
            "nights": len(records),
            "clips": len(records),
            "stages": dict(zip(classes, labels.tolist(), strict=True)),
        }
    settings = plan.settings
    video = settings.videos is not None
    return DatasetInfo(
        name="ucf51",
        fingerprint=plan.digest,
        simulated=False,
        split_mode=SPLIT_MODE,
        frame_rate=FRAME_RATE,
        frames=0,
        height=settings.height if video else 0,
        width=settings.width if video else 0,
        channels=3 if video else 0,
        eeg_rate=0.0,
        samples=0,
        counts={**counts, "validation": counts["test"]},
        classes=classes,
        audio_dim=EMBEDDING,
        shared_splits={"validation": "test"},
    )


def _examples(records: Sequence[Record], on_record: Callable[[], None]) -> Records:
    for key, record in enumerate(records):
        yield key, record.features()
        on_record()


class Ucf51(tfds.core.ShardBasedBuilder, skip_registration=True):
    """Videos of 51 actions with sound: JPEG frames, audio embedding, class; sorted by video."""

    VERSION = tfds.core.Version(VERSION)
    url_infos = None  # nothing is downloaded
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First form."}

    def __init__(
        self, *, parts: dict[str, list[Record]], on_record: Callable[[], None], **kwargs: Any
    ):
        self._parts, self._on_record = parts, on_record
        super().__init__(file_format="array_record", **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        arrays = {"audio_embedding": Form(np.float32, (EMBEDDING,))}
        if self._parts["train"][0].frames is not None:
            arrays |= {"jpeg": Form(np.uint8, (None,)), "frame_ends": Form(np.int64, (None,))}
        return tfds.core.DatasetInfo(
            builder=self,
            description="Videos of 51 actions of UCF101 with an embedding of their sound.",
            features=clip_features(arrays),
            disable_shuffling=True,
        )

    def _example_writer(self) -> PlainWriter:
        return PlainWriter()

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> dict[str, list[Callable[[], Records]]]:
        return {
            split: [
                partial(_examples, shard, self._on_record)
                for shard in in_shards(records, Record.size)
            ]
            for split, records in self._parts.items()
        }
