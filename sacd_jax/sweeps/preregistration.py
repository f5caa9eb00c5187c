"""What a sweep will be judged by, written down before its first run and held to afterwards.

The file holds the whole sweep: data, rows, seeds, reference and judgement, with a digest. A later
call with another one is refused, and so is a file that was changed.
"""

import reprlib
from pathlib import Path
from typing import Any

from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.errors import UserError
from sacd_jax.config import as_json, build
from sacd_jax.runs.run_folder import first_difference, path_from
from sacd_jax.sweeps import plan
from sacd_jax.sweeps.sweep_config import Judgement, SweepConfig

_MEND = "judge by the file as it was written, or begin another study in another folder"


def file_of(sweep: SweepConfig, workdir: Path) -> Path:
    """Where the file of a sweep lies."""
    return workdir / f"{sweep.name}.preregistered.json"


def freeze(sweep: SweepConfig, workdir: Path, dataset: Path) -> Path | None:
    """Writes the file of a sweep with a judgement, or holds the sweep to the one that is there.

    Args:
        sweep: whatever seeds or rows this call trains.
        workdir: the sweep's folder.
        dataset: the built data set.

    Returns:
        the file; None for a sweep without a judgement.

    Raises:
        UserError: the sweep, or its data set, is another than the one written down, or some of it
            is tested already.
    """
    if sweep.judgement is None:
        return None
    path = file_of(sweep, workdir)
    if path.exists():
        stored, data = read(path)
        _hold(stored, sweep, path)
        if data.resolve() != dataset.resolve() and data.name != dataset.name:
            raise UserError(
                f"{path} fixed the data set {data.name} before the first look, now it is "
                f"{dataset.name}: of other nights, or made by another version; {_MEND}"
            )
        return path
    runs = workdir / plan.RUNS
    seen = [key for key in sweep.rows if plan.finished(sweep, key, runs, dataset)]
    if seen:
        raise UserError(
            f"row {seen[0]} is tested already, so its judgement cannot be fixed before the first "
            "look; expected a workdir without finished rows, or a sweep without judgement"
        )
    workdir.mkdir(parents=True, exist_ok=True)
    value = {"sweep": as_json(sweep), "dataset": path_from(workdir, dataset)}
    write_verified_json(path, value)
    return path


def read(path: Path) -> tuple[SweepConfig, Path]:
    """The sweep that a file holds, and its data set.

    Raises:
        UserError: no such file, it was changed, or it is none of a sweep with a judgement.
    """
    value = read_verified_json(path, what="preregistration", mend=_MEND)
    if not {"sweep", "dataset"} <= set(value) or not isinstance(value["dataset"], str):
        raise UserError(f"preregistration {path}: expected the keys sweep and dataset; {_MEND}")
    sweep = build(SweepConfig, value["sweep"], f"{path}, sweep")
    if sweep.judgement is None:
        raise UserError(f"preregistration {path}: sweep.judgement is not set; {_MEND}")
    return sweep, path.parent / value["dataset"]


def hold_to(judgement: Judgement, asked: dict[str, Any], path: Path) -> None:
    """Refuses a figure, split or test other than those written down.

    Args:
        judgement: that of the file.
        asked: name of a field of it -> what a call asks for; None: as in the file.
        path: of the file.

    Raises:
        UserError: names the first that differs.
    """
    for name, value in asked.items():
        if value is not None and value != (fixed := getattr(judgement, name)):
            raise UserError(
                f"{path} fixed {name} as {fixed!r} before the first look, now it is {value!r}"
            )


def _hold(stored: SweepConfig, now: SweepConfig, path: Path) -> None:
    others = sorted({*stored.rows} ^ {*now.rows})
    if others:
        raise UserError(
            f"{path} fixed {len(stored.rows)} rows before the first look, now {others[0]} is "
            f"{'one of them' if others[0] in now.rows else 'none of them'}; {_MEND}"
        )
    difference = first_difference(as_json(stored), as_json(now))
    if difference:
        key, *values = difference
        there, here = map(reprlib.repr, values)
        raise UserError(
            f"{path} fixed {key} as {there} before the first look, now it is {here}; {_MEND}"
        )
