"""The folders of a run and of an experiment: the only module that knows their file names."""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.errors import UserError
from input_pipeline.files import remove_unfinished
from sacd_jax import config as configs
from sacd_jax.config import RunConfig

PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "jraph", "numpy")


@dataclass(frozen=True)
class RunFolder:
    """The folder of one training.

    Attributes:
        path: of the folder; its name is the run's, and the folders of the experiment's other runs
            lie beside it.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The resolved settings, and which data set they were used on."""
        return self.path / "config.json"

    @property
    def versions(self) -> Path:
        """Versions of Python and of the packages that computed."""
        return self.path / "versions.json"

    @property
    def lock(self) -> Path:
        """Held by the process that trains here."""
        return self.path / ".lock"

    @property
    def metrics(self) -> Path:
        """The log, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def goodput(self) -> Path:
        """Where the time of its starts went."""
        return self.path / "goodput.json"

    @property
    def profile(self) -> Path:
        """Traces of steps, for xprof."""
        return self.path / "profile"

    @property
    def tensorboard(self) -> Path:
        """The same figures for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def checkpoints(self) -> Path:
        """States to resume from."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The selected network, a folder of `model_file`."""
        return self.path / "model"

    @property
    def folds_lock(self) -> Path:
        """Held by the process that trains this training's folds."""
        return self.path / ".folds.lock"

    @property
    def clip_network(self) -> Path:
        """A copy of the network whose embeddings the selected one reads; a folder of
        `model_file`."""
        return self.model / "clips"

    def predictions(self, split: str) -> Path:
        """The selected network's predictions on a split."""
        return self.path / f"predictions_{split}.npz"

    @property
    def temperature(self) -> Path:
        """What its scores are divided by to become probabilities."""
        return self.path / "temperature.json"

    def teacher_cache(self, split: str, folds: int = 0) -> Path:
        """Outputs of the selected network on a split, for students that learn from it.

        With `folds`, those of as many networks that were trained without a part of the subjects.
        """
        return self.path / "teacher_cache" / (f"{split}-of-{folds}-folds" if folds else split)

    def without_fold(self, fold: int, folds: int) -> "RunFolder":
        """The same training without one of so many parts of the subjects, beside this one."""
        return RunFolder(self.path.with_name(f"{self.path.name}-without-{fold}-of-{folds}"))

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end: the last thing it writes is there."""
        return self.predictions("test").exists()


@dataclass(frozen=True)
class ExperimentFolder:
    """The folder of an experiment: its runs, each in a folder of its own, and their comparison."""

    path: Path

    def run(self, name: str) -> RunFolder:
        """The folder of one of its runs."""
        return RunFolder(self.path / name)

    @property
    def description(self) -> Path:
        """Names of the runs, and where the data lie."""
        return self.path / "experiment.json"

    @property
    def results(self) -> Path:
        """Every number of the comparison."""
        return self.path / "results.json"

    @property
    def table(self) -> Path:
        """The comparison as a table in Markdown."""
        return self.path / "table.md"

    @property
    def subjects(self) -> Path:
        """The figures of each test subject, as CSV."""
        return self.path / "subjects.csv"

    @property
    def page(self) -> Path:
        """The comparison as one HTML page."""
        return self.path / "report.html"


def analysis_folder(workdir: Path) -> Path:
    """Where the figures of a run's or an experiment's analysis lie."""
    return workdir / "analysis"


def claim(workdir: Path, run: RunConfig, dataset: Path, precision: str = "float32") -> RunFolder:
    """Makes the folder of a run, or checks that it belongs to this very run.

    Writes the resolved settings, the path of the data set (relative to the folder), what the
    networks compute in and the versions of what computes. A run does not go on in other numbers.

    Raises:
        UserError: the folder holds a run with other settings; names the first that differs.
    """
    folder = RunFolder(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    wanted = {
        "dataset": path_from(workdir, dataset),
        "run": configs.as_json(run),
        "precision": precision,
    }
    refuse_other(workdir, wanted)
    if jax.process_index() != 0:
        return folder
    for written in (workdir, folder.model, folder.clip_network):
        remove_unfinished(written)
    if not folder.config.exists():
        versions = {name: metadata.version(name) for name in PACKAGES}
        device = jax.devices()[0].device_kind
        write_verified_json(
            folder.versions, {"python": platform.python_version(), **versions, "device": device}
        )
        write_verified_json(folder.config, wanted)
    return folder


def refuse_other(workdir: Path, wanted: Mapping[str, Any]) -> None:
    """Refuses a folder that holds another run than the one that is wanted; an empty one is fine.

    Args:
        workdir: of the run.
        wanted: some or all of what `claim` writes, as JSON has it.

    Raises:
        UserError: names the first setting that differs.
    """
    folder = RunFolder(workdir)
    if not folder.config.exists():
        _refuse_traces(folder)
        return
    stored = read_config(workdir)
    stored.setdefault("precision", "float32")  # all there was before it could be chosen
    found = {key: stored.get(key) for key in wanted}
    if "run" in wanted:
        # Read as settings, so that a run of an earlier version is the run that it says it is.
        run = configs.build(RunConfig, stored["run"], f"{folder.config}, run")
        found["run"] = configs.as_json(run)
    difference = first_difference(found, wanted)
    if difference:
        key, there, here = difference
        raise UserError(
            f"{workdir} holds a run with {key} = {there!r}, now it is {here!r}; "
            "use another workdir or delete this one"
        )


def _refuse_traces(folder: RunFolder) -> None:
    """Refuses a folder in which something has trained, but which does not say what: a run would go
    on from another's state, or take its predictions for its own."""
    trained = (folder.predictions("test"), folder.model, folder.metrics, folder.checkpoints)
    for path in trained:
        if path.is_file() or any(path.glob("[!.]*")):
            raise UserError(
                f"{folder.path} has {path.name} of a run, but no {folder.config.name} that says "
                "which; use another workdir or delete this one"
            )


def path_from(folder: Path, target: Path) -> str:
    """The path from a folder to what lies beside it, which stays right when both are moved.

    A `..` behind a link leads to where the link leads: where that matters, links are followed.
    """
    as_named = os.path.relpath(target, folder)
    if (folder / as_named).resolve() == target.resolve():
        return as_named
    return os.path.relpath(target.resolve(), folder.resolve())


def read_config(workdir: Path) -> dict[str, Any]:
    """`{"dataset": …, "run": …}` as `claim` wrote it.

    Raises:
        UserError: no such file, it is damaged, or it is no JSON object of these two.
    """
    path = RunFolder(workdir).config
    if not path.is_file():
        raise UserError(f"no {path.name} in {workdir}: expected the folder of a run")
    found = read_stored(path)
    if not {"dataset", "run"} <= set(found):
        raise UserError(f"{path}: expected an object with the keys dataset and run")
    return found


def read_stored(path: Path) -> dict[str, Any]:
    """A JSON file of a run or an experiment; those of earlier versions have no digest.

    Raises:
        UserError: no such file, or it is damaged or was changed.
    """
    mend = "if the change is yours, delete the line of its digest; else train in another folder"
    return read_verified_json(path, what="stored settings", mend=mend, by_hand=True)


def read_run(workdir: Path) -> tuple[RunConfig, Path]:
    """Settings of the run in a folder, and the folder of the data set it was trained on.

    Raises:
        UserError: not the folder of a run, or its settings are not ones that this version has.
    """
    stored, path = read_config(workdir), RunFolder(workdir).config
    return configs.build(RunConfig, stored["run"], f"{path}, run"), workdir / stored["dataset"]


def first_difference(found: Any, wanted: Any, key: str = "") -> tuple[str, Any, Any] | None:
    """The path of the first value in which two JSON values differ, and both; None if equal."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        for name in sorted({*found, *wanted}):
            inner = first_difference(
                found.get(name), wanted.get(name), f"{key}.{name}" if key else name
            )
            if inner:
                return inner
        return None
    return None if found == wanted else (key, found, wanted)
