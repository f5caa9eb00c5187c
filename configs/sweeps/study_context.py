"""The study's long-trained students, its teacher and the rival, over single clips and over nights.

    python -m sacd_jax.sweep --config configs/sweeps/study_context.py --workdir runs/study --jobs 2

Runs whose key the study has are the study's own: in its folder only small networks over the nights
are trained anew. What each says is held against the rival with the same sight.
`configs/sweeps/study_context.py:size=demo` goes the same way with toy sizes; its figures mean
nothing.
"""

from dataclasses import replace

from configs import context
from configs.sweeps import simulated_study
from sacd_jax.sweeps.sweep_config import Row, SweepConfig

REFERENCE = "the rival"

STUDENTS = ("long-baseline", "long-sacd", "long-kd")
"""Keys of the study's rows."""


def get_config(size: str = "full") -> SweepConfig:
    """The sweep; `size` is full or demo."""
    study = simulated_study.get_config(size)
    alone, nights = "single clips", "with context"
    rows = {"long-rival": Row(REFERENCE, study.rows["long-rival"].run, alone)}
    for key in STUDENTS:
        rows[key] = Row(study.rows[key].name, study.rows[key].run, alone)
    key = "long-rival_neighbours"
    rows[key] = Row(REFERENCE, study.rows[key].run, nights)
    for key in STUDENTS:
        rows[f"context-{key}"] = Row(study.rows[key].name, context.context(key), nights)
    rows["context-teacher"] = Row("the teacher", context.context("teacher"), nights)
    return replace(
        study,
        name="study_context",
        title="Simulated nights: the students of the study beside the rival",
        rows=rows,
        reference=REFERENCE,
        judgement=None,
        notes=(
            "The rival with context sees means of its features over neighbouring clips; its "
            "breathing and movement come from the same pictures by plain signal processing.",
        ),
    )
