"""The study's student with a branch that reads breathing and movement, beside the rival.

    python -m sacd_jax.sweep --config configs/sweeps/study_rhythm.py --workdir runs/study --jobs 2

The branch (`sacd_jax.models.rhythm`) was chosen on the study's validation subjects; the judgement
is fixed before its first run. Runs whose key the study has are the study's own.
`configs/sweeps/study_rhythm.py:size=demo` goes the same way with toy sizes; its figures mean
nothing.
"""

from dataclasses import replace

from configs import context
from configs.sweeps import simulated_study
from sacd_jax.config import RunConfig
from sacd_jax.sweeps.sweep_config import Row, SweepConfig

REFERENCE = "the rival"

WIDTH = 64
"""Of the layer that reads the branch's figures."""

STUDENTS = ("long-baseline", "long-sacd")
"""Keys of the study's rows that are trained with the branch."""


def get_config(size: str = "full") -> SweepConfig:
    """The sweep; `size` is full or demo."""
    study = simulated_study.get_config(size)
    alone, nights = "single clips", "with context"
    rows = {"long-rival": Row(REFERENCE, study.rows["long-rival"].run, alone)}
    over = {
        "long-rival_neighbours": Row(REFERENCE, study.rows["long-rival_neighbours"].run, nights)
    }
    for known in STUDENTS:
        key, name = known.replace("long", "rhythm"), study.rows[known].name
        rows[key] = Row(name, with_rhythm(study.rows[known].run), alone)
        over[f"context-{key}"] = Row(name, context.context(key), nights)
    return replace(
        study,
        name="study_rhythm",
        title="Simulated nights: students that read breathing and movement, beside the rival",
        rows=rows | over,
        reference=REFERENCE,
        notes=("The rival with context sees means of its features over neighbouring clips.",),
    )


def with_rhythm(run: RunConfig) -> RunConfig:
    """The run with the branch in its student."""
    student = replace(run.student, options={**run.student.options, "rhythm": WIDTH})
    return replace(run, student=student)
