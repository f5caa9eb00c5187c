"""The table of a sweep: figures of its finished runs beside the paper's."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from input_pipeline.datasets.dataset_files import DatasetInfo, read_info
from input_pipeline.files import whole_file, write_json
from input_pipeline.stages import STAGES
from sacd_jax.report import classification, statistics, tables, wording
from sacd_jax.report.paper_results import (
    FIGURE_5,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    TABLE_5,
    PaperResult,
)
from sacd_jax.report.runs import Run, check_same_clips, read_run, subject_counts
from sacd_jax.report.tables import Cell, MethodRow, Table, Verdict, method_table
from sacd_jax.sweeps import plan
from sacd_jax.sweeps.plan import Planned
from sacd_jax.sweeps.sweep_config import SweepConfig


def weights_name(graph: float, contrast: float, jsd: float) -> str:
    """Name of a row of Figure 5: the weights of L_D, L_C and JSD."""
    return f"{graph:g}, {contrast:g}, {jsd:g}"


PAPER: dict[str, Mapping[tuple[str, str], PaperResult]] = {
    "": {},
    "table2": TABLE_2,
    "table3": TABLE_3,
    "table4": TABLE_4,
    "table5": TABLE_5,
    "figure5": {("", weights_name(*at)): PaperResult(value) for at, value in FIGURE_5.items()},
}
"""Name -> (group, name) of a row -> the paper's figures."""


def write(
    sweep: SweepConfig, runs_folder: Path, dataset: Path, folder: Path, resamples: int = 2000
) -> Path:
    """Writes the table of the runs that are finished, as Markdown and JSON.

    Args:
        sweep: rows without a finished run are named below the table; those of which the paper has
            figures stand in it all the same.
        runs_folder: folder of the runs. Every seed found there counts; runs with other settings or
            on other data do not.
        dataset: the built data set.
        folder: where the two files go, named after the sweep.
        resamples: bootstrap samples.

    Returns:
        the path of the Markdown.

    Raises:
        UserError: a run's file is broken, or runs were tested on different clips.
    """
    info = read_info(dataset)
    found = {
        key: {
            seed: read_run(f"{key}-seed{seed}", path)
            for seed, path in plan.finished(sweep, key, runs_folder, dataset).items()
        }
        for key in sweep.rows
    }
    teachers = {
        name: read_run(name, runs_folder / name)
        for name, run in sweep.teachers.items()
        if plan.state(plan.Planned(name, run), runs_folder, dataset) == plan.DONE
    }
    everything = [*teachers.values(), *(run for seeds in found.values() for run in seeds.values())]
    if everything:
        check_same_clips(everything)
    rows = [
        MethodRow(
            row.name,
            {seed: subject_counts(run.predictions)[1] for seed, run in found[key].items()},
            row.group,
        )
        for key, row in sweep.rows.items()
    ]
    markdown, value = method_table(
        rows,
        reference=sweep.reference or None,
        paper=PAPER[sweep.paper],
        title=sweep.title or sweep.name,
        columns=tables.DEFAULT_COLUMNS if info.classes == STAGES else classification.COLUMNS,
        names=info.classes,
        notes=(
            *_about_data(info, everything),
            *sweep.notes,
            *_about_teachers(teachers, info.classes),
            *_about_seeds(sweep, found),
            *_about_devices(sweep, found),
        ),
        resamples=resamples,
        verdict=_verdict(sweep),
    )
    data: dict[str, Any] = asdict(info)
    path = folder / f"{sweep.name}.md"
    with whole_file(path) as temporary:
        temporary.write_text(markdown, encoding="utf-8")
    write_json(path.with_suffix(".json"), {"sweep": sweep.name, "data": data, **value})
    return path


def _verdict(sweep: SweepConfig) -> Verdict | None:
    judgement = sweep.judgement
    if judgement is None:
        return None
    return Verdict(judgement.figure, judgement.correction, judgement.level)


def _about_data(info: DatasetInfo, runs: Sequence[Run]) -> list[str]:
    """What differs from the paper's data."""
    kind = "simulated" if info.simulated else "recorded"
    said = [f"Data: {kind} nights" if info.classes == STAGES else f"Data: {info.name}"]
    if runs:
        predictions = runs[0].predictions
        subjects, scored = len(set(predictions.subject_id)), int((predictions.stage >= 0).sum())
        said.append(f"{wording.counted(subjects, 'test subject')}, {scored} scored test clips")
    said.append(f"split {info.split_mode}")
    sentences = ["; ".join(said) + "."]
    if info.classes == STAGES:
        sentences.append("The paper: 105 subjects of S3VE, 31,551 test clips.")
        sentences += wording.cautions(asdict(info))
    return sentences


def _about_teachers(teachers: Mapping[str, Run], classes: Sequence[str]) -> list[str]:
    said = []
    for name, run in teachers.items():
        _, counts = subject_counts(run.predictions)
        accuracy = float(statistics.figures(counts.sum(0), classes)["accuracy"])
        said.append(f"{name} {tables.number('accuracy', accuracy)}")
    return [f"Accuracy of the teachers on the same clips: {', '.join(said)}."] if said else []


def _about_seeds(sweep: SweepConfig, found: Mapping[str, Mapping[int, Run]]) -> list[str]:
    """How many seeds are behind each row; a row without ± has one."""
    by_seeds: dict[tuple[int, ...], list[str]] = {}
    for key in sweep.rows:
        by_seeds.setdefault(tuple(found[key]), []).append(_label(sweep, key))
    said = []
    for seeds, labels in by_seeds.items():
        rows = "all rows" if len(by_seeds) == 1 else ", ".join(labels)
        listed = f"seeds {', '.join(map(str, seeds))}" if seeds else "no finished run"
        said.append(f"{listed}: {rows}")
    return ["Behind the rows: " + "; ".join(said) + "."]


def _about_devices(sweep: SweepConfig, found: Mapping[str, Mapping[int, Run]]) -> list[str]:
    """What the runs were computed in and on: `precision=auto` is not the same everywhere."""
    by_kind: dict[str, list[str]] = {}
    for key, seeds in found.items():
        for run in seeds.values():
            precision = run.config.get("precision", "float32")
            device = run.versions.get("device", "a device that is not named")
            labels = by_kind.setdefault(f"{precision} on {device}", [])
            if _label(sweep, key) not in labels:
                labels.append(_label(sweep, key))
    if len(by_kind) < 2:
        return [f"Computed in {kind}." for kind in by_kind]
    said = (f"{kind}: {', '.join(labels)}" for kind, labels in by_kind.items())
    return [f"Not all computed alike. In {'; '.join(said)}."]


def _label(sweep: SweepConfig, key: str) -> str:
    row = sweep.rows[key]
    return f"{row.group}: {row.name}" if row.group else row.name


def listing(sweep: SweepConfig, runs: Sequence[Planned], runs_folder: Path) -> Table:
    """The runs and their states."""
    states = {run.name: plan.state(run, runs_folder) for run in runs}
    done = sum(state == plan.DONE for state in states.values())
    body = tuple((Cell(name), Cell(state)) for name, state in states.items())
    title = sweep.title or sweep.name
    return Table(title, ("run", "state"), body, (f"{done} of {len(runs)} runs done.",))
