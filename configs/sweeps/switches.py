"""SACD where the paper may be read in two ways: one switch turned at a time.

    python -m sacd_jax.sweep --config configs/sweeps/switches.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

`configs/sweeps/switches.py:size=demo` does so at demo size on simulated nights.
"""

from dataclasses import replace

from configs.sweeps.settings import of_size
from sacd_jax.sweeps.sweep_config import Row, SweepConfig

SWITCHES = {
    "key-student": ("key_encoder = student", {"key_encoder": "student"}),
    "candidates-bank": ("candidates = bank", {"candidates": "bank"}),
    "jeffreys": ("jsd_variant = jeffreys", {"jsd_variant": "jeffreys"}),
    "literal": ("ld_norm = none", {"ld_norm": "none"}),
    "printed": ("ld_negatives = none", {"ld_negatives": "none"}),
}
"""End of a row's key -> its name and the options of SACD that differ."""


def get_config(size: str = "paper", teacher: str = "attnsleep") -> SweepConfig:
    """The sweep.

    Args:
        size: paper or demo.
        teacher: a key of `settings.TEACHERS`.
    """
    shared = of_size(size)
    teachers = shared.teachers(teacher)
    whole = shared.distilled(teacher, "sacd")
    contiguous = replace(whole, batch_mode="contiguous")
    rows = {
        "": Row("defaults", whole),
        "-contiguous": Row("batch_mode = contiguous", contiguous),
        **{
            f"-{key}": Row(name, shared.distilled(teacher, "sacd", **options))
            for key, (name, options) in SWITCHES.items()
        },
    }
    return SweepConfig(
        name="switches",
        title="SACD, one switch at a time",
        dataset=shared.dataset,
        rows={f"{teacher}-sacd{key}": row for key, row in rows.items()} | shared.rivals,
        teachers=teachers,
        reference="defaults",
        notes=shared.notes,
    )
