"""Writes simulated nights to disk: in parallel over nights, resumable, reproducible."""

from functools import partial
from pathlib import Path

from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.errors import UserError
from input_pipeline.files import remove_unfinished
from input_pipeline.night import Night, write_manifest
from input_pipeline.processes import parallel_map
from input_pipeline.progress import Progress
from input_pipeline.simulation.night_writer import describe, is_written, write_recording
from input_pipeline.simulation.recording import plan
from input_pipeline.simulation.settings import SimulationSettings

MANIFEST = "nights.csv"
_SETTINGS = "simulation.json"


def simulate_nights(
    settings: SimulationSettings, out: Path, jobs: int | None = None
) -> list[Night]:
    """Writes the nights that are not there yet, and the manifest `nights.csv` of all of them.

    Args:
        settings: what to simulate.
        out: folder; gets a folder per recording, and `truth/` with what really happened. Readers
            and builders never look into `truth/`: it is for the ceiling and for tests.
        jobs: number of processes; one per core by default.

    Returns:
        the nights of the manifest, in order.

    Raises:
        UserError: `out` holds nights of other settings, or is a file.
    """
    out = Path(out)
    _claim(settings, out)
    remove_unfinished(out)
    remove_unfinished(out / "truth")
    nights: list[Night] = []
    missing: list[int] = []
    for night in range(settings.nights):
        recordings = plan(settings, night)
        nights += [describe(recording, out) for recording in recordings]
        if not all(is_written(recording, out) for recording in recordings):
            missing.append(night)
    if missing:
        done = settings.nights - len(missing)
        with Progress("simulate nights", settings.nights, "night", start=done) as progress:
            for _ in parallel_map(partial(_simulate, settings, out), missing, jobs):
                progress.advance()
    write_manifest(out / MANIFEST, nights)
    return nights


def _simulate(settings: SimulationSettings, out: Path, night: int) -> None:
    for recording in plan(settings, night):
        write_recording(settings, recording, out)


def _claim(settings: SimulationSettings, out: Path) -> None:
    """Marks the folder as one of simulated nights, or checks that its settings are these."""
    if out.exists() and not out.is_dir():
        raise UserError(f"output {out} is a file, expected a folder")
    path = out / _SETTINGS
    if not path.exists():
        write_verified_json(path, settings.identity())
        return
    mend = "choose another folder"
    # Nights of earlier versions have no digest.
    found = read_verified_json(path, what="settings of simulated nights", mend=mend, by_hand=True)
    for key, value in settings.identity().items():
        if found.get(key) != value:
            raise UserError(
                f"{out} holds nights with {key} {found.get(key)!r}, expected {value!r}; "
                "choose another folder"
            )
