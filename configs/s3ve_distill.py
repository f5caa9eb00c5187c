"""Recorded nights: an EEG teacher, a video student alone, and the student distilled from it.

    python -m sacd_jax.train --config configs/s3ve_distill.py:r3d_18,crd --workdir runs/r3d_18 \\
        --config.dataset.manifest=nights.csv

The argument is the student, and after a comma the method; left out, they are the paper's
r2plus1d_18 and sacd. Another method in the same workdir takes the teacher and the baseline that
are there. With a teacher trained elsewhere and from public weights:

        --runs=crd --config.runs.crd.teacher.pretrained=runs/teacher \\
        --config.runs.crd.student.pretrained=weights/r3d_18
"""

import dataclasses

from ml_collections import ConfigDict

from configs import s3ve_baseline, s3ve_teacher
from sacd_jax import objectives
from sacd_jax.config import RunConfig, with_defaults

TEACHER = "attnsleep"


def get_config(choice: str = "r2plus1d_18,sacd") -> ConfigDict:
    """`choice` is STUDENT,METHOD: names in `sacd_jax.models` and `sacd_jax.objectives`."""
    student, _, method = choice.partition(",")
    method = method or "sacd"
    video = s3ve_baseline.recipe(student or "r2plus1d_18")
    # Written out, so that the command line can override any of them.
    objective = objectives.create(method)
    options = {f.name: getattr(objective, f.name) for f in dataclasses.fields(objective)}
    weights = dict(options.pop("weights"))
    runs = {
        "teacher": s3ve_teacher.recipe(TEACHER),
        "baseline": {"task": "classify", **video},
        method: {
            "task": "distill",
            **video,
            "teacher": {"name": TEACHER, "pretrained": "teacher"},
            "objective": {
                "name": method,
                "weights": weights,
                "options": {name: value for name, value in options.items() if value is not None},
            },
        },
    }
    config = ConfigDict({"dataset": s3ve_teacher.dataset(), "order": tuple(runs)})
    config.runs = {name: with_defaults(RunConfig, run) for name, run in runs.items()}
    return config
