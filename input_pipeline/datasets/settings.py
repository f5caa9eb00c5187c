"""Everything a dataset is made from, and the fingerprint that says when two are the same."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from input_pipeline.clips import ClipSettings
from input_pipeline.datasets.s3ve_release import ReleaseNight, ReleaseSettings
from input_pipeline.datasets.ucf51 import Ucf51Settings
from input_pipeline.errors import UserError
from input_pipeline.fingerprints import file_fingerprint, fingerprint
from input_pipeline.night import Night
from input_pipeline.simulation.settings import SimulationSettings
from input_pipeline.splits import Splits, SplitSettings

NAMES = ("s3ve", "s3ve_release", "simulated", "ucf51")
FRAME_STORAGES = ("files", "records")
VERSION = "1.4.0"
"""Of the stored form of clips and of what readers make of a file; part of every fingerprint, so a
change builds anew."""


@dataclass(frozen=True)
class DatasetSettings:
    """What `prepare` builds.

    `s3ve` takes the nights of a manifest; `s3ve_release` those of a folder as S3VE's authors hand
    it out; `simulated` simulates its nights first; `ucf51` has its own settings and the official
    split, and no use for the others.
    """

    name: str
    manifest: Path | None = None
    """For `s3ve`."""
    simulation: SimulationSettings | None = None
    """For `simulated`."""
    clips: ClipSettings = field(default_factory=ClipSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    split_file: Path | None = None
    """A split made before (`splits.json` of another dataset, or by hand) in place of `split`."""
    skip_unusable: bool = False
    """Leave out nights that cannot be used and say so, instead of refusing to build."""
    frame_storage: str = "files"
    """`files`: frames lie beside the records and are read one by one; `records`: whole clips are
    TFDS records, which any reader of TFDS understands and training reads several times slower. Not
    for `ucf51`, whose frames are JPEG in the records."""
    ucf51: Ucf51Settings | None = None
    """For `ucf51`."""
    release: ReleaseSettings | None = None
    """For `s3ve_release`."""

    def __post_init__(self) -> None:
        if self.name not in NAMES:
            raise UserError(f"dataset {self.name!r}: expected {' or '.join(NAMES)}")
        if (self.name == "ucf51") != (self.ucf51 is not None):
            raise UserError(f"dataset {self.name}: settings ucf51 belong to dataset ucf51 alone")
        if self.name == "ucf51" and (self.manifest or self.simulation or self.split_file):
            raise UserError("dataset ucf51: expected no manifest, simulation or split_file")
        if (self.name == "s3ve_release") != (self.release is not None):
            raise UserError(
                f"dataset {self.name}: settings release belong to dataset s3ve_release alone"
            )
        if self.release is not None and (self.manifest or self.simulation):
            raise UserError("dataset s3ve_release: expected no manifest and no simulation")
        if self.name == "s3ve" and (self.manifest is None or self.simulation is not None):
            raise UserError("dataset s3ve: expected a manifest and no simulation settings")
        if self.frame_storage not in FRAME_STORAGES:
            raise UserError(
                f"dataset.frame_storage {self.frame_storage!r}: expected "
                f"{' or '.join(FRAME_STORAGES)}"
            )
        if self.name == "simulated" and (self.simulation is None or self.manifest is not None):
            raise UserError("dataset simulated: expected simulation settings and no manifest")

    @property
    def simulated(self) -> bool:
        """Whether the nights are made up."""
        return self.name == "simulated"


def night_description(night: Night) -> dict[str, Any]:
    """What a night's clips depend on, without the place of its files: their names and contents
    (`fingerprints.file_fingerprint`) stand for them."""
    if isinstance(night, ReleaseNight):
        return night.description()

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            try:
                return [value.name, file_fingerprint(value)]
            except OSError as error:  # its file name may be a patient's
                raise UserError(
                    f"night {night.night_id}: a file of the manifest cannot be read "
                    f"({error.strerror})"
                ) from None
        if isinstance(value, tuple):
            return [plain(each) for each in value]
        return value.isoformat() if isinstance(value, datetime) else value

    return {key: plain(value) for key, value in vars(night).items()}


def identity(settings: DatasetSettings, split: Splits | None) -> dict[str, Any]:
    """The settings that determine a data set, without places.

    Args:
        split: what `split_file` holds; None where the split follows from `settings.split`.
    """
    simulation = None
    if settings.simulation is not None:
        simulation = {"nights": settings.simulation.nights, **settings.simulation.identity()}
    return {
        "version": VERSION,
        "name": settings.name,
        "clips": settings.clips.identity(),
        "simulation": simulation,
        "split": asdict(split or settings.split),
        "skip_unusable": settings.skip_unusable,
        "frame_storage": settings.frame_storage,
    }


def dataset_fingerprint(
    settings: DatasetSettings, nights: Sequence[Night], split: Splits | None
) -> str:
    """Hash of the settings, of what the manifest says of the nights, and of the split; of no path.

    Args:
        nights: the nights of the manifest; none for simulated nights, which their settings
            determine.
        split: as of `identity`.
    """
    return described_fingerprint(settings, [night_description(night) for night in nights], split)


def described_fingerprint(
    settings: DatasetSettings, described: Sequence[dict[str, Any]], split: Splits | None
) -> str:
    """The same of nights as `night_description` gives them, for which no file is read again."""
    return fingerprint({**identity(settings, split), "nights": list(described)})
