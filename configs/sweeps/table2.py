"""Table II of the paper: every method with every teacher, beside the student alone.

    python -m sacd_jax.sweep --config configs/sweeps/table2.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

`configs/sweeps/table2.py:size=demo` does so at demo size on simulated nights. Some rows only:
`--rows=baseline,attnsleep-*`.
"""

from dataclasses import replace

from configs.sweeps.settings import TEACHERS, of_size
from sacd_jax import objectives
from sacd_jax.config import EncoderConfig
from sacd_jax.sweeps.sweep_config import Row, SweepConfig

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

OTHERS = {
    "sacd_released": "SACD as released (reconstruction)",
    "kd": "KD",
    "kd_standardised": "KD, standardised logits",
    "dist": "DIST",
    "c2kd": "C2KD",
    "mgdfr": "MGDFR (reading)",
}
"""Names of methods that the paper does not compare."""


def get_config(size: str = "paper") -> SweepConfig:
    """The sweep; `size` is paper or demo."""
    shared = of_size(size)
    rows = {"baseline": Row("R(2+1)D", shared.baseline)}
    if size == "paper":
        rows["r3d"] = Row("R3D", replace(shared.baseline, student=EncoderConfig("r3d_18")))
    for teacher, group in TEACHERS.items():
        for method in METHODS:
            rows[f"{teacher}-{method}"] = Row(
                (NAMES | OTHERS).get(method, method),
                shared.distilled(teacher, method),
                group if method in NAMES else f"{group}, not in the paper",
            )
    return SweepConfig(
        name="table2",
        title="Table II: methods and teachers, video alone at test",
        dataset=shared.dataset,
        rows=rows | shared.rivals,
        teachers=shared.teachers(*TEACHERS),
        reference="R(2+1)D",
        paper="table2",
        notes=shared.notes,
    )
