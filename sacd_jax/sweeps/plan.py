"""Which runs a sweep has: its rows, each with several seeds, and the teachers that they share."""

import dataclasses
import fnmatch
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.errors import UserError
from sacd_jax import config as configs
from sacd_jax.config import RunConfig
from sacd_jax.evaluate import predictions_file
from sacd_jax.runs import run_folder

RUNS = "runs"
"""Folder of the runs within a sweep's."""

DONE, BEGUN, MISSING, OTHER = "done", "begun", "missing", "other settings"


@dataclass(frozen=True)
class SweepConfig:
    """A sweep's config file as it is written; `resolve` makes the runs from it.

    Attributes:
        name: of the table's files.
        dataset: shared by all runs.
        row: settings that the runs of all rows share.
        rows: key of a row -> {"name": …, "group": …, "run": what differs from `row`}; `name` and
            `group` (the teacher, say) are what the table shows.
        order: the keys of `rows`: a ConfigDict forgets the order.
        teachers: name -> a run that is trained once; rows name it in `teacher.pretrained`.
        seeds: of each row.
        title: above the table.
        reference: name of the row that the others are judged against.
        paper: a key of `table.PAPER`, or "".
        notes: sentences below the table.
    """

    name: str
    dataset: DatasetSettings
    row: dict[str, Any]
    rows: dict[str, Any]
    order: tuple[str, ...]
    teachers: dict[str, Any] = dataclasses.field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1, 2)
    title: str = ""
    reference: str = ""
    paper: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A line of the table; its runs differ in the seed alone."""

    key: str
    name: str
    group: str
    run: RunConfig


@dataclass(frozen=True)
class Sweep:
    """A checked sweep."""

    config: SweepConfig
    rows: tuple[Row, ...]
    teachers: dict[str, RunConfig]


@dataclass(frozen=True)
class Planned:
    """One training: its folder's name, its settings, the runs that must be done before."""

    name: str
    run: RunConfig
    needs: tuple[str, ...] = ()


def resolve(config: ConfigDict) -> Sweep:
    """Checks a sweep's config file and freezes it.

    Raises:
        UserError: names the key, what was found and what was expected.
    """
    values = configs.build(SweepConfig, config.to_dict())
    if sorted(values.order) != sorted(values.rows):
        raise UserError(
            f"config.order is {values.order}, expected the names in config.rows: {set(values.rows)}"
        )
    teachers = {name: _run(run, f"config.teachers.{name}") for name, run in values.teachers.items()}
    rows = []
    for key in values.order:
        where = f"config.rows.{key}"
        found = values.rows[key]
        if not isinstance(found, Mapping) or not set(found) <= {"name", "group", "run"}:
            raise UserError(f"{where} is {found!r}, expected a group of name, group and run")
        run = _run(_merged(values.row, found.get("run", {})), where)
        rows.append(Row(key, found.get("name", key), found.get("group", ""), run))
    labels = [(row.group, row.name) for row in rows]
    for label in labels:
        if labels.count(label) > 1:
            raise UserError(f"config.rows has several rows of group and name {label}, expected one")
    if values.reference and values.reference not in [name for _, name in labels]:
        raise UserError(f"config.reference is {values.reference!r}, expected the name of a row")
    for name in (*teachers, *(row.key for row in rows)):
        if not re.fullmatch(r"[\w.+-]+", name):
            raise UserError(f"config: {name!r} cannot name a folder")
    return Sweep(values, tuple(rows), teachers)


def _run(values: Mapping[str, Any], where: str) -> RunConfig:
    return configs.check(configs.build(RunConfig, values, where), where)


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


def run_of(sweep: Sweep, row: Row, seed: int) -> Planned:
    """The run of a row with a seed."""
    run = dataclasses.replace(row.run, seed=seed)
    return Planned(f"{row.key}-seed{seed}", run, _needs(sweep, run))


def _needs(sweep: Sweep, run: RunConfig) -> tuple[str, ...]:
    """The sweep's teachers that lend a run their weights."""
    lenders = [run.student.pretrained, *run.student.parts.values()]
    if run.teacher is not None:
        lenders.append(run.teacher.pretrained)
    return tuple(dict.fromkeys(name for name in lenders if name in sweep.teachers))


def row_runs(sweep: Sweep, seeds: Sequence[int], patterns: Sequence[str] = ()) -> list[Planned]:
    """The runs of the rows, seed by seed: a sweep that stops early has whole tables of few seeds.

    Args:
        patterns: keys of the rows that are meant, shell wildcards allowed; all if empty.

    Raises:
        UserError: a pattern fits no row.
    """
    for pattern in patterns:
        if not fnmatch.filter([row.key for row in sweep.rows], pattern):
            keys = ", ".join(row.key for row in sweep.rows)
            raise UserError(f"--rows: {pattern!r} fits no row, expected some of {keys}")
    chosen = [
        row
        for row in sweep.rows
        if not patterns or any(fnmatch.fnmatchcase(row.key, pattern) for pattern in patterns)
    ]
    return [run_of(sweep, row, seed) for seed in seeds for row in chosen]


def share(runs: Sequence[Planned], index: int, of: int) -> list[Planned]:
    """The `index`-th of `of` shares, counted from 0: every run is in exactly one.

    Raises:
        UserError: there is no such share.
    """
    if of < 1 or not 0 <= index < of:
        raise UserError(f"--index {index} --of {of}: expected an index from 0 to --of less 1")
    return list(runs[index::of])


def with_teachers(sweep: Sweep, runs: Sequence[Planned]) -> list[Planned]:
    """The teachers that the runs need, each after those it needs itself, then the runs."""
    teachers: dict[str, Planned] = {}
    met: set[str] = set()

    def add(names: Sequence[str]) -> None:
        for name in names:
            if name not in met:
                met.add(name)
                needs = _needs(sweep, sweep.teachers[name])
                add(needs)
                teachers[name] = Planned(name, sweep.teachers[name], needs)

    for run in runs:
        add(run.needs)
    return [*teachers.values(), *runs]


def state(planned: Planned, runs_folder: Path, dataset: Path | None = None) -> str:
    """How far a run is: `DONE`, `BEGUN`, `MISSING`, or `OTHER` where its folder holds another run.

    Args:
        dataset: a run on other data is another run; not looked at if None.
    """
    folder = runs_folder / planned.name
    if not (folder / run_folder.CONFIG).exists():
        return MISSING
    try:
        found = run_folder.read_config(folder)
    except UserError:  # cut off; the run itself will say so
        return BEGUN
    if found["run"] != configs.as_json(planned.run):
        return OTHER
    if dataset is not None and (folder / found["dataset"]).resolve() != dataset.resolve():
        return OTHER
    return DONE if predictions_file(folder, "test").exists() else BEGUN


def finished(
    sweep: Sweep, row: Row, runs_folder: Path, dataset: Path | None = None
) -> dict[int, Path]:
    """Seed -> folder of every finished run of a row, whichever call trained it."""
    found = {}
    for folder in runs_folder.glob(f"{row.key}-seed*"):
        seed = folder.name.removeprefix(f"{row.key}-seed")
        if re.fullmatch(r"\d+", seed):
            planned = run_of(sweep, row, int(seed))
            if planned.name == folder.name and state(planned, runs_folder, dataset) == DONE:
                found[int(seed)] = folder
    return dict(sorted(found.items()))
