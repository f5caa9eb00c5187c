"""In which numbers a network computes; its parameters and statistics are float32 either way."""

from dataclasses import fields
from typing import Literal

import jax.numpy as jnp

from sacd_jax.models.encoder import Encoder

Precision = Literal["float32", "bfloat16", "auto"]
"""`auto` is bfloat16 on TPU and GPU, whose matrix units take it, and float32 on a CPU."""


def resolved(precision: Precision, platform: str) -> Literal["float32", "bfloat16"]:
    """What a setting means on a platform (`cpu`, `gpu`, `tpu`, as JAX names it)."""
    if precision != "auto":
        return precision
    return "float32" if platform == "cpu" else "bfloat16"


def at_precision(encoder: Encoder, precision: Literal["float32", "bfloat16"]) -> Encoder:
    """The encoder computing in these numbers, with those inside it; its outputs are float32
    (`encoder.forward`).

    One without an option `dtype` (a linear layer on stored vectors) stays in float32.
    """
    if precision == "float32":
        return encoder
    changes = {}
    for field in fields(encoder):
        value = getattr(encoder, field.name)
        if field.name == "dtype" and value is None:
            changes["dtype"] = jnp.bfloat16
        elif isinstance(value, Encoder):
            changes[field.name] = at_precision(value, precision)
    return encoder.clone(**changes) if changes else encoder
