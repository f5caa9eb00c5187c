"""Ways to distil a teacher into a student; one file per method, made by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from input_pipeline.errors import UserError, suggestion
from sacd_jax.objectives.objective import DataSpec, Objective
from sacd_jax.registry import check_options, find

__all__ = ["DataSpec", "Objective", "available", "create"]

# name -> "module:class"; a module is imported only when its method is made.
_REGISTRY: dict[str, str] = {
    "sacd": "sacd_jax.objectives.sacd:Sacd",
    "fitnet": "sacd_jax.objectives.fitnet:FitNet",
    "pkt": "sacd_jax.objectives.pkt:Pkt",
    "rkd": "sacd_jax.objectives.rkd:Rkd",
    "crd": "sacd_jax.objectives.crd:Crd",
    "ifd": "sacd_jax.objectives.ifd:Ifd",
    "cmc": "sacd_jax.objectives.cmc:Cmc",
    "ccl": "sacd_jax.objectives.ccl:Ccl",
    "sacd_released": "sacd_jax.objectives.sacd_released:SacdReleased",
    "kd": "sacd_jax.objectives.kd:Kd",
    "kd_standardised": "sacd_jax.objectives.kd:KdStandardised",
    "dist": "sacd_jax.objectives.dist:Dist",
    "c2kd": "sacd_jax.objectives.c2kd:C2kd",
    "mgdfr": "sacd_jax.objectives.mgdfr:Mgdfr",
}


def available() -> tuple[str, ...]:
    """Names that `create` knows."""
    return tuple(sorted(_REGISTRY))


def create(name: str, weights: Mapping[str, float] | None = None, **options: Any) -> Objective:
    """Makes an objective by name.

    Args:
        name: one of `available()`.
        weights: factors of some of its losses; the others keep the method's defaults.
        options: fields of the method's class other than `weights`.

    Raises:
        UserError: there is no such method, loss or option, or an option cannot have that value.
    """
    method = find("objective", name, _REGISTRY)
    known = [field.name for field in dataclasses.fields(method) if field.name != "weights"]
    for option in options:
        if option not in known:
            hint = suggestion(option, known)
            raise UserError(f"objective {name!r} has no option {option!r}: {hint}")
    objective = method(**options)
    check_options(f"objective {name!r}", objective)
    for loss in weights or {}:
        if loss not in objective.weights:
            hint = suggestion(loss, objective.weights)
            raise UserError(f"objective {name!r} has no loss {loss!r}: {hint}")
    return dataclasses.replace(objective, weights={**objective.weights, **(weights or {})})
