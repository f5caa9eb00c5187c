"""Table V of the paper: SACD without one term, or with L_C in one direction.

    python -m sacd_jax.sweep --config configs/sweeps/table5.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

`configs/sweeps/table5.py:size=demo` does so at demo size on simulated nights.
"""

from configs.sweeps.settings import of_size
from sacd_jax.sweeps.sweep_config import Row, SweepConfig


def get_config(size: str = "paper", teacher: str = "attnsleep") -> SweepConfig:
    """The sweep.

    Args:
        size: paper or demo.
        teacher: a key of `settings.TEACHERS`.
    """
    shared = of_size(size)
    teachers = shared.teachers(teacher)
    without = {"v1": "graph", "v2": "jsd", "v3": "contrast"}
    sacd = f"{teacher}-sacd"
    rows = {
        "baseline": Row("v0", shared.baseline),
        **{
            f"{sacd}-{name}": Row(name, shared.distilled(teacher, "sacd", {term: 0.0}))
            for name, term in without.items()
        },
        f"{sacd}-v4": Row("v4", shared.distilled(teacher, "sacd", lc_directions="student")),
        sacd: Row("full", shared.distilled(teacher, "sacd")),
    }
    return SweepConfig(
        name="table5",
        title="Table V: terms of SACD",
        dataset=shared.dataset,
        rows=rows | shared.rivals,
        teachers=teachers,
        reference="v0",
        paper="table5",
        notes=(
            *shared.notes,
            "v0: cross-entropy alone; v1: L_C and JSD; v2: L_D and L_C; v3: L_D and JSD; v4: all, "
            "L_C in the student's direction alone; full: all.",
        ),
    )
