"""How long a run is: the clips of a pass, and the steps from its start to its end."""

from pathlib import Path

from input_pipeline.errors import UserError
from input_pipeline.groups import steps_per_pass
from input_pipeline.source import ClipSource, open_split
from sacd_jax.config import RunConfig
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.training import teacher_folds


def training_split(run: RunConfig, dataset: Path) -> tuple[ClipSource, tuple[str, ...]]:
    """The training clips as a run sees them, and the subjects that it does without."""
    source = open_split(dataset, "train")
    left_out = teacher_folds.left_out(run, source.table)
    source = source.with_labels_of(run.label_fraction, run.seed).without_subjects(left_out)
    return source, left_out


def steps_a_pass(run: RunConfig, source: ClipSource) -> int:
    """Steps of one pass over the training clips.

    Raises:
        UserError: the clips fill no batch.
    """
    return steps_per_pass(
        source.table, run.batch_size, run.batch_mode, run.consecutive_clips, run.uses_unlabelled
    )


def total_steps(run: RunConfig, a_pass: int) -> int:
    """Steps of the whole run, given those of a pass."""
    return max(1, round(run.passes * a_pass))


def refuse_unfinished(run: RunConfig, folder: RunFolder, dataset: Path) -> None:
    """Refuses a run that was stopped before its end: with predictions it would count as finished.

    A run whose checkpoints were left behind when it was copied passes.

    Raises:
        UserError: says how far it is.
    """
    if folder.finished or not folder.checkpoints.is_dir():
        return
    from sacd_jax.training.checkpoints import newest_step  # Orbax is slow to import

    step = newest_step(folder.checkpoints)
    total = total_steps(run, steps_a_pass(run, training_split(run, dataset)[0]))
    if step < total:
        raise UserError(
            f"{folder.path}: its training stopped at step {step} of {total}; expected a finished "
            "run: the command that trains it goes on"
        )
