"""Ways to distil a teacher into a student; one file a method, made by name."""

import dataclasses
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from input_pipeline.errors import UserError, suggestion
from sacd_jax.objectives.objective import DataSpec, Objective

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
}


def available() -> tuple[str, ...]:
    """Names that `create` knows."""
    return tuple(sorted(_REGISTRY))


def create(name: str, weights: Mapping[str, float] | None = None, **options: Any) -> Objective:
    """Makes an objective by name.

    Args:
        weights: factors of some of its loss terms; the others keep the method's defaults.

    Raises:
        UserError: no method, loss term or option has that name, or an option's value is none.
    """
    if name not in _REGISTRY:
        raise UserError(f"objective {name!r} is not known: {suggestion(name, available())}")
    module, attribute = _REGISTRY[name].split(":")
    method: Any = getattr(import_module(module), attribute)
    known = [field.name for field in dataclasses.fields(method) if field.name != "weights"]
    for option in options:
        if option not in known:
            raise UserError(
                f"objective {name!r} has no option {option!r}: {suggestion(option, known)}"
            )
    objective = method(**options)
    for term in weights or {}:
        if term not in objective.weights:
            hint = suggestion(term, objective.weights)
            raise UserError(f"objective {name!r} has no loss term {term!r}: {hint}")
    return dataclasses.replace(objective, weights={**objective.weights, **(weights or {})})
