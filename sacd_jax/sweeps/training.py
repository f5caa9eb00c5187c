"""Trains the runs of a sweep: all that are missing in processes of their own, or one in this."""

from collections.abc import Sequence
from pathlib import Path

from input_pipeline.errors import UserError
from input_pipeline.files import only_one
from input_pipeline.progress import Progress
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.sweeps import children, plan
from sacd_jax.sweeps.plan import Planned
from sacd_jax.sweeps.sweep_config import SweepConfig
from sacd_jax.training.evaluator import evaluate_run
from sacd_jax.training.loop import train


def train_missing(
    sweep: SweepConfig,
    runs: Sequence[Planned],
    start: children.Start,
    workdir: Path,
    dataset: Path,
    jobs: int,
) -> dict[str, str]:
    """Trains the runs that are not done; returns name -> reason for those that failed."""
    runs_folder = workdir / plan.RUNS
    missing = [run for run in runs if plan.state(run, runs_folder, dataset) != plan.DONE]
    with Progress(
        f"sweep {sweep.name}", total=len(runs), unit="run", start=len(runs) - len(missing)
    ) as progress:
        return children.run_all(missing, start, workdir / "logs", jobs, progress)


def train_one(name: str, runs: Sequence[Planned], workdir: Path, dataset: Path) -> None:
    """Trains one run in this process. Others that want the same run wait, and then find it done.

    Raises:
        UserError: the sweep has no run of that name.
    """
    named = [run for run in runs if run.name == name]
    if not named:
        raise UserError(f"--run: the sweep has no run {name!r}; --list shows them")
    planned = named[0]
    with only_one(workdir / "locks" / name, f"waiting for another process to train {name}"):
        if (lender := planned.run.embeddings_of) in planned.needs:
            _store_embeddings(lender, workdir)
        train(planned.run, workdir / plan.RUNS / name, dataset)


def _store_embeddings(name: str, workdir: Path) -> None:
    """What a run says of the training clips, as one over nights learns from it."""
    folder = RunFolder(workdir / plan.RUNS / name)
    with only_one(workdir / "locks" / name, f"waiting for another process to evaluate {name}"):
        if not folder.predictions("train").is_file():
            evaluate_run(folder.path, "train")
