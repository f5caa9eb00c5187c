"""Traces every encoder and objective with the annotated shapes and types checked at each call.

    python -m tests.shapes encoders
    python -m tests.shapes objectives
    python -m tests.shapes broken          shows that the check is on

Nothing is computed and nothing compiled: JAX only follows the shapes, forward and backward. A
process of its own, because the check must be there before the packages are imported; and not in
every test, because most hand over NumPy arrays where a step gets JAX's.
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
from beartype import BeartypeConf, beartype
from jaxtyping import install_import_hook

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
"""The type checker; an int is good enough for a float, as in Python's own rules."""

OPTIONS = {"fusion": {"first": {"name": "r2plus1d_small"}, "second": {"name": "attnsleep"}}}

CLIPS = {
    "video": jax.ShapeDtypeStruct((2, 16, 32, 40, 1), jnp.uint8),
    "eeg": jax.ShapeDtypeStruct((2, 3750), jnp.float32),
    "audio": jax.ShapeDtypeStruct((2, 64000), jnp.float32),
    "audio_embedding": jax.ShapeDtypeStruct((2, 512), jnp.float32),
    "clip_embedding": jax.ShapeDtypeStruct((2, 7, 512), jnp.float32),
    "clip_logits": jax.ShapeDtypeStruct((2, 7, 5), jnp.float32),
}


def encoders() -> None:
    """A training step's forward and backward pass of every encoder."""
    from sacd_jax.models.encoder import available, create, forward

    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
    for name in available():
        encoder = create(name, **OPTIONS.get(name, {}))
        batch = {key: CLIPS[key] for key in encoder.input_keys}

        def loss(params, rest, batch, encoder=encoder):
            output, _ = forward(
                encoder, {"params": params, **rest}, batch, train=True, dropout=rngs["dropout"]
            )
            return output.logits.sum() + output.embedding.sum()

        def step(batch, encoder=encoder, loss=loss):
            variables = dict(encoder.init(rngs, batch, train=False))
            return jax.grad(loss)(variables.pop("params"), variables, batch)

        jax.eval_shape(step, batch)
        print(name)


def objectives() -> None:
    """A step of every objective, with heads and buffers."""
    from sacd_jax.objectives import available, create
    from tests.objectives import two_layers

    for name in available():
        objective = create(name, **two_layers.OPTIONS.get(name, {}))

        def step(objective=objective):
            two_layers.train(objective, steps=1)
            return jnp.zeros(())

        jax.eval_shape(step)
        print(name)
    _graphs_of_unlike_counts()


def _graphs_of_unlike_counts() -> None:
    """Two networks' groups; many times, as the checker looks at one of a sequence, by lot."""
    from sacd_jax.models.structure_graph import StructureGraph, embed_together

    network = StructureGraph()
    features = [jax.ShapeDtypeStruct((groups, 4, 16), jnp.float32) for groups in (8, 9)]
    masks = [jax.ShapeDtypeStruct((groups, 4), bool) for groups in (8, 9)]
    params = jax.eval_shape(network.init, jax.random.key(0), features[0])["params"]
    for _ in range(16):
        jax.eval_shape(partial(embed_together, network), [params, params], features, masks)


def broken() -> None:
    """An output whose embedding has one axis too few: must be refused."""
    from sacd_jax.models.encoder import EncoderOutput

    EncoderOutput(jnp.zeros(512), jnp.zeros((2, 5)))


if __name__ == "__main__":
    install_import_hook(["sacd_jax", "input_pipeline"], "__main__.checked")
    {"encoders": encoders, "objectives": objectives, "broken": broken}[sys.argv[1]]()
