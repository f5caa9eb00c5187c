"""Recorded nights: an EEG teacher, a video student alone, and the student distilled from it.

    python -m sacd_jax.train --workdir runs/r3d_18 --config.dataset.manifest=nights.csv \\
        --config configs/s3ve_distill.py:student=r3d_18,method=crd,teacher=sen

What is left out is the paper's: student=r2plus1d_18, method=sacd, teacher=attnsleep. Another method
in the same workdir takes the teacher and the baseline that are there. With a teacher trained
elsewhere and from public weights:

        --runs=crd --config.runs.crd.teacher.pretrained=runs/teacher \\
        --config.runs.crd.student.pretrained=weights/r3d_18
"""

import dataclasses

from configs import s3ve_baseline, s3ve_teacher
from sacd_jax import objectives
from sacd_jax.config import EncoderConfig, Experiment, ObjectiveConfig


def get_config(
    student: str = "r2plus1d_18",
    method: str = "sacd",
    teacher: str = "attnsleep",
    batch: str = "16",
) -> Experiment:
    """The experiment.

    Args:
        student: a video network in `sacd_jax.models`.
        method: a name in `sacd_jax.objectives`.
        teacher: a name in `s3ve_teacher.TEACHERS`.
        batch: clips a step of student and baseline; see `s3ve_baseline.recipe`.

    Raises:
        UserError: an unknown name.
    """
    baseline = s3ve_baseline.recipe(student, batch)
    # Written out, so that the run's config tells every one of them.
    objective = objectives.create(method)
    options = {f.name: getattr(objective, f.name) for f in dataclasses.fields(objective)}
    weights = options.pop("weights")
    options = {name: value for name, value in options.items() if value is not None}
    distilled = dataclasses.replace(
        baseline,
        task="distill",
        teacher=EncoderConfig(teacher, pretrained="teacher"),
        teacher_cache=True,
        objective=ObjectiveConfig(method, options, weights),
    )
    runs = {**s3ve_teacher.runs(teacher), "baseline": baseline, method: distilled}
    return Experiment(s3ve_teacher.dataset(), runs)
