"""Sleep staging from infrared video, distilled from EEG (SACD), in JAX and Flax."""

import sys
from importlib import import_module
from typing import Any

_PUBLIC = ("metrics", "models", "objectives", "pretrained")


if sys.argv[:1] == ["-m"]:  # a command of ours begins
    import_module("input_pipeline.as_command")


def __getattr__(name: str) -> Any:
    # Imported when first used: `import sacd_jax` stays cheap for tools that only look around.
    if name in _PUBLIC:
        return import_module(f"sacd_jax.{name}")
    if name == "load_stager":
        return import_module("sacd_jax.staging.stager").load_stager
    raise AttributeError(f"module 'sacd_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted((*_PUBLIC, "load_stager"))
