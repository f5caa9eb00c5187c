"""Figure 5 of the paper: SACD over the weights of its three terms.

    python -m sacd_jax.sweep --config configs/sweeps/figure5.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

Three panels, each with one weight fixed at the paper's value and the others on a grid of ours
(the paper does not print its own), and the one point beyond it that the text gives.
`configs/sweeps/figure5.py:demo` takes the points of the text alone, on simulated nights.
"""

from ml_collections import ConfigDict

from configs.sweeps.settings import distilled, sweep
from sacd_jax.report.paper_results import FIGURE_5
from sacd_jax.sweeps.table import weights_name

TEACHER = "attnsleep"
GRID = (0.1, 0.5, 1.0, 2.0)
CENTRE = (0.5, 1.0, 1.0)
"""Weights of L_D, L_C and JSD; the paper's choice."""


def points() -> tuple[tuple[float, float, float], ...]:
    """All points of the three panels, and those of the text; each once."""
    pairs = [(a, b) for a in GRID for b in GRID]
    graph, contrast, jsd = CENTRE
    panels = [
        *((graph, a, b) for a, b in pairs),
        *((a, contrast, b) for a, b in pairs),
        *((a, b, jsd) for a, b in pairs),
    ]
    return tuple(sorted({*panels, *FIGURE_5}))


def get_config(size: str = "paper") -> ConfigDict:
    """`size` is paper or demo."""
    rows = {}
    for point in points() if size == "paper" else FIGURE_5:
        key, weights = "attnsleep-sacd", {}
        if point != CENTRE:
            # A ConfigDict takes no dots in keys.
            key = "-".join((key, *(f"{weight:g}".replace(".", "_") for weight in point)))
            weights = dict(zip(("graph", "contrast", "jsd"), point, strict=True))
        rows[key] = {
            "name": weights_name(*point),
            "run": distilled(size, TEACHER, "sacd", weights=weights),
        }
    return sweep(
        size,
        (TEACHER,),
        name="figure5",
        title="Figure 5: weights of L_D, L_C, JSD",
        rows=rows,
        reference=weights_name(*CENTRE),
        paper="figure5",
    )
