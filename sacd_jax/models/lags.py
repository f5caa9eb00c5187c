"""How many frames a video network sees of each moment: a fact of the data, told when it is made."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from sacd_jax.models.encoder import create


def with_lags(name: str, options: Mapping[str, Any], lags: int) -> dict[str, Any]:
    """Options of a network, with `lags` in those of every video network in it.

    Args:
        name: of the network.
        options: of the network; `{"name": …, "options": …}` are networks within it.
        lags: frames a moment, `len(Sampling.lags_s)`.

    Raises:
        UserError: there is no such network or option.
    """
    within = {
        part: {**inner, "options": with_lags(inner["name"], inner.get("options", {}), lags)}
        for part, inner in options.items()
        if isinstance(inner, Mapping) and "name" in inner
    }
    known = {field.name for field in dataclasses.fields(create(name, **{**options, **within}))}
    return {**options, **within, **({"lags": lags} if "lags" in known else {})}
