"""Figure 5 of the paper: SACD over the weights of its three terms.

    python -m sacd_jax.sweep --config configs/sweeps/figure5.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

Three panels, each with one weight fixed at the paper's value and the others on a grid of ours
(the paper does not print its own), and the one point beyond it that the text gives.
`configs/sweeps/figure5.py:size=demo` takes the points of the text alone, on simulated nights.
"""

from configs.sweeps.settings import of_size
from sacd_jax.report.paper_results import FIGURE_5
from sacd_jax.sweeps.sweep_config import Row, SweepConfig
from sacd_jax.sweeps.table import weights_name

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


def get_config(size: str = "paper", teacher: str = "attnsleep") -> SweepConfig:
    """The sweep.

    Args:
        size: paper or demo.
        teacher: a key of `settings.TEACHERS`.
    """
    shared = of_size(size)
    teachers = shared.teachers(teacher)
    rows = {}
    for point in points() if size == "paper" else FIGURE_5:
        key, weights = f"{teacher}-sacd", {}
        if point != CENTRE:
            # No dots: the key is a part of paths on the command line.
            key = "-".join((key, *(f"{weight:g}".replace(".", "_") for weight in point)))
            weights = dict(zip(("graph", "contrast", "jsd"), point, strict=True))
        rows[key] = Row(weights_name(*point), shared.distilled(teacher, "sacd", weights))
    return SweepConfig(
        name="figure5",
        title="Figure 5: weights of L_D, L_C, JSD",
        dataset=shared.dataset,
        rows=rows | shared.rivals,
        teachers=teachers,
        reference=weights_name(*CENTRE),
        paper="figure5",
        notes=shared.notes,
    )
