"""The runs of a sweep: its rows, each with several seeds, and the teachers that they share.

A row's run may learn from the stored embeddings of another row's (`embeddings_of` names its key):
then from those of the run with the same seed.
"""

import dataclasses
import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from input_pipeline.errors import UserError
from sacd_jax.config import RunConfig, build
from sacd_jax.runs import run_folder
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.sweeps.sweep_config import SweepConfig

RUNS = "runs"
"""Folder of the runs within a sweep's."""

DONE, BEGUN, MISSING, OTHER = "done", "begun", "missing", "other settings"


@dataclass(frozen=True)
class Planned:
    """One training: its folder's name, its settings, the runs that must be done before."""

    name: str
    run: RunConfig
    needs: tuple[str, ...] = ()


def run_of(sweep: SweepConfig, key: str, seed: int) -> Planned:
    """The run of the row `key` with a seed."""
    run = dataclasses.replace(sweep.rows[key].run, seed=seed)
    needs = _teachers_of(sweep, run)
    if run.embeddings_of in sweep.rows:
        lender = _name(run.embeddings_of, seed)
        run, needs = dataclasses.replace(run, embeddings_of=lender), (*needs, lender)
    return Planned(_name(key, seed), run, needs)


def _name(key: str, seed: int) -> str:
    return f"{key}-seed{seed}"


def _teachers_of(sweep: SweepConfig, run: RunConfig) -> tuple[str, ...]:
    """The sweep's teachers that lend a run their weights or their embeddings."""
    lenders = [run.student.pretrained, *run.student.parts.values(), run.embeddings_of]
    if run.teacher is not None:
        lenders.append(run.teacher.pretrained)
    return tuple(dict.fromkeys(name for name in lenders if name in sweep.teachers))


def row_runs(
    sweep: SweepConfig, seeds: Sequence[int], patterns: Sequence[str] = ()
) -> list[Planned]:
    """The runs of the rows, seed by seed: an interrupted sweep has whole tables of few seeds.

    Args:
        patterns: keys of the rows that are meant, shell wildcards allowed; all if empty.

    Raises:
        UserError: a pattern fits no row.
    """
    for pattern in patterns:
        if not fnmatch.filter(sweep.rows, pattern):
            keys = ", ".join(sweep.rows)
            raise UserError(f"--rows: {pattern!r} fits no row, expected some of {keys}")
    chosen = [
        key
        for key in sweep.rows
        if not patterns or any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
    ]
    return [run_of(sweep, key, seed) for seed in seeds for key in chosen]


def share(runs: Sequence[Planned], index: int, of: int) -> list[Planned]:
    """The `index`-th of `of` shares, counted from 0: every run is in exactly one.

    Raises:
        UserError: there is no such share.
    """
    if of < 1 or not 0 <= index < of:
        raise UserError(f"--index {index} --of {of}: expected an index from 0 to --of less 1")
    return list(runs[index::of])


def with_lenders(sweep: SweepConfig, runs: Sequence[Planned]) -> list[Planned]:
    """The runs with all that they need: teachers first, then rows; what a run needs before it."""
    teachers: dict[str, Planned] = {}
    rows: dict[str, Planned] = {}

    def add(planned: Planned, to: dict[str, Planned]) -> None:
        for name in planned.needs:
            if name in teachers or name in rows:
                continue
            if name in sweep.teachers:
                training = sweep.teachers[name]
                add(Planned(name, training, _teachers_of(sweep, training)), teachers)
            else:
                key, _, seed = name.rpartition("-seed")
                add(run_of(sweep, key, int(seed)), rows)
        to.setdefault(planned.name, planned)

    for run in runs:
        add(run, rows)
    return [*teachers.values(), *rows.values()]


def state(planned: Planned, runs_folder: Path, dataset: Path | None = None) -> str:
    """The state of a run: `DONE`, `BEGUN`, `MISSING`, or `OTHER` if its folder holds another run.

    Args:
        dataset: a run on other data is another run; not looked at if None.
    """
    folder = runs_folder / planned.name
    if not RunFolder(folder).config.exists():
        return MISSING
    try:
        found = run_folder.read_config(folder)
        run = build(RunConfig, found["run"])
    except UserError:  # damaged; the run itself will say so
        return BEGUN
    if run != planned.run:
        return OTHER
    if dataset is not None and (folder / found["dataset"]).resolve() != dataset.resolve():
        return OTHER
    return DONE if RunFolder(folder).finished else BEGUN


def finished(
    sweep: SweepConfig, key: str, runs_folder: Path, dataset: Path | None = None
) -> dict[int, Path]:
    """Seed -> folder of every finished run of the row `key`, whichever call trained it."""
    found = {}
    for folder in runs_folder.glob(f"{key}-seed*"):
        seed = folder.name.removeprefix(f"{key}-seed")
        if re.fullmatch(r"\d+", seed):
            planned = run_of(sweep, key, int(seed))
            if planned.name == folder.name and state(planned, runs_folder, dataset) == DONE:
                found[int(seed)] = folder
    return dict(sorted(found.items()))
