"""The study's students of few labels and of none, beside the rival that has the same few.

    python -m sacd_jax.sweep --config configs/sweeps/study_labels.py --workdir runs/study --jobs 2

Runs whose key the study has are the study's own: in its folder only the rivals are trained anew.
All rows of a seed have the labels of the same subjects.
`configs/sweeps/study_labels.py:size=demo` goes the same way with toy sizes; its figures mean
nothing.
"""

from dataclasses import replace

from configs import demo
from configs.sweeps import simulated_study
from sacd_jax.sweeps.sweep_config import Row, SweepConfig

REFERENCE = "the rival"

STUDENTS = {
    "labels of 4": ("labels4-baseline", "labels4-sacd", "labels4-kd"),
    "labels of 16": ("labels16-baseline", "labels16-sacd", "labels16-kd"),
    "labels of all": ("baseline", "sacd"),
}
"""Group -> keys of the study's rows, the plain student's first."""

WITHOUT_LABELS = ("labels0-sacd", "labels0-kd")
"""Keys of the study's rows that no label trains; they stand beside those of the fewest."""


def get_config(size: str = "full") -> SweepConfig:
    """The sweep; `size` is full or demo."""
    study = simulated_study.get_config(size)
    rows = {}
    for group, students in STUDENTS.items():
        fraction = study.rows[students[0]].run.label_fraction
        rival = replace(demo.rivals()["rival"], label_fraction=fraction)
        key = students[0].replace("baseline", "method-rival" if fraction == 1 else "rival")
        rows[key] = Row(REFERENCE, rival, group)
        for key in students:
            rows[key] = Row(study.rows[key].name, study.rows[key].run, group)
    for key in WITHOUT_LABELS:
        name = f"{study.rows[key].name}, no labels"
        rows[key] = Row(name, study.rows[key].run, next(iter(STUDENTS)))
    return replace(
        study,
        name="study_labels",
        title="Simulated nights: students of few labels beside the rival",
        rows=rows,
        reference=REFERENCE,
        judgement=None,
        notes=(
            "All rows of a seed have the labels of the same subjects. Validation labels choose "
            "every network.",
        ),
    )
