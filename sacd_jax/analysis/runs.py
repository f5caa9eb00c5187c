"""Which runs are meant, by the folders and names that a user gives."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from input_pipeline.datasets.dataset_files import DatasetInfo, read_info
from input_pipeline.errors import UserError, suggestion
from input_pipeline.stages import STAGES
from sacd_jax.report import wording
from sacd_jax.report.experiment import read_description
from sacd_jax.runs import run_folder
from sacd_jax.runs.run_folder import ExperimentFolder, RunFolder


@dataclass(frozen=True)
class FinishedRun:
    """A run whose network is there, and its data."""

    name: str
    folder: RunFolder
    dataset: Path
    info: DatasetInfo

    @property
    def caution(self) -> str:
        """What must stand below its figures."""
        return " ".join(wording.cautions(vars(self.info)))


def find_runs(workdirs: Sequence[Path], names: Sequence[str] = ()) -> list[FinishedRun]:
    """The finished runs in folders of runs and of experiments, in order.

    Args:
        workdirs: folders.
        names: only these runs, in this order; all if empty.

    Raises:
        UserError: a folder is of neither kind, a run is not there or not finished, or its data have
            other classes than sleep stages.
    """
    folders: dict[str, Path] = {}
    for workdir in workdirs:
        experiment = ExperimentFolder(workdir)
        if experiment.description.is_file():
            names_inside = read_description(experiment)["runs"]
            inside = {name: experiment.run(name).path for name in names_inside}
        else:
            run_folder.read_config(workdir)
            inside = {workdir.resolve().name: workdir}
        for name, path in inside.items():
            key = name if name not in folders else f"{workdir.resolve().name}/{name}"
            if key in folders:
                raise UserError(f"{path}: two runs of that name are given, expected each once")
            folders[key] = path
    for name in names:
        if name not in folders:
            raise UserError(f"run {name!r} is not there: {suggestion(name, list(folders))}")
    chosen = {name: folders[name] for name in names or folders}
    finished = {name: path for name, path in chosen.items() if RunFolder(path).finished}
    if not finished or (names and len(finished) < len(names)):
        missing = ", ".join(repr(name) for name in chosen if name not in finished)
        raise UserError(f"run {missing} is not finished: train it to its end first")
    return [_open(name, path) for name, path in finished.items()]


def _open(name: str, path: Path) -> FinishedRun:
    _, dataset = run_folder.read_run(path)
    info = read_info(dataset)
    if info.classes != STAGES:
        raise UserError(f"run {name!r}: its data have no sleep stages, expected {list(STAGES)}")
    return FinishedRun(name, RunFolder(path), dataset, info)
