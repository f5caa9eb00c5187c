"""S3VE in the files of its authors: EEG of 3,840 samples a clip, label files, folders of JPEG.

What SPIresearch/SACD and SPIresearch/IoT-V2E read, found anywhere in one folder (four levels deep):

* labels: see `release_labels`;
* EEG: `NIGHT/EEG_NIGHT_POSITION_LABEL.npy`, one clip each, or `NIGHT….npz` with `x` [clips,
  channels, samples], `y` [clips] and `fs`; a night's name has 8 characters;
* frames: `LABEL/CLIP/image_00001.jpg` …, evenly spaced over the clip's 30 s.

The clips are those of any other night: see `clips.clips`.
"""

import os
import re
import tokenize
import warnings
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from input_pipeline.checks import signal_notes
from input_pipeline.clips import ClipSettings
from input_pipeline.datasets.release_labels import STAGE_OF, LabelledClip, read_labels
from input_pipeline.errors import UserError
from input_pipeline.fingerprints import file_fingerprint
from input_pipeline.night import Night
from input_pipeline.readers.edf import Signal, resample
from input_pipeline.readers.filters import filtered
from input_pipeline.readers.units import UNITS, size_note
from input_pipeline.stages import CLIP_SECONDS

RATE = 128.0
"""Samples of EEG a second as the authors store it."""

CHANNELS = {"C3-M2": 1, "C4-M1": 2}
"""EEG channel -> its place among the 13 of a night's file."""

_DEPTH = 4
_EEG = re.compile(r"EEG_(([A-Za-z0-9]{8})_\d{1,4}_[A-Z0-9]{1,3})\.npy")
# A flipped byte in a header is bad Python (TokenError), a zip member claims encryption
# (RuntimeError), an unknown compression or more memory than there is.
_BROKEN = (
    OSError,
    ValueError,
    TypeError,
    KeyError,
    SyntaxError,
    EOFError,
    RuntimeError,
    MemoryError,
    OverflowError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_MOST_BYTES = 1 << 32  # of a night's array; 13 channels of 12 hours in float64 take 0.6 GB


@dataclass(frozen=True)
class ReleaseSettings:
    """Where the release lies and what to take of it."""

    folder: Path
    channel: str = "C4-M1"
    """Of nights in one file: C4-M1, or C3-M2. Files of single clips hold one channel."""
    unit: str = ""
    """What the EEG's numbers are in, of `night.PSG_UNITS`: the files do not say. Empty: V or uV,
    whichever gives the size of an EEG."""

    def __post_init__(self) -> None:
        if self.channel not in CHANNELS:
            expected = " or ".join(CHANNELS)
            raise UserError(f"release.channel {self.channel!r}: expected {expected}")
        if self.unit and self.unit not in UNITS:
            raise UserError(f"release.unit {self.unit!r}: expected one of {', '.join(UNITS)}")


@dataclass(frozen=True)
class ReleaseClip:
    """A clip with its files, as far as they are there."""

    labelled: LabelledClip
    eeg: Path | None
    frames: Path | None
    """Folder of its images."""


@dataclass(frozen=True)
class ReleaseNight(Night):
    """A night of the release; `psg` is its one EEG file, or the files of its clips."""

    clips: tuple[ReleaseClip, ...] = ()
    settings: ReleaseSettings | None = None

    def description(self) -> dict[str, Any]:
        """What its clips depend on, without the place of its files.

        Images are known by their number, and the first and last of each clip by size and time.
        """
        rows = [
            [clip.labelled.clip_id, clip.labelled.frames, clip.eeg is not None, _seen(clip.frames)]
            for clip in self.clips
        ]
        eeg = [[path.name, file_fingerprint(path)] for path in self.psg_files]
        channel, unit = (self.settings.channel, self.settings.unit) if self.settings else ("", "")
        return {"night_id": self.night_id, "clips": rows, "eeg": eeg, "taken": [channel, unit]}


def _images(folder: Path) -> list[str]:
    return [name for name in os.listdir(folder) if name.endswith(".jpg") and name[0] != "."]


def _seen(folder: Path | None) -> list[Any]:
    if folder is None:
        return []
    names = sorted(_images(folder))
    ends = [os.stat(folder / name) for name in names[:1] + names[-1:]]
    return [len(names), *((end.st_size, int(end.st_mtime)) for end in ends)]


def release_nights(settings: ReleaseSettings) -> list[ReleaseNight]:
    """The nights of a release by name; each is a subject of its own.

    Raises:
        UserError: no such folder; labels that cannot be used; no EEG for a night.
    """
    if not settings.folder.is_dir():
        raise UserError(f"release {settings.folder}: no such folder")
    found = _find(settings.folder)
    by_night: dict[str, list[ReleaseClip]] = {}
    for labelled in read_labels(found.labels).clips:
        folders = (root / labelled.label / labelled.clip_id for root in found.frame_roots)
        frames = next((folder for folder in folders if folder.is_dir()), None)
        clip = ReleaseClip(labelled, found.clips.get(labelled.clip_id), frames)
        by_night.setdefault(labelled.night_id, []).append(clip)
    nights = []
    for night_id, clips in by_night.items():
        whole = found.nights.get(night_id, [])
        single = [clip.eeg for clip in clips if clip.eeg is not None]
        if len(whole) > 1 or (whole and single) or not (whole or single):
            raise UserError(
                f"night {night_id}: EEG in {len(whole)} files of nights and {len(single)} of "
                "clips; expected one file of the night, or one a clip"
            )
        psg = whole[0] if whole else tuple(single)
        nights.append(
            ReleaseNight(night_id, night_id, None, psg, clips=tuple(clips), settings=settings)
        )
    return nights


@dataclass(frozen=True)
class _Found:
    labels: list[Path]
    clips: dict[str, Path]
    nights: dict[str, list[Path]]
    frame_roots: list[Path]


def _find(folder: Path) -> _Found:
    found = _Found([], {}, {}, [])
    for place, folders, files in os.walk(folder):
        here = Path(place)
        if set(folders) & STAGE_OF.keys():
            found.frame_roots.append(here)
        deep = len(here.relative_to(folder).parts) >= _DEPTH
        folders[:] = [] if deep else sorted(set(folders) - STAGE_OF.keys())
        for name in sorted(name for name in files if not name.startswith(".")):
            if match := _EEG.fullmatch(name):
                found.clips[match[1]] = here / name
            elif name.endswith(".npz"):
                found.nights.setdefault(name[:8], []).append(here / name)
            elif name.endswith((".json", ".txt")):
                found.labels.append(here / name)
    return found


class ReleaseClips(Iterator[dict[str, Any]]):
    """The clips of one night in order, counted and noted as by `clips.Clips`."""

    def __init__(self, night: ReleaseNight, settings: ClipSettings):
        self.night, self.settings = night, settings
        self.counts: Counter[str] = Counter(kept=0)
        self.notes: list[str] = []
        self.clock_source = "release"
        self._records = self._read()

    def __next__(self) -> dict[str, Any]:
        return next(self._records)

    def _read(self) -> Iterator[dict[str, Any]]:
        night, settings = self.night, self.settings
        eeg = _night_eeg(night) if isinstance(night.psg, Path) else _clip_eeg(night)
        signal, unit = _in_microvolt(night, eeg)
        self.notes += [f"the EEG's numbers are taken for {unit}", *signal_notes(signal)]
        if note := size_note(signal.samples):
            self.notes.append(f"EEG: {note}")
        signal = resample(signal, settings.eeg_rate, name=night.night_id)
        signal = filtered(signal, settings.eeg_band_hz, settings.eeg_notch_hz)
        for clip in night.clips:
            first = clip.labelled.clip_index * settings.samples
            samples = signal.samples[first : first + settings.samples]
            if len(samples) < settings.samples or not np.isfinite(samples).all():
                self.counts["no EEG"] += 1
                continue
            frames, reason = _read_frames(clip, settings)
            if frames is None:
                self.counts[reason] += 1
                continue
            self.counts["kept"] += 1
            yield {
                "video": frames,
                "eeg": samples.copy(),
                "stage": STAGE_OF[clip.labelled.label],
                "subject_id": night.subject_id,
                "night_id": night.night_id,
                "clip_index": clip.labelled.clip_index,
            }


def _clip_eeg(night: ReleaseNight) -> Float32[np.ndarray, " samples"]:
    """The clips' files on the night's time; NaN where there is none."""
    size = round(RATE * CLIP_SECONDS)
    last = max(clip.labelled.clip_index for clip in night.clips)
    eeg = np.full((last + 1, size), np.nan, np.float32)
    for clip in night.clips:
        if clip.eeg is None:
            continue
        where = f"night {night.night_id}: EEG of clip {clip.labelled.clip_index}"
        try:
            value = np.load(clip.eeg, mmap_mode="r", allow_pickle=False)
        except _BROKEN:
            raise UserError(f"{where}: no NumPy array; expected {size} numbers") from None
        if value.shape not in ((size,), (1, size)) or value.dtype.kind != "f":
            raise UserError(
                f"{where}: {value.dtype} {value.shape}; expected float ({size},), 30 s at 128 Hz"
            )
        eeg[clip.labelled.clip_index] = value.reshape(size)
    return eeg.reshape(-1)


def _night_eeg(night: ReleaseNight) -> Float32[np.ndarray, " samples"]:
    """One channel of the night's file, whose labels must tell the same stages apart."""
    assert isinstance(night.psg, Path) and night.settings is not None
    where = f"night {night.night_id}: the file of its EEG"
    size = round(RATE * CLIP_SECONDS)
    try:
        with zipfile.ZipFile(night.psg) as archive:
            size_bytes = sum(info.file_size for info in archive.infolist())
        if size_bytes > _MOST_BYTES:
            raise UserError(f"{where}: {size_bytes} bytes; expected at most {_MOST_BYTES}")
        with np.load(night.psg, allow_pickle=False) as file:
            x, y, rate = file["x"], file["y"].reshape(-1), float(file["fs"])
    except _BROKEN:
        raise UserError(f"{where}: expected the arrays x, y and the number fs") from None
    if rate != RATE or x.ndim != 3 or x.shape[2] != size or x.dtype.kind != "f":
        raise UserError(
            f"{where}: x {x.dtype} {x.shape} at {rate:g} Hz; expected float (clips, channels, "
            f"{size}) at 128 Hz"
        )
    channel = CHANNELS[night.settings.channel]
    if x.shape[1] <= channel or len(y) != len(x):
        raise UserError(
            f"{where}: {len(y)} labels for {len(x)} clips of {x.shape[1]} channels; expected a "
            f"label a clip and {night.settings.channel} as channel {channel + 1}"
        )
    _same_stages(night, y, where)
    return np.ascontiguousarray(x[:, channel], np.float32).reshape(-1)


def _same_stages(night: ReleaseNight, y: np.ndarray, where: str) -> None:
    """Numbers mean what the names of the clips say, one number a stage, in whatever order."""
    names: dict[Any, str] = {}
    for clip in night.clips:
        place, label = clip.labelled.clip_index, clip.labelled.label
        if place >= len(y):
            continue
        if names.setdefault(y[place].item(), label) != label:
            raise UserError(f"{where}: clip {place} is {label} by its name and another stage by y")
    if len(set(names.values())) < len(names):
        raise UserError(f"{where}: y has several numbers for one stage of the clips' names")


def _in_microvolt(night: ReleaseNight, eeg: np.ndarray) -> tuple[Signal, str]:
    assert night.settings is not None
    units = [night.settings.unit] if night.settings.unit else ["V", "uV"]
    with np.errstate(over="ignore", invalid="ignore"):  # of damaged numbers: gaps
        scaled = {unit: (eeg * np.float32(UNITS[unit])).astype(np.float32) for unit in units}
    for samples in scaled.values():
        samples[~np.isfinite(samples)] = np.nan
    fitting = [unit for unit in units if size_note(scaled[unit]) is None]
    if not night.settings.unit and len(fitting) != 1:
        raise UserError(
            f"night {night.night_id}: the EEG has the size of an EEG neither in V nor in uV; name "
            "its unit (--eeg-unit of build, dataset.release.unit)"
        )
    unit = night.settings.unit or fitting[0]
    # The date is in the night's name alone, and nothing here depends on it.
    return Signal(scaled[unit], RATE, datetime(2000, 1, 1), (), night.settings.channel), unit


def _read_frames(
    clip: ReleaseClip, settings: ClipSettings
) -> tuple[UInt8[np.ndarray, "frames height width 1"] | None, str]:
    """Grey frames at the moments of the settings, or None and why there are none."""
    if clip.frames is None:
        return None, "no frames"
    count = clip.labelled.frames
    if count is None:
        count = len(_images(clip.frames))
    if not count:
        return None, "no frames"
    # The tiny number keeps a moment that falls on a frame's own from the frame before it.
    chosen = np.floor(np.arange(settings.frames) * count / settings.frames + 1e-9).astype(int)
    shape = (settings.frames, settings.height, settings.width, 1)
    frames, missing = np.zeros(shape, np.uint8), []
    for place, number in enumerate(chosen.tolist()):
        path = clip.frames / f"image_{number + 1:05d}.jpg"
        if path.is_file():
            frames[place, ..., 0] = _read_image(path, clip, settings)
        else:
            missing.append(place)
    if len(missing) > settings.max_missing * settings.frames:
        return None, "missing frames"
    return _filled(frames, missing), ""


def _filled(frames: np.ndarray, missing: Sequence[int]) -> np.ndarray:
    """A lost frame shows the one before it, or the first that is there."""
    source = np.arange(len(frames))
    source[list(missing)] = -1
    first = int(source[source >= 0][0])
    source = np.maximum.accumulate(source)
    return frames[np.where(source < 0, first, source)]


def _read_image(
    path: Path, clip: ReleaseClip, settings: ClipSettings
) -> UInt8[np.ndarray, "height width"]:
    from PIL import Image  # slow to import

    size = settings.width, settings.height
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("JPEG",)) as image:
                return np.asarray(image.convert("L").resize(size, Image.Resampling.BILINEAR))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombWarning):
        place = clip.labelled
        raise UserError(
            f"night {place.night_id}: clip {place.clip_index}: {path.name} is no whole JPEG image"
        ) from None
