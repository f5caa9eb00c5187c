"""Recorded nights: an EEG teacher, a video student alone, and the student distilled from it.

    python -m sacd_jax.train --config configs/s3ve_distill.py:r3d_18,crd,sen \\
        --workdir runs/r3d_18 --config.dataset.manifest=nights.csv

The argument is the student, the method and the teacher; what is left out is the paper's
r2plus1d_18, sacd and attnsleep. Another method in the same workdir takes the teacher and the
baseline that are there. With a teacher trained elsewhere and from public weights:

        --runs=crd --config.runs.crd.teacher.pretrained=runs/teacher \\
        --config.runs.crd.student.pretrained=weights/r3d_18
"""

import dataclasses

from ml_collections import ConfigDict

from configs import s3ve_baseline, s3ve_teacher
from input_pipeline.errors import UserError
from sacd_jax import objectives
from sacd_jax.config import RunConfig, with_defaults

PAPERS = ("r2plus1d_18", "sacd", "attnsleep")


def get_config(choice: str = "") -> ConfigDict:
    """`choice` is STUDENT,METHOD,TEACHER.

    Names in `sacd_jax.models`, `sacd_jax.objectives` and `s3ve_teacher.TEACHERS`.

    Raises:
        UserError: an unknown name, or more than three.
    """
    chosen = choice.split(",")
    if len(chosen) > len(PAPERS):
        raise UserError(f"{choice!r}: expected STUDENT,METHOD,TEACHER")
    chosen += [""] * (len(PAPERS) - len(chosen))
    student, method, teacher = (a or b for a, b in zip(chosen, PAPERS, strict=True))
    video = s3ve_baseline.recipe(student)
    # Written out, so that the command line can override any of them.
    objective = objectives.create(method)
    options = {f.name: getattr(objective, f.name) for f in dataclasses.fields(objective)}
    weights = dict(options.pop("weights"))
    runs = {
        **s3ve_teacher.runs(teacher),
        "baseline": {"task": "classify", **video},
        method: {
            "task": "distill",
            **video,
            "teacher": {"name": teacher, "pretrained": "teacher"},
            "teacher_cache": True,
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
