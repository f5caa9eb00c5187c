"""What networks bring to their own training: a state over sequences, a penalty, a second head."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sacd_jax import models
from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import forward
from sacd_jax.objectives.losses import cross_entropy
from sacd_jax.tasks.classify import Classify

KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
LANES, LENGTH, SAMPLES = 2, 3, 3000


def sequence_batch(seed: int, is_first: bool):
    rng = np.random.default_rng(seed)
    return {
        "eeg": jnp.asarray(rng.normal(size=(LANES, LENGTH, SAMPLES)), jnp.float32),
        "stage": jnp.asarray(rng.integers(0, 5, (LANES, LENGTH)), jnp.int32),
        "index": jnp.arange(LANES * LENGTH).reshape(LANES, LENGTH),
        "mask": jnp.ones((LANES, LENGTH), bool).at[1, 2].set(False),
        "is_first": jnp.full(LANES, is_first),
    }


@pytest.mark.slow
def test_a_sequence_step_carries_its_state_and_resets_it_at_a_night():
    network = models.create("deepsleepnet", hidden=8, bottleneck=4, dropout=0.0, sequence_dropout=0)
    task = Classify(student=network, optimizer=optax.sgd(1e-3), augment=AugmentConfig(flip=0.0))
    batch = sequence_batch(0, is_first=True)
    variables = jax.jit(partial(network.init, train=False))(KEYS, {"eeg": batch["eeg"][:, 0]})
    state = task.first_state(0, variables, network.initial_carry(LANES))
    step = jax.jit(task.train_step)
    after, metrics = step(state, batch)
    # The step's state, loss and accuracy are those of the network over the whole sequence.
    seen = {**batch, "carry": state.carry}
    output, _ = forward(network, variables, seen, train=True, dropout=jax.random.key(1))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        after.carry,
        output.extras["carry"],
    )
    stage, mask = batch["stage"].reshape(-1), batch["mask"].reshape(-1)
    expected = cross_entropy(output.logits, stage, mask)
    np.testing.assert_allclose(metrics["cross_entropy"], expected, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"], expected + metrics["penalty"], rtol=1e-5)
    # Going on, the state matters; where a night begins it does not.
    empty = after.replace(carry=network.initial_carry(LANES))
    on, start = sequence_batch(1, is_first=False), sequence_batch(1, is_first=True)
    assert step(after, on)[1]["cross_entropy"] != step(empty, on)[1]["cross_entropy"]
    assert step(after, start)[1]["cross_entropy"] == step(empty, start)[1]["cross_entropy"]


def test_modified_sen_trains_both_heads():
    network = models.create("sen", domains=3, filters=4, bottleneck=8, dropout=0.0)
    task = Classify(student=network, optimizer=optax.adam(1e-3), augment=AugmentConfig(flip=0.0))
    rng = np.random.default_rng(0)
    batch = {
        "eeg": jnp.asarray(rng.normal(size=(6, SAMPLES)), jnp.float32),
        "stage": jnp.asarray([0, 1, 2, 3, 4, 0]),
        "domain": jnp.asarray([0, 1, 2, 0, 1, 2]),
        "index": jnp.arange(6),
        "mask": jnp.ones(6, bool),
    }
    variables = jax.jit(partial(network.init, train=False))(KEYS, {"eeg": batch["eeg"]})
    state = task.first_state(0, variables)
    step = jax.jit(task.train_step)
    history = []
    for _ in range(12):
        state, metrics = step(state, batch)
        history.append(metrics)
    for name in ("domain", "cross_entropy", "penalty"):
        assert history[-1][name] < history[0][name]
    parts = ("domain", "cross_entropy", "penalty")
    total = sum(float(history[0][name]) for name in parts)
    np.testing.assert_allclose(history[0]["loss"], total, rtol=1e-5)
