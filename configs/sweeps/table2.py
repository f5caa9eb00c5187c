"""Table II of the paper: every method with every teacher, beside the student alone.

    python -m sacd_jax.sweep --config configs/sweeps/table2.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

`configs/sweeps/table2.py:demo` does so at demo size on simulated nights. Some rows only:
`--rows=baseline,attnsleep-*`.
"""

from ml_collections import ConfigDict

from configs.sweeps.settings import BASELINE, TEACHERS, distilled, sweep
from sacd_jax import objectives

NAMES = {
    "fitnet": "FitNet",
    "pkt": "PKT",
    "rkd": "RKD",
    "crd": "CRD",
    "ifd": "IFD",
    "cmc": "CMC",
    "ccl": "CCL",
    "sacd": "SACD",
}
"""Names in the table; a method that is not here stands below, by its own name."""

METHODS = (*NAMES, *(name for name in objectives.available() if name not in NAMES))
"""The rows of each teacher."""


def get_config(size: str = "paper") -> ConfigDict:
    """`size` is paper or demo."""
    rows = dict(BASELINE)
    if size == "paper":
        rows["r3d"] = {"name": "R3D", "run": {"student": {"name": "r3d_18"}}}
    for teacher, group in TEACHERS.items():
        for method in METHODS:
            rows[f"{teacher}-{method}"] = {
                "group": group,
                "name": NAMES.get(method, method),
                "run": distilled(size, teacher, method),
            }
    return sweep(
        size,
        tuple(TEACHERS),
        name="table2",
        title="Table II: methods and teachers, video alone at test",
        rows=rows,
        reference="R(2+1)D",
        paper="table2",
    )
