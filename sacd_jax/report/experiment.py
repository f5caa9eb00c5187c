"""The report of an experiment: its finished runs, compared on the test subjects."""

import dataclasses
from pathlib import Path
from typing import Any

from input_pipeline.datasets import data_card
from input_pipeline.datasets.dataset_files import read_info
from input_pipeline.datasets.simulated_nights import nights_folder
from input_pipeline.digests import write_verified_json
from input_pipeline.errors import UserError
from input_pipeline.files import only_results
from input_pipeline.stages import CLIP_SECONDS, STAGES
from sacd_jax.config import Experiment, RunConfig
from sacd_jax.report import wording
from sacd_jax.runs import predictions, run_folder
from sacd_jax.runs.run_folder import ExperimentFolder, RunFolder


def describe(experiment: Experiment, workdir: Path, dataset: Path) -> None:
    """Writes what the report of an experiment is made from into its folder."""
    nights = None
    if experiment.dataset.simulated:
        folder = nights_folder(experiment.dataset, dataset.parent)
        nights = run_folder.path_from(workdir, folder)
    description = {
        "dataset": run_folder.path_from(workdir, dataset),
        "nights": nights,
        "runs": list(experiment.runs),
    }
    with only_results(workdir):
        write_verified_json(ExperimentFolder(workdir).description, description)


def read_description(folder: ExperimentFolder) -> dict[str, Any]:
    """`{"dataset": …, "nights": …, "runs": …}` as `describe` wrote it.

    Raises:
        UserError: it is damaged, or not such a file.
    """
    facts = run_folder.read_stored(folder.description)
    runs = facts.get("runs")
    named = isinstance(runs, list) and all(isinstance(name, str) for name in runs)
    if not named or not {"dataset", "nights"} <= set(facts):
        raise UserError(
            f"{folder.description}: expected an object with the names of runs under runs, and "
            "dataset and nights; train one of the runs again, which writes it"
        )
    return facts


def _rival(run: RunConfig) -> str:
    """What a newcomer must know of a row that is no network."""
    said = "no network: gradient boosting on breathing and movement, read from the same pictures"
    around = run.student.options.get("neighbours")
    return f"{said}, with means over {wording.counted(max(around), 'clip')}" if around else said


def _context(run: RunConfig) -> str:
    """What a newcomer must know of a network over the night."""
    ahead = run.student.options.get("look_ahead")
    seen = "the whole unbroken piece of the night" if ahead is None else "what came before"
    later = f" and {wording.counted(ahead, 'later clip')}" if ahead else ""
    later += f", {ahead * CLIP_SECONDS:g} s late" if ahead is not None else ""
    return f"{run.embeddings_of}, and over its embeddings a small network that sees {seen}{later}"


def report(workdir: Path) -> Path:
    """Compares the finished runs of an experiment.

    Prints the tables and writes results.json, table.md and report.html. On simulated nights, the
    simulator's ceiling stands among the rows.

    Returns:
        the path of the page; of the table, for data of other classes than sleep stages.

    Raises:
        UserError: no run has predictions on the test subjects yet, or a file is damaged.
    """
    with only_results(workdir):
        return _report(ExperimentFolder(workdir))


def _report(folder: ExperimentFolder) -> Path:
    from input_pipeline.simulation.ceiling import ceiling  # with SciPy and matplotlib: slow
    from input_pipeline.source import open_split
    from sacd_jax.report import classification, comparison, comparison_files

    workdir = folder.path
    facts = read_description(folder)
    runs = {name: workdir / name for name in facts["runs"] if folder.run(name).finished}
    if not runs:
        raise UserError(f"no run in {workdir} is finished: no predictions on the test subjects")
    unfinished = [name for name in facts["runs"] if name not in runs]
    if unfinished:
        print(f"not finished here, so not in the report: {', '.join(unfinished)}")
    dataset = workdir / facts["dataset"]
    info = read_info(dataset)
    tested = {name: RunFolder(path).predictions("test") for name, path in runs.items()}
    predictions.check_data(tested, info.split_fingerprint("test"))
    if info.classes != STAGES:
        return classification.write(runs, info.classes, info.split_mode, folder)
    settings = {name: run_folder.read_run(path)[0] for name, path in runs.items()}
    rivals = [name for name in runs if settings[name].task == "boost"]
    lenders = {name: settings[name].embeddings_of for name in runs if name not in rivals}
    networks = [name for name, lender in lenders.items() if lender is None]
    # The last network against the one before it, and against every rival; context over the night
    # against the clips alone.
    judged = list(zip(networks[-1:], networks[-2:-1], strict=False))
    judged += [(network, each) for network in networks[-1:] for each in rivals]
    judged += [(name, lender) for name, lender in lenders.items() if lender in runs]
    ceilings = {}
    if facts["nights"]:
        last = settings[(networks or list(runs))[-1]]
        ceilings = ceiling(
            workdir / facts["nights"],
            open_split(dataset, "train").table,
            open_split(dataset, "test").table,
            moments=last.sampling.moments,
            lags_s=last.sampling.lags_s,
        )
    about = dataclasses.asdict(info)
    del about["files"]  # digests, for programs
    card = data_card.read_card(dataset, info)
    if card is not None:
        about["data_card"] = data_card.summary(card)
    results = comparison.compare(
        runs,
        ceilings,
        about,
        differences=judged,
        explanations={name: _rival(settings[name]) for name in rivals}
        | {name: _context(settings[name]) for name, lender in lenders.items() if lender},
    )
    comparison_files.show(results)
    return comparison_files.write(results, folder)
