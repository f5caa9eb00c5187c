"""Table V of the paper: SACD without one term, or with L_C in one direction.

    python -m sacd_jax.sweep --config configs/sweeps/table5.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

`configs/sweeps/table5.py:demo` does so at demo size on simulated nights.
"""

from ml_collections import ConfigDict

from configs.sweeps.settings import distilled, sweep

TEACHER = "attnsleep"


def get_config(size: str = "paper") -> ConfigDict:
    """`size` is paper or demo."""
    rows = {
        "baseline": {"name": "v0"},
        "attnsleep-sacd-v1": {
            "name": "v1",
            "run": distilled(size, TEACHER, "sacd", weights={"graph": 0.0}),
        },
        "attnsleep-sacd-v2": {
            "name": "v2",
            "run": distilled(size, TEACHER, "sacd", weights={"jsd": 0.0}),
        },
        "attnsleep-sacd-v3": {
            "name": "v3",
            "run": distilled(size, TEACHER, "sacd", weights={"contrast": 0.0}),
        },
        "attnsleep-sacd-v4": {
            "name": "v4",
            "run": distilled(size, TEACHER, "sacd", lc_directions="student"),
        },
        "attnsleep-sacd": {"name": "full", "run": distilled(size, TEACHER, "sacd")},
    }
    return sweep(
        size,
        (TEACHER,),
        name="table5",
        title="Table V: terms of SACD",
        rows=rows,
        reference="v0",
        paper="table5",
        notes=(
            "v0: cross-entropy alone; v1: L_C and JSD; v2: L_D and L_C; v3: L_D and JSD; v4: all, "
            "L_C in the student's direction alone; full: all.",
        ),
    )
