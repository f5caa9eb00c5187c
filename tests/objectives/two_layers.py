"""Two-layer encoders of two modalities of the same clips, to train any objective in seconds.

Another student may take the place of the one with two layers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from sacd_jax.models.encoder import EncoderOutput, EncoderSpec
from sacd_jax.objectives import DataSpec
from sacd_jax.objectives.objective import Keys, Objective, Seen, participating

CLASSES, CLIPS, LATENT, INPUTS, HIDDEN, DIM = 5, 160, 8, 20, 32, 16
SPEC = EncoderSpec(embedding_dim=DIM, num_classes=CLASSES, stage_dims=(HIDDEN,))
BATCH = 32
DATA = DataSpec(CLIPS, np.arange(CLIPS, dtype=np.int32) % CLASSES, CLASSES, BATCH, CLIPS // BATCH)

# What some objectives need to run at this size; the others run as they are.
OPTIONS: dict[str, dict[str, Any]] = {
    "sacd": {
        "clips_per_graph": 4,
        "graph": {"message_dim": 64, "update_dim": 64, "graph_dim": 64},
        "bank_size": 50,
        "hardest": 8,
    },
    "crd": {"negatives": 64, "dim": 8},
    "cmc": {"negatives": 64, "dim": 8},
    "mgdfr": {"ratio": 0.125},  # of 16 features, most of which the classes need
}


def encoder_init(seed: int):
    rng = np.random.default_rng(seed)
    shapes = {"first": (INPUTS, HIDDEN), "second": (HIDDEN, DIM), "classify": (DIM, CLASSES)}
    return {
        name: jnp.asarray(rng.normal(size=shape) / shape[0] ** 0.5, jnp.float32)
        for name, shape in shapes.items()
    }


def encode(params, inputs) -> EncoderOutput:
    hidden = jax.nn.relu(inputs @ params["first"])
    embedding = hidden @ params["second"]
    return EncoderOutput(embedding, embedding @ params["classify"], (hidden,))


def latents(rng: np.random.Generator):
    """What all modalities of a clip show: its class, and what is the clip's own."""
    classes = np.random.default_rng(0).normal(size=(CLASSES, LATENT))
    return classes[DATA.labels] + 0.7 * rng.normal(size=(CLIPS, LATENT))


def clips(seed: int):
    """Two modalities of the same clips: what they share, and noise."""
    rng = np.random.default_rng(seed)
    latent = latents(rng)
    mixes = np.random.default_rng(1).normal(size=(2, LATENT, INPUTS))
    views = latent @ mixes / 3 + 0.3 * rng.normal(size=(2, CLIPS, INPUTS))
    return jnp.asarray(views, jnp.float32)


def batch_at(step):
    """Every row once a pass, in an order of the pass' own."""
    order = jax.random.permutation(jax.random.key(step // DATA.steps_per_pass), CLIPS)
    start = step % DATA.steps_per_pass * BATCH
    index = jax.lax.dynamic_slice(order, (start,), (BATCH,))
    stage = jnp.asarray(DATA.labels)[index]
    return {"index": index, "stage": stage, "mask": jnp.ones(BATCH, bool)}


@dataclass(frozen=True)
class Student:
    """A network that learns from the two-layer teacher, and the clips it sees.

    Attributes:
        spec: of its output.
        init: seed -> its parameters.
        encode: (parameters, inputs) -> its output.
        clips: seed -> its inputs, one row a clip.
    """

    spec: EncoderSpec
    init: Callable[[int], Any]
    encode: Callable[[Any, jax.Array], EncoderOutput]
    clips: Callable[[int], jax.Array]


TWO_LAYERS = Student(SPEC, encoder_init, encode, lambda seed: clips(seed)[0])


def train(
    objective: Objective, steps: int, rate: float = 3e-3, student: Student = TWO_LAYERS
) -> tuple[dict[str, jax.Array], Any]:
    """Trains by the objective's losses alone. Returns the scalars by step, and the parameters."""
    video, eeg = student.clips(2), clips(2)[1]
    encode_video, first = student.encode, student.init(6)
    teacher = encoder_init(5)
    heads, buffers = objective.init(jax.random.key(7), student.spec, SPEC, DATA)
    params = (first, heads)
    base = optax.adam(rate)
    optimizers = (base, objective.optimizer(base))
    states = tuple(opt.init(tree) for opt, tree in zip(optimizers, params, strict=True))

    def step(carry, number):
        params, states, buffers, keys = carry
        batch = batch_at(number)
        target = encode(teacher, eeg[batch["index"]])
        key = encode_video(keys, video[batch["index"]])

        def loss(params):
            seen = Seen(
                encode_video(params[0], video[batch["index"]]),
                target,
                Keys(key, target) if objective.needs_keys else None,
                batch,
                participating(batch),
                jax.random.key(number),
                number,
            )
            terms, new = objective.terms(params[1], buffers, seen)
            assert terms.losses.keys() == objective.weights.keys()
            total = sum(weight * terms.losses[name] for name, weight in objective.weights.items())
            return total, (terms.losses | terms.logged | {"total": total}, new)

        grads, (terms, buffers) = jax.grad(loss, has_aux=True)(params)
        updated = [
            opt.update(g, s, p)
            for opt, g, s, p in zip(optimizers, grads, states, params, strict=True)
        ]
        params = tuple(optax.apply_updates(p, u) for p, (u, _) in zip(params, updated, strict=True))
        keys = optax.incremental_update(params[0], keys, 0.02)
        return (params, tuple(s for _, s in updated), buffers, keys), terms

    run = jax.jit(partial(jax.lax.scan, step))
    carry, terms = run((params, states, buffers, first), jnp.arange(steps))
    return terms, carry[0][0]


def alignment(params: Any, student: Student = TWO_LAYERS) -> float:
    """Linear CKA of the embeddings on clips that were not trained on: 1 for the same geometry."""
    x = np.asarray(jax.jit(student.encode)(params, student.clips(3)).embedding)
    y = np.asarray(encode(encoder_init(5), clips(3)[1]).embedding)
    x, y = x - x.mean(0), y - y.mean(0)
    cross = np.linalg.norm(x.T @ y) ** 2
    return float(cross / np.linalg.norm(x.T @ x) / np.linalg.norm(y.T @ y))
