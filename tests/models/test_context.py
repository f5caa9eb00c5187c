"""What a clip's stage depends on: all that came before, and what lies ahead as far as it looks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import models
from sacd_jax.models.encoder import EncoderOutput, forward, init_variables

SIZES = {"hidden": 4}
PIECE = np.array([9, 5, 0])  # clips of each of three lanes; the rest is padding


def batch_of(lengths: np.ndarray = PIECE, length: int = 9) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "clip_embedding": rng.normal(0, 3, (len(lengths), length, 6)).astype(np.float32),
        "clip_logits": rng.normal(0, 2, (len(lengths), length, 5)).astype(np.float32),
        "mask": np.arange(length) < lengths[:, None],
        "is_first": np.ones(len(lengths), bool),
    }


def made(look_ahead: int | None):
    network = models.create("context", 5, look_ahead=look_ahead, **SIZES)
    return network, init_variables(network, jax.random.key(1), batch_of())


@functools.partial(jax.jit, static_argnums=0)
def output_of(network, variables, batch) -> EncoderOutput:
    return forward(network, variables, batch, train=False)[0]


def logits(network, variables, batch) -> np.ndarray:
    output = output_of(network, variables, batch)
    return np.asarray(output.logits).reshape(*batch["clip_logits"].shape)


SLOW = [pytest.param(ahead, marks=pytest.mark.slow) for ahead in (0, 1, None)]


@pytest.mark.parametrize("look_ahead", [3, *SLOW])
def test_a_stage_depends_on_the_past_and_on_no_more_than_it_looks_ahead(look_ahead) -> None:
    network, variables = made(look_ahead)
    batch = batch_of()
    before, reach = logits(network, variables, batch), 9 if look_ahead is None else look_ahead
    for changed in range(9):
        other = {key: value.copy() for key, value in batch.items()}
        other["clip_embedding"][0, changed] += np.arange(6)
        other["clip_logits"][0, changed, 2] += 3
        moved = (logits(network, variables, other) != before).any(-1)
        expected = np.arange(9) + reach >= changed
        np.testing.assert_array_equal(moved[0], expected)
        assert not moved[1:].any()


@pytest.mark.parametrize("look_ahead", [2, *SLOW])
def test_padding_changes_nothing(look_ahead) -> None:
    network, variables = made(look_ahead)
    batch = batch_of()
    alone = {key: value[1:2, :5] if value.ndim > 1 else value[1:2] for key, value in batch.items()}
    np.testing.assert_allclose(
        logits(network, variables, batch)[1, :5], logits(network, variables, alone)[0], atol=1e-6
    )


def test_looking_to_the_end_of_the_piece_is_seeing_all_of_it() -> None:
    whole, variables = made(None)
    far, _ = made(20)
    batch = batch_of()
    both = [logits(network, variables, batch) for network in (whole, far)]
    np.testing.assert_allclose(both[0][batch["mask"]], both[1][batch["mask"]], atol=1e-6)


def test_a_causal_network_that_is_fed_piece_by_piece_says_the_same() -> None:
    network, variables = made(0)
    batch = batch_of(np.array([9, 9]))
    whole, carry = logits(network, variables, batch), network.initial_carry(2)
    for start in range(0, 9, 3):
        part = {key: batch[key][:, start : start + 3] for key in batch if key != "is_first"}
        part |= {"is_first": np.array([start == 0] * 2), "carry": carry}
        output = output_of(network, variables, part)
        found = output.logits.reshape(2, 3, 5)
        np.testing.assert_allclose(found, whole[:, start : start + 3], atol=1e-6)
        carry = output.extras["carry"]
    assert all(np.asarray(leaf).any() for leaf in jax.tree.leaves(carry))


def test_nothing_of_a_night_reaches_the_next() -> None:
    network, variables = made(None)
    batch = batch_of(np.array([9]))
    left = {"forward": jnp.ones((1, 4))}
    fresh = logits(network, variables, {**batch, "carry": left})
    np.testing.assert_array_equal(fresh, logits(network, variables, batch))
    goes_on = {**batch, "carry": left, "is_first": np.zeros(1, bool)}
    assert (logits(network, variables, goes_on) != fresh).any()


def test_looking_back_by_looking_ahead_is_refused() -> None:
    with pytest.raises(UserError, match="look_ahead is -1, expected 0 or more clips, or None"):
        models.create("context", look_ahead=-1)
    with pytest.raises(UserError, match="look_ahead is 1.5, expected a whole number | None"):
        models.create("context", look_ahead=1.5)
