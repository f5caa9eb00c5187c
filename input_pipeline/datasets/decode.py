"""Nights -> clips on disk, several nights at a time; the part of building that takes long.

Each night becomes a folder of flat arrays that the TFDS builder maps into memory: nothing of a
night is held at once, and a night that is done is not done again when a build was broken off.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from input_pipeline.clip_arrays import LABELS, Form, input_forms
from input_pipeline.clips import ClipSettings, clips
from input_pipeline.datasets.beam_decode import beam_map
from input_pipeline.datasets.data_card import NightReport
from input_pipeline.datasets.s3ve_release import ReleaseClips, ReleaseNight
from input_pipeline.datasets.settings import VERSION, night_description
from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.errors import UserError
from input_pipeline.files import whole_folder
from input_pipeline.fingerprints import fingerprint
from input_pipeline.night import Night
from input_pipeline.processes import parallel_map
from input_pipeline.progress import Progress

_REPORT = "report.json"


def _forms(settings: ClipSettings) -> dict[str, Form]:
    """Name of a decoded night's files -> how they lie in one clip."""
    return {**input_forms(settings), **LABELS}


@dataclass(frozen=True)
class DecodedNight:
    """The clips of one night on disk, in order."""

    night: Night
    folder: Path
    settings: ClipSettings

    def array(self, name: str) -> np.ndarray:
        """An input [clips, …] (see `clip_arrays`), `stage` or `clip_index` [clips]."""
        dtype, shape = _forms(self.settings)[name]
        return np.memmap(self.folder / name, dtype, mode="r").reshape(-1, *shape)

    def report(self) -> NightReport:
        """What was left out of the night, and what is to be known of it."""
        mend = f"delete the folder {self.folder.parent} and build again"
        path = self.folder / _REPORT
        return NightReport(**read_verified_json(path, what="decoded night", mend=mend))

    def records(
        self, chosen: Sequence[int] | np.ndarray, inputs: Iterable[str]
    ) -> Iterator[dict[str, Any]]:
        """The clip records at the positions `chosen` with these inputs; arrays are views of the
        files."""
        arrays = {name: self.array(name) for name in (*inputs, *LABELS)}
        for position in chosen:
            record: dict[str, Any] = {name: array[position] for name, array in arrays.items()}
            record |= {name: int(record[name]) for name in LABELS}
            yield record | {"night_id": self.night.night_id, "subject_id": self.night.subject_id}


@dataclass(frozen=True)
class _Job:
    night: Night
    folder: Path
    settings: ClipSettings


def _decode(job: _Job) -> str | None:
    """Writes the clips of one night; returns what is wrong with it, if a user can mend that."""
    if job.folder.is_dir():  # a Beam runner may begin a night twice
        return None
    try:
        with whole_folder(job.folder) as folder, ExitStack() as open_files:
            forms = _forms(job.settings)
            files = {name: open_files.enter_context(open(folder / name, "wb")) for name in forms}
            release = isinstance(job.night, ReleaseNight)
            read = (ReleaseClips if release else clips)(job.night, job.settings)
            for clip in read:
                for name, (dtype, _) in forms.items():
                    files[name].write(np.ascontiguousarray(clip[name], dtype).data)
            report = {"counts": read.counts, "notes": read.notes, "clock": read.clock_source}
            write_verified_json(folder / _REPORT, report)
            if not read.counts["kept"]:
                raise UserError("no clip has both video and EEG; expected at least one")
    except UserError as error:
        text = str(error)
        return text if job.night.night_id in text else f"night {job.night.night_id}: {text}"
    except Exception as error:
        error.add_note(f"while reading night {job.night.night_id}")
        raise
    return None


def decode_nights(
    nights: Sequence[Night],
    settings: ClipSettings,
    store: Path,
    jobs: int | None = None,
    beam_options: Sequence[str] | None = None,
) -> tuple[list[DecodedNight], dict[str, str]]:
    """Decodes the nights that are not in `store` yet.

    Args:
        jobs: processes on this machine; the number of cores if None.
        beam_options: of a Beam pipeline that decodes in their place (`beam_decode.beam_map`).

    Returns:
        the decoded nights in the order of `nights`, and night_id -> one line for each night that
        could not be used.
    """
    decoded, store = [], store.resolve()  # workers may have another working directory
    for night in nights:
        # Settings and files are part of the name: what was decoded otherwise is not taken.
        key = fingerprint([VERSION, settings.identity(), night_description(night)])
        decoded.append(DecodedNight(night, store / f"{night.night_id}-{key[:12]}", settings))
    todo = [_Job(each.night, each.folder, settings) for each in decoded if not each.folder.is_dir()]
    problems: dict[str, str] = {}
    done = len(nights) - len(todo)
    with Progress("decode nights", total=len(nights), unit="night", start=done) as progress:
        if beam_options is None:
            results = parallel_map(_decode, todo, jobs)
        else:
            results = beam_map(_decode, todo, store, beam_options)
        for position, problem in results:
            if problem is not None:
                problems[todo[position].night.night_id] = problem
            progress.advance()
    whole = [each for each in decoded if each.night.night_id not in problems]
    names = [night.night_id for night in nights]
    return whole, {name: problems[name] for name in names if name in problems}
