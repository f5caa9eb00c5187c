"""From settings to a built dataset: nights -> decoded clips -> TFDS shards, tables and
description."""

import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from input_pipeline.checks import twin_notes
from input_pipeline.clip_arrays import input_forms
from input_pipeline.datasets import data_card, simulated_nights
from input_pipeline.datasets.dataset_files import (
    INFO_FILE,
    SPLITS_FILE,
    ClipTable,
    DatasetInfo,
    read_info,
    table_path,
)
from input_pipeline.datasets.decode import DecodedNight, decode_nights
from input_pipeline.datasets.frame_files import write_frames
from input_pipeline.datasets.s3ve_release import release_nights
from input_pipeline.datasets.settings import (
    DatasetSettings,
    dataset_fingerprint,
    described_fingerprint,
    identity,
    night_description,
)
from input_pipeline.errors import UserError
from input_pipeline.files import only_one, remove_unfinished, whole_folder
from input_pipeline.night import Night, read_manifest
from input_pipeline.progress import Progress
from input_pipeline.splits import SPLITS, Splits, make_splits, read_splits, write_splits
from input_pipeline.stages import STAGES

if TYPE_CHECKING:  # loads TFDS, which only building needs
    from input_pipeline.datasets.s3ve import Piece

DECODED = ".decoded"
"""Beside the data sets: the nights of a build that is not finished, or that were to be kept."""

Chosen = dict[str, list[tuple[DecodedNight, np.ndarray]]]
"""Split -> nights and the positions of their clips that belong to it."""


def prepare(
    settings: DatasetSettings,
    root: str | Path,
    jobs: int | None = None,
    keep_decoded: bool = False,
    beam_options: Sequence[str] | None = None,
) -> Path:
    """Builds the dataset of `settings` below `root`, unless it is there.

    A build that was broken off goes on with the nights it had done. Several processes may call this
    at once: one builds, the others wait. `source.open_split` reads `train`, `test` and so on.

    Args:
        jobs: processes that decode nights; the number of cores if None.
        keep_decoded: leave the decoded nights for the next data set of the same nights.
        beam_options: options of a Beam pipeline that decodes the nights in place of `jobs`
            processes; `root` must then be seen by all its workers. Not for `ucf51`.

    Returns:
        the dataset's folder, named after its fingerprint.

    Raises:
        UserError: a manifest, night or split that cannot be used (every night that fails is
            printed), half of a copy, or `root` is itself a data set, of other settings.
    """
    root = Path(root)
    split = None
    build: Callable[[Path], None]
    if settings.ucf51 is not None:
        from input_pipeline.datasets import ucf51_building

        plan = ucf51_building.plan(settings.ucf51)
        digest, build = plan.digest, partial(ucf51_building.build, plan, jobs=jobs)
    else:
        nights = _sorted(_given_nights(settings))
        split = read_splits(settings.split_file) if settings.split_file else None
        digest = dataset_fingerprint(settings, nights, split)
        how = {"jobs": jobs, "beam_options": beam_options}
        build = partial(_build, settings, digest=digest, nights=nights, split=split, **how)
    if (root / INFO_FILE).is_file():
        return _as_it_is(root, digest, identity(settings, split))
    folder = root / _name(settings, digest)
    done = folder / INFO_FILE
    frees = root / f".{folder.name}-frees-decoded"  # since before it is there, until they are gone
    if done.is_file():
        if not frees.exists():
            return folder
    elif folder.is_dir() and any(folder.iterdir()):  # a build leaves nothing without it
        raise UserError(
            f"{folder}: has files, but no {INFO_FILE}, as a copy that is not finished; "
            "copy it again, or delete the folder and build it"
        )
    with only_one(root / ".build.lock", f"waiting for another build in {root}"):
        if not done.is_file():
            frees.unlink(missing_ok=True)
            if not keep_decoded:
                frees.touch()
            build(folder)
        if frees.exists():
            shutil.rmtree(root / DECODED, ignore_errors=True)
            frees.unlink()
    return folder


def _name(settings: DatasetSettings, digest: str) -> str:
    return f"{settings.name}-{digest[:12]}"


def folder_names(variants: Sequence[DatasetSettings]) -> list[str]:
    """Names of the folders that data sets of the same nights have or would have.

    Args:
        variants: settings that differ in `split` alone, without `split_file`.

    Raises:
        UserError: the nights cannot be read.
    """
    described = [night_description(night) for night in _sorted(_given_nights(variants[0]))]
    return [_name(each, described_fingerprint(each, described, None)) for each in variants]


def _as_it_is(folder: Path, digest: str, wanted: Mapping[str, Any]) -> Path:
    """A data set that was given in place of the folder above it, if it is the one that is meant."""
    info = read_info(folder)
    if info.fingerprint == digest:
        return folder
    differing = list(_differences(info.settings, wanted)) if info.settings else []
    why = "; ".join(differing[:3]) or "it was made from other nights or files"
    raise UserError(
        f"{folder}: is itself a data set, not the one that is asked for ({why}); ask for what it "
        f"holds, or name the folder above it ({folder.resolve().parent}) to build another there"
    )


def _differences(found: Any, wanted: Any, key: str = "") -> Iterator[str]:
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*found, *wanted}):
            inner = f"{key}.{name}" if key else name
            yield from _differences(found.get(name), wanted.get(name), inner)
    elif isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if found != list(wanted):
            yield f"another {key}"
    elif found != wanted:
        yield f"{key} is {found}, asked for {wanted}"


def _given_nights(settings: DatasetSettings) -> Sequence[Night]:
    """Those of a manifest or a release; none where nights are simulated."""
    if settings.release is not None:
        return release_nights(settings.release)
    return read_manifest(settings.manifest) if settings.manifest else []


def _sorted(nights: Sequence[Night]) -> list[Night]:
    return sorted(nights, key=lambda night: night.night_id)


def _build(
    settings: DatasetSettings,
    folder: Path,
    digest: str,
    nights: list[Night],
    split: Splits | None,
    jobs: int | None,
    beam_options: Sequence[str] | None,
) -> None:
    root = folder.parent
    store = root / DECODED
    remove_unfinished(root, f"{settings.name}-*")
    remove_unfinished(store)
    if settings.simulated:
        nights = _sorted(simulated_nights.simulated_nights(settings, root, jobs))
    given = split
    split = given or make_splits(nights, settings.split)
    decoded, problems = decode_nights(nights, settings.clips, store, jobs, beam_options)
    for problem in problems.values():
        print(problem, file=sys.stderr, flush=True)
    if problems and (not decoded or not settings.skip_unusable):
        first = f": {next(iter(problems.values()))}" if len(problems) == 1 else ", listed above"
        raise UserError(
            f"{len(problems)} of {len(nights)} nights cannot be used{first}; mend them, take them "
            "out of the manifest or skip them (--skip-unusable of build, dataset.skip_unusable); "
            "nights that are done are kept"
        )
    nights = [each.night for each in decoded]
    if problems:
        split = given or make_splits(nights, settings.split)
    for note in (*split.notes, *twin_notes(nights)):
        print(f"split: {note}", file=sys.stderr, flush=True)
    needed = sum(file.stat().st_size for each in decoded for file in each.folder.iterdir())
    with whole_folder(folder, needed) as temporary:
        tables = write_clips(settings, split, decoded, temporary)
        info = describe(settings, digest, split, tables, identity(settings, given))
        reports = {each.night.night_id: each.report() for each in decoded}
        card = data_card.make_card(info, tables, nights, reports, problems)
        data_card.write_card(temporary, card)
        info.write(temporary)
    print(f"{data_card.left_out(card)}; see {folder / data_card.TEXT_FILE}", file=sys.stderr)


def write_clips(
    settings: DatasetSettings, split: Splits, decoded: Sequence[DecodedNight], folder: Path
) -> dict[str, ClipTable]:
    """Writes the clips of decoded nights, their tables and the split into an empty folder.

    Returns:
        split -> its table.

    Raises:
        UserError: a split has no clips.
    """
    chosen = _divide(decoded, split)
    tables = {part: _table(chosen[part]) for part in SPLITS}
    for part, table in tables.items():
        if not len(table):
            raise UserError(
                f"split {part} has no clips; expected some in each of {', '.join(SPLITS)}"
            )
        table.write(table_path(folder, part))
    write_splits(folder / SPLITS_FILE, split)
    _write_shards(settings, chosen, folder)
    return tables


def _divide(decoded: Sequence[DecodedNight], split: Splits) -> Chosen:
    chosen: Chosen = {part: [] for part in SPLITS}
    for each in decoded:
        night = each.night
        positions: dict[str, list[int]] = {}
        for position, clip_index in enumerate(each.array("clip_index").tolist()):
            part = split.part_of(night.subject_id, night.night_id, clip_index)
            positions.setdefault(part, []).append(position)
        for part, taken in positions.items():
            chosen[part].append((each, np.asarray(taken)))
    return chosen


def _table(chosen: Sequence[tuple[DecodedNight, np.ndarray]]) -> ClipTable:
    rows: list[tuple[Any, ...]] = []
    for each, positions in chosen:
        night = each.night
        ahi, age = (float("nan") if each is None else each for each in (night.ahi, night.age))
        columns = (each.array(name)[positions].tolist() for name in ("clip_index", "stage"))
        rows += [
            (night.night_id, night.subject_id, clip_index, stage, ahi, age, night.sex)
            for clip_index, stage in zip(*columns, strict=True)
        ]
    *columns, age, sex = zip(*rows, strict=True) if rows else [()] * 7
    return ClipTable.of_columns(*columns, age=age, sex=sex)


def _write_shards(settings: DatasetSettings, chosen: Chosen, folder: Path) -> None:
    """Writes the clips into `folder`: TFDS shards and, where they lie apart, the frames."""
    # TFDS is slow to import, and only building needs it.
    from input_pipeline.datasets.s3ve import Piece, S3ve
    from input_pipeline.datasets.shards import write_shards
    from input_pipeline.datasets.simulated import Simulated

    parts = {part: [Piece(*piece) for piece in pieces] for part, pieces in chosen.items()}
    total = sum(len(piece.chosen) for pieces in parts.values() for piece in pieces)
    inputs = input_forms(settings.clips)
    if settings.frame_storage == "files":
        del inputs["video"]
        with Progress("write frames", total=total, unit="clip") as progress:
            for part, pieces in parts.items():
                write_frames(folder, part, _videos(pieces, progress.advance))
    with Progress("write clips", total=total, unit="clip") as progress:
        builder = Simulated if settings.simulated else S3ve
        make = partial(builder, parts=parts, inputs=inputs, on_record=progress.advance)
        write_shards(make, folder)


def _videos(pieces: Sequence["Piece"], on_video: Callable[[], None]) -> Iterator[np.ndarray]:
    for piece in pieces:
        videos = piece.night.array("video")
        for position in piece.chosen:
            yield videos[position]
            on_video()


def describe(
    settings: DatasetSettings,
    digest: str,
    split: Splits,
    tables: Mapping[str, ClipTable],
    asked_for: dict[str, Any],
) -> DatasetInfo:
    """What all clips of a data set have in common.

    Args:
        digest: the data set's fingerprint.
        tables: what `write_clips` returned.
        asked_for: see `settings.identity`.
    """
    clips = settings.clips
    counts = {
        part: {
            "subjects": len(np.unique(table.subject_id)),
            "nights": len(np.unique(table.night_id)),
            "clips": len(table),
            "stages": {
                name: int(np.sum(table.stage == label)) for label, name in enumerate(STAGES)
            },
        }
        for part, table in tables.items()
    }
    return DatasetInfo(
        name=settings.name,
        fingerprint=digest,
        simulated=settings.simulated,
        split_mode=split.settings.mode,
        frame_rate=clips.frame_rate,
        frames=clips.frames,
        height=clips.height,
        width=clips.width,
        channels=clips.channels,
        eeg_rate=clips.eeg_rate,
        samples=clips.samples,
        counts=counts,
        settings=asked_for,
        frame_storage=settings.frame_storage,
    )
