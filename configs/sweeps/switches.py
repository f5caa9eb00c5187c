"""SACD where the paper may be read in two ways: one switch turned at a time.

    python -m sacd_jax.sweep --config configs/sweeps/switches.py --workdir runs/tables \\
        --config.dataset.manifest=nights.csv

`configs/sweeps/switches.py:demo` does so at demo size on simulated nights.
"""

from ml_collections import ConfigDict

from configs.sweeps.settings import distilled, sweep

TEACHER = "attnsleep"

SWITCHES = {
    "key-student": ("key_encoder = student", {"key_encoder": "student"}),
    "candidates-bank": ("candidates = bank", {"candidates": "bank"}),
    "jeffreys": ("jsd_variant = jeffreys", {"jsd_variant": "jeffreys"}),
    "literal": ("ld_norm = none", {"ld_norm": "none"}),
    "printed": ("ld_negatives = none", {"ld_negatives": "none"}),
}
"""Key of a row -> its name and the options of SACD that differ."""


def get_config(size: str = "paper") -> ConfigDict:
    """`size` is paper or demo."""
    whole = distilled(size, TEACHER, "sacd")
    contiguous = {**whole, "batch_mode": "contiguous"}
    rows = {
        "attnsleep-sacd": {"name": "defaults", "run": whole},
        "attnsleep-sacd-contiguous": {"name": "batch_mode = contiguous", "run": contiguous},
    }
    for key, (name, options) in SWITCHES.items():
        run = distilled(size, TEACHER, "sacd", **options)
        rows[f"attnsleep-sacd-{key}"] = {"name": name, "run": run}
    return sweep(
        size,
        (TEACHER,),
        name="switches",
        title="SACD, one switch at a time",
        rows=rows,
        reference="defaults",
    )
