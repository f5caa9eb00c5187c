"""An EEG teacher on recorded nights, by its own published recipe.

    python -m sacd_jax.train --config configs/s3ve_teacher.py:attnsleep --workdir runs/teacher \\
        --config.dataset.manifest=nights.csv

`configs/s3ve_teacher.py:sen` is Modified-SEN; `configs/s3ve_teacher.py:deepsleepnet` trains
DeepSleepNet in its two stages, `features` on single clips, then the whole network on nights in
their order.

AttnSleep: config.json, trainer/trainer.py and utils/util.py of emadeldeen24/AttnSleep; the number
of passes is that of the paper, which trained it for 58. DeepSleepNet: train.py,
deepsleep/trainer.py and optimize.py of akaraspt/deepsleepnet. Modified-SEN: run.py and model.py of
xiyangcai/SEN-DAL; its early stop, which keeps the pass that is best in validation, is `select`.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from input_pipeline.clips import ClipSettings
from input_pipeline.errors import UserError
from input_pipeline.splits import SplitSettings
from sacd_jax.config import RunConfig, with_defaults

PASSES = 58.0
"""AttnSleep's, in the paper."""

_ADAM = {"name": "adam", "schedule": "constant", "weight_decay": 0.0}

RECIPES: dict[str, dict[str, Any]] = {
    "attnsleep": {
        "student": {"name": "attnsleep"},
        "class_weights": "attnsleep",
        "batch_size": 128,
        "passes": PASSES,
        "optimizer": {
            "name": "amsgrad",
            "learning_rate": 1e-3,
            "schedule": "step",
            "milestones": (10 / PASSES,),  # a share of the run: 1e-4 after ten passes
            "decay": 0.1,
            "weight_decay": 1e-3,
        },
        "eval_batch_size": 256,
    },
    "deepsleepnet_features": {
        "student": {"name": "deepsleepnet_features"},
        "batch_mode": "balanced",
        "batch_size": 100,
        "passes": 100.0,
        "optimizer": {**_ADAM, "learning_rate": 1e-4},
        "eval_batch_size": 256,
    },
    "deepsleepnet": {
        "student": {"name": "deepsleepnet"},
        "batch_mode": "sequences",
        "group_size": 25,
        "batch_size": 250,  # ten sequences
        "passes": 200.0,
        "optimizer": {
            **_ADAM,
            "learning_rate": 1e-4,
            "factors": {"features": 0.01},
            "clip_norm": 10.0,
        },
        "eval_batch_size": 250,
    },
    "sen": {
        "student": {"name": "sen", "options": {"domains": "subjects"}},
        "batch_size": 64,
        "passes": 100.0,
        "optimizer": {**_ADAM, "learning_rate": 1e-3},
        "eval_batch_size": 256,
    },
}
"""Network -> settings of its training."""

FIRST_STAGE = {"deepsleepnet": ("features", "deepsleepnet_features")}
"""Network that is trained in two stages -> the part that the first one trains, and its network."""

TEACHERS = ("attnsleep", "deepsleepnet", "sen")


def dataset() -> dict[str, Any]:
    """Recorded nights; the manifest stands on the command line, or lies in the current folder."""
    return {
        "name": "s3ve",
        "manifest": "nights.csv",
        "clips": with_defaults(ClipSettings, {}),
        "split": with_defaults(SplitSettings, {}),
    }


def runs(
    teacher: str, name: str = "teacher", recipes: Mapping[str, Mapping[str, Any]] = RECIPES
) -> dict[str, dict[str, Any]]:
    """The trainings that make a teacher, in their order; the last is called `name`.

    Raises:
        UserError: there is no recipe for it.
    """
    if teacher not in TEACHERS:
        raise UserError(f"teacher {teacher!r} has no recipe: expected {' or '.join(TEACHERS)}")
    stages: dict[str, dict[str, Any]] = {}
    last = {"task": "classify", **recipes[teacher]}
    if teacher in FIRST_STAGE:
        part, network = FIRST_STAGE[teacher]
        first = f"{name}_{part}"
        stages[first] = with_defaults(RunConfig, {"task": "classify", **recipes[network]})
        last["student"] = {**last["student"], "parts": {part: first}}
    return {**stages, name: with_defaults(RunConfig, last)}


def get_config(teacher: str = "attnsleep") -> ConfigDict:
    """`teacher` is a name in `TEACHERS`."""
    trained = runs(teacher, teacher)
    if len(trained) == 1:
        return ConfigDict({"dataset": dataset(), **trained[teacher]})
    config = ConfigDict({"dataset": dataset(), "order": tuple(trained)})
    config.runs = trained
    return config
