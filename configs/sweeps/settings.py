"""What the sweeps share: data, student, teachers and their sizes.

The keys of rows mean the same run in every sweep, so several may share one workdir and with it the
teachers, the baseline and SACD at the paper's weights.
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from configs import demo, s3ve_baseline, s3ve_teacher
from input_pipeline.errors import UserError
from sacd_jax.config import RunConfig, with_defaults

TEACHERS = {
    "attnsleep": "AttnSleep",
    "deepsleepnet": "DeepSleepNet",
    "sen": "Modified-SEN",
}
"""Name of a teacher's run, which is its network's -> its name in the table."""

BASELINE = {"baseline": {"name": "R(2+1)D"}}
"""The row without distillation."""

DEMO_TEACHERS: dict[str, dict[str, Any]] = {
    "deepsleepnet_features": {"passes": 6.0, "rate": 1e-3, "options": {"norm_decay": 0.9}},
    "deepsleepnet": {
        "passes": 20.0,
        "rate": 3e-4,
        "options": {"norm_decay": 0.9},
        "batch_size": 100,
    },
    "sen": {"passes": 10.0, "rate": 1e-3},
}
"""Network -> what differs from its recipe at demo size; `rate` is the highest learning rate."""

DEMO_PASSES = 6.0
"""Of a student at demo size: a run takes at most a minute on 2 cores."""


def sweep(size: str, teachers: tuple[str, ...], **values: Any) -> ConfigDict:
    """A sweep's config with the data, the shared settings and the teachers of a size.

    Args:
        size: paper or demo.
        teachers: keys of `TEACHERS`.
        values: the other fields of `sweeps.plan.SweepConfig`; `notes` follow those of the size.
    """
    if size == "paper":
        dataset, row = s3ve_teacher.dataset(), s3ve_baseline.recipe("r2plus1d_18")
        recipes, notes = s3ve_teacher.RECIPES, ()
    elif size == "demo":
        experiment = demo.get_config().to_dict()
        dataset, runs = experiment["dataset"], experiment["runs"]
        row = {
            **runs["baseline"],
            "key_encoder_decay": runs["sacd"]["key_encoder_decay"],
            "passes": DEMO_PASSES,
            "evaluate_every_passes": DEMO_PASSES / 2,
            "checkpoint_every_passes": DEMO_PASSES / 2,
        }
        recipes = demo_teachers(runs["teacher"])
        notes = (
            f"Demo size: the student is {row['student']['name']} on frames of "
            f"{row['augment']['crop'][0]}x{row['augment']['crop'][1]}, {DEMO_PASSES:g} passes; "
            "the paper's is R(2+1)D-18 on 112x112, 80 passes.",
            "In so few steps the graph networks do not learn, and SACD's L_D hardly acts "
            "(docs/structure-graphs.md).",
        )
    else:
        raise UserError(f"sweep of size {size!r}: expected paper or demo")
    row = {"task": "classify", **row}
    config = ConfigDict(
        {
            "seeds": (0, 1, 2),
            **values,
            "dataset": dataset,
            "row": with_defaults(RunConfig, row),
            "notes": (*notes, *values.get("notes", ())),
        }
    )
    config.teachers = {
        run: settings
        for teacher in teachers
        for run, settings in s3ve_teacher.runs(teacher, teacher, recipes).items()
    }
    config.order = tuple(values["rows"])
    return config


def demo_teachers(attnsleep: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The teachers' recipes in fewer passes, with one cycle of the learning rate.

    Args:
        attnsleep: the demo's.
    """
    recipes: dict[str, dict[str, Any]] = {"attnsleep": dict(attnsleep)}
    for name, changes in DEMO_TEACHERS.items():
        recipe, changes = s3ve_teacher.RECIPES[name], dict(changes)
        own = recipe["student"].get("options", {})
        rate = changes.pop("rate")
        options = {**own, "eeg_scale": 20.0, **changes.pop("options", {})}
        recipes[name] = {
            **recipe,
            **changes,
            "student": {**recipe["student"], "options": options},
            "optimizer": {**recipe["optimizer"], "learning_rate": rate, "schedule": "one_cycle"},
        }
    return recipes


def distilled(
    size: str,
    teacher: str,
    method: str,
    weights: Mapping[str, float] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """What differs from the baseline's settings in a run that distils.

    Args:
        size: paper or demo; at demo size SACD has the options of the demo.
        teacher: a key of `TEACHERS`.
        method: a name in `sacd_jax.objectives`.
        weights: of loss terms, where they are not the method's own.
        options: of the method.
    """
    if size == "demo" and method == "sacd":
        shown = demo.get_config().runs.sacd.objective.to_dict()
        options = {**shown.get("options", {}), **options}
    return {
        "task": "distill",
        "teacher": {"name": teacher, "pretrained": teacher},
        "teacher_cache": True,
        "objective": {"name": method, "options": options, "weights": dict(weights or {})},
    }
