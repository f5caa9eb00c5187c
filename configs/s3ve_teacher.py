"""An EEG teacher on recorded nights, by its own published recipe.

    python -m sacd_jax.train --config configs/s3ve_teacher.py:teacher=attnsleep \\
        --workdir runs/teacher --config.dataset.manifest=nights.csv

`teacher=sen` is Modified-SEN; `teacher=deepsleepnet` trains DeepSleepNet in its two stages, its
`features` on single clips, then the whole network on nights in their order.

AttnSleep: config.json, trainer/trainer.py and utils/util.py of emadeldeen24/AttnSleep; the number
of passes is that of the paper, which trained it for 58. DeepSleepNet: train.py,
deepsleep/trainer.py and optimize.py of akaraspt/deepsleepnet. Modified-SEN: run.py and model.py of
xiyangcai/SEN-DAL; its early stop, which keeps the pass that is best in validation, is `select`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.errors import UserError, suggestion
from sacd_jax.config import EncoderConfig, Experiment, OptimizerConfig, RunConfig

PASSES = 58.0
"""AttnSleep's, in the paper."""

_ADAM = OptimizerConfig("adam", learning_rate=1e-4, schedule="constant", weight_decay=0.0)

RECIPES = {
    "attnsleep": RunConfig(
        task="classify",
        student=EncoderConfig("attnsleep"),
        class_weights="attnsleep",
        batch_size=128,
        passes=PASSES,
        optimizer=OptimizerConfig(
            "amsgrad",
            learning_rate=1e-3,
            schedule="step",
            milestones=(10 / PASSES,),  # a share of the run: 1e-4 after ten passes
            decay=0.1,
            weight_decay=1e-3,
        ),
        eval_batch_size=256,
    ),
    "deepsleepnet_features": RunConfig(
        task="classify",
        student=EncoderConfig("deepsleepnet_features"),
        batch_mode="balanced",
        batch_size=100,
        passes=100.0,
        optimizer=_ADAM,
        eval_batch_size=256,
    ),
    "deepsleepnet": RunConfig(
        task="classify",
        student=EncoderConfig("deepsleepnet"),
        batch_mode="sequences",
        consecutive_clips=25,
        batch_size=250,  # ten sequences
        passes=200.0,
        optimizer=replace(_ADAM, factors={"features": 0.01}, clip_norm=10.0),
        eval_batch_size=250,
    ),
    "sen": RunConfig(
        task="classify",
        student=EncoderConfig("sen", {"domains": "subjects"}),
        batch_size=64,
        passes=100.0,
        optimizer=replace(_ADAM, learning_rate=1e-3),
        eval_batch_size=256,
    ),
}
"""Network -> its training."""

FIRST_STAGE = {"deepsleepnet": ("features", "deepsleepnet_features")}
"""Network trained in two stages -> the submodule that the first one trains, and its network."""

TEACHERS = ("attnsleep", "deepsleepnet", "sen")


def dataset() -> DatasetSettings:
    """Recorded nights; the manifest stands on the command line, or lies in the current folder."""
    return DatasetSettings("s3ve", manifest=Path("nights.csv"))


def runs(
    teacher: str, name: str = "teacher", recipes: Mapping[str, RunConfig] = RECIPES
) -> dict[str, RunConfig]:
    """The trainings that make a teacher, in their order; the last is called `name`.

    Raises:
        UserError: there is no recipe for it.
    """
    if teacher not in TEACHERS:
        raise UserError(f"teacher {teacher!r} has no recipe: {suggestion(teacher, TEACHERS)}")
    last = recipes[teacher]
    if teacher not in FIRST_STAGE:
        return {name: last}
    part, network = FIRST_STAGE[teacher]
    first = f"{name}_{part}"
    student = replace(last.student, parts={part: first})
    return {first: recipes[network], name: replace(last, student=student)}


def get_config(teacher: str = "attnsleep") -> Experiment:
    """The training of a teacher, a name in `TEACHERS`."""
    trained = runs(teacher, teacher)
    return Experiment(dataset(), trained if len(trained) > 1 else {"": trained[teacher]})
