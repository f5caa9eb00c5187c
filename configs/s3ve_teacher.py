"""An EEG teacher on recorded nights, by its own published recipe.

    python -m sacd_jax.train --config configs/s3ve_teacher.py:attnsleep --workdir runs/teacher \\
        --config.dataset.manifest=nights.csv

AttnSleep: config.json, trainer/trainer.py and utils/util.py of emadeldeen24/AttnSleep; the number
of passes is that of the paper, which trained it for 58.
"""

from typing import Any

from ml_collections import ConfigDict

from input_pipeline.clips import ClipSettings
from input_pipeline.errors import UserError
from input_pipeline.splits import SplitSettings
from sacd_jax.config import RunConfig, with_defaults

PASSES = 58.0

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
}


def dataset() -> dict[str, Any]:
    """Recorded nights; the manifest stands on the command line, or lies in the current folder."""
    return {
        "name": "s3ve",
        "manifest": "nights.csv",
        "clips": with_defaults(ClipSettings, {}),
        "split": with_defaults(SplitSettings, {}),
    }


def recipe(teacher: str) -> dict[str, Any]:
    """Settings of the training of a teacher.

    Raises:
        UserError: there is no recipe for it.
    """
    if teacher not in RECIPES:
        raise UserError(f"teacher {teacher!r} has no recipe: expected {' or '.join(RECIPES)}")
    return {"task": "classify", **RECIPES[teacher]}


def get_config(teacher: str = "attnsleep") -> ConfigDict:
    """`teacher` is a name in `RECIPES`."""
    return ConfigDict({"dataset": dataset(), **with_defaults(RunConfig, recipe(teacher))})
