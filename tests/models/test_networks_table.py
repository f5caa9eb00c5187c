"""The table of networks in the docs is true."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sacd_jax import models
from sacd_jax.models.conv import tracing_for
from sacd_jax.models.encoder import EncoderOutput

ROOT = Path(__file__).resolve().parents[2]

OPTIONS: dict[str, dict[str, Any]] = {
    "fusion": {"first": {"name": "r2plus1d_18"}, "second": {"name": "attnsleep"}}
}
CLIP = {
    "video": jax.ShapeDtypeStruct((1, 16, 112, 112, 1), jnp.uint8),
    "eeg": jax.ShapeDtypeStruct((1, 3750), jnp.float32),
    "audio": jax.ShapeDtypeStruct((1, 320_000), jnp.float32),
    "audio_embedding": jax.ShapeDtypeStruct((1, 512), jnp.float32),
    "clip_embedding": jax.ShapeDtypeStruct((1, 512), jnp.float32),
    "clip_logits": jax.ShapeDtypeStruct((1, 5), jnp.float32),
}


def table() -> dict[str, dict[str, str]]:
    """Rows of the first table of docs/networks.md by the network's name."""
    text = (ROOT / "docs" / "networks.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("|")]
    header, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    named = (dict(zip(header, row, strict=True)) for row in rows if not set(row[0]) <= set("-:"))
    return {row["Name"].strip("`"): row for row in named}


@cache
def traced(name: str) -> tuple[Any, dict[str, Any], Any, EncoderOutput]:
    """Network, shapes of a clip, of its variables and of its output."""
    encoder = models.create(name, **OPTIONS.get(name, {}))
    clip = {key: CLIP[key] for key in encoder.input_keys}
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    output, variables = jax.eval_shape(
        lambda clip: encoder.init_with_output(rngs, clip, train=False), clip
    )
    return encoder, clip, variables, output


def test_every_network_is_in_the_table() -> None:
    assert sorted(table()) == sorted(models.available())
    for name, row in table().items():
        encoder = models.create(name, **OPTIONS.get(name, {}))
        assert row["Reads"] == ", ".join(encoder.input_keys)


@pytest.mark.parametrize("name", models.available())
def test_parameters_and_embedding(name: str) -> None:
    row = table()[name]
    _, _, variables, output = traced(name)
    parameters = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))
    assert row["Parameters"] == f"{parameters:,}"
    assert row["Embedding"] == str(output.embedding.shape[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", models.available())
def test_operations(name: str) -> None:
    """XLA's count may move a little with its version."""
    encoder, clip, variables, _ = traced(name)
    forward = jax.jit(lambda variables, clip: encoder.apply(variables, clip, train=False))
    with tracing_for("gpu"):
        cost = forward.lower(variables, clip).cost_analysis()
    said = float(table()[name]["GFLOP"])
    assert said == pytest.approx(cost["flops"] / 1e9, rel=0.02, abs=0.0006)


def test_every_source_is_a_repository_or_a_chapter() -> None:
    for row in table().values():
        assert re.search(r"[\w-]+/[\w-]+|^paper |^own, ", row["Source"]), row
