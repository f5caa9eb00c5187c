import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from sacd_jax.models.deepsleepnet import PeepholeLstm
from sacd_jax.models.encoder import create, forward, output_spec
from tests.golden.fill import fill, golden_input


def shapes_of(network, shape=(2, 3750)):
    batch = {"eeg": jax.ShapeDtypeStruct(shape, "float32")}
    return jax.eval_shape(lambda b: network.init(jax.random.key(0), b, train=False), batch)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def test_parameter_counts():
    features = shapes_of(create("deepsleepnet_features", bottleneck=None))["params"]
    assert size(features["features"]) == 604_032
    assert size(features) == 619_397
    whole = shapes_of(create("deepsleepnet", bottleneck=None), (2, 4, 3750))["params"]
    lstms = [v for k, v in whole.items() if k.startswith(("forward", "backward"))]
    assert size(lstms) == 18_888_704
    assert size(whole) == 22_645_637


def test_feature_network_equals_the_original():
    """Tensors in the original's order and layout, filled by their own rule."""
    network = create("deepsleepnet_features", bottleneck=None)
    flat = flatten_dict(shapes_of(network))
    order = [
        (collection, "features", branch, f"{layer}{number}", leaf)
        for branch in ("small", "large")
        for number in (1, 2, 3, 4)
        for collection, layer, leaf in (
            ("params", "conv", "kernel"),
            ("params", "bn", "bias"),
            ("params", "bn", "scale"),
            ("batch_stats", "bn", "mean"),
            ("batch_stats", "bn", "var"),
        )
    ]
    order += [("params", "classifier", leaf) for leaf in ("kernel", "bias")]
    assert sorted(order) == sorted(flat)
    rules = {
        "bias": lambda w: 0.1 * w,
        "scale": lambda w: 1 + 0.2 * w,
        "mean": lambda w: 0.1 * w,
        "var": lambda w: 1 + 0.5 * w,
        "kernel": lambda w: w * np.sqrt(6 / np.prod(w.shape[:-1])),
    }
    variables = unflatten_dict(
        {
            path: rules[path[-1]](fill(flat[path].shape, k)).astype(np.float32)
            for k, path in enumerate(order)
        }
    )
    eeg = golden_input((2, 1, 3000))[:, 0]
    output = jax.jit(lambda v, x: network.apply(v, {"eeg": x}, train=False))(variables, eeg)
    embedding = np.asarray(output.embedding, np.float64)
    np.testing.assert_allclose(embedding.sum(), 8290.044157, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(embedding), 173.218129, rtol=1e-4)
    np.testing.assert_allclose(embedding[0, :3], (0, 0, 0.359671), rtol=1e-4)
    np.testing.assert_allclose(
        output.logits[0], (1.108033, -3.481326, -2.869927, 4.605448, -0.558167), rtol=1e-4
    )
    np.testing.assert_allclose(output.logits.sum(), -2.872276, rtol=1e-4)


def test_lstm_equals_a_plain_loop():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 3)).astype(np.float32)
    state = tuple(rng.normal(size=(2, 5)).astype(np.float32) for _ in range(2))
    lstm = PeepholeLstm(5)
    shapes = jax.eval_shape(lstm.init, jax.random.key(0), x, state)
    variables = jax.tree.map(lambda a: rng.normal(size=a.shape).astype(np.float32), shapes)
    outputs, (last_cell, last_output) = lstm.apply(variables, x, state)

    p = variables["params"]
    sigmoid = lambda v: 1 / (1 + np.exp(-v))  # noqa: E731
    cell, output = state
    for t in range(4):
        gates = np.concatenate([x[:, t], output], axis=1) @ p["kernel"] + p["bias"]
        i, j, f, o = gates[:, :5], gates[:, 5:10], gates[:, 10:15], gates[:, 15:]
        w_i, w_f, w_o = p["peephole"]
        cell = sigmoid(f + 1 + w_f * cell) * cell + sigmoid(i + w_i * cell) * np.tanh(j)
        output = sigmoid(o + w_o * cell) * np.tanh(cell)
        np.testing.assert_allclose(outputs[:, t], output, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last_cell, cell, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last_output, output, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def small():
    """A narrow network over sequences, random variables, its jitted forward pass, EEG."""
    network = create("deepsleepnet", hidden=8, bottleneck=6)
    eeg = np.random.default_rng(0).normal(size=(2, 6, 3000)).astype(np.float32)
    rng = np.random.default_rng(1)
    shapes = shapes_of(network, eeg.shape)
    variables = jax.tree.map(
        lambda a: rng.normal(scale=0.1, size=a.shape).astype(np.float32), shapes["params"]
    )
    variables = {
        "params": variables,
        "batch_stats": jax.tree.map(lambda a: np.ones(a.shape, np.float32), shapes["batch_stats"]),
    }
    run = jax.jit(lambda batch: forward(network, variables, batch, train=False)[0])
    return network, run, eeg


def test_rows_are_clips_sequence_by_sequence(small):
    network, run, eeg = small
    output = run({"eeg": eeg})
    assert output.embedding.shape == (12, 6)
    assert output.logits.shape == (12, 5)
    assert [s.shape for s in output.stages] == [(12, 256), (12, 16), (12, 16)]
    swapped = run({"eeg": eeg[::-1]})
    np.testing.assert_allclose(output.logits[:6], swapped.logits[6:], rtol=1e-4, atol=1e-5)
    spec = output_spec(network, {"eeg": jax.ShapeDtypeStruct((2, 3000), "float32")})
    assert (spec.embedding_dim, spec.stage_dims) == (6, (256, 16, 16))


def test_forward_state_is_carried_and_reset(small):
    network, run, eeg = small
    keep, reset = np.zeros(2, bool), np.array([True, False])
    carry = network.initial_carry(2)
    whole = run({"eeg": eeg, "is_first": keep, "carry": carry})
    first = run({"eeg": eeg[:, :3], "is_first": keep, "carry": carry})
    second = run({"eeg": eeg[:, 3:], "is_first": keep, "carry": first.extras["carry"]})
    # The forward direction does not notice the cut; the backward one does, by design.
    whole_context = whole.stages[2].reshape(2, 6, 16)[:, 3:, :8]
    second_context = second.stages[2].reshape(2, 3, 16)[..., :8]
    np.testing.assert_allclose(second_context, whole_context, rtol=1e-4, atol=1e-5)

    anew = run({"eeg": eeg[:, 3:], "is_first": reset, "carry": first.extras["carry"]})
    fresh = run({"eeg": eeg[:, 3:], "is_first": keep, "carry": carry})
    rows = np.arange(6).reshape(2, 3)
    np.testing.assert_allclose(anew.logits[rows[0]], fresh.logits[rows[0]], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(anew.logits[rows[1]], second.logits[rows[1]], rtol=1e-4, atol=1e-5)
    assert np.abs(second.logits[rows[0]] - fresh.logits[rows[0]]).max() > 1e-4


def test_single_clips_are_sequences_of_one(small):
    _, run, eeg = small
    np.testing.assert_allclose(
        run({"eeg": eeg[:, 0]}).logits, run({"eeg": eeg[:, :1]}).logits, rtol=1e-5
    )


def test_penalty_is_on_the_short_filters_only():
    network = create("deepsleepnet_features", bottleneck=4)
    variables = jax.tree.map(lambda a: jnp.full(a.shape, 0.1), shapes_of(network))

    def penalty(params):
        variables_ = {"params": params, "batch_stats": variables["batch_stats"]}
        batch = {"eeg": jnp.zeros((1, 3000))}
        dropout = jax.random.key(0)
        return forward(network, variables_, batch, train=True, dropout=dropout)[0].extras["penalty"]

    value, grads = jax.jit(jax.value_and_grad(penalty))(variables["params"])
    assert value == pytest.approx(1e-3 * 0.5 * 0.01 * 50 * 64, rel=1e-4)
    moved = ["/".join(k) for k, g in flatten_dict(grads).items() if np.any(g)]
    assert moved == ["features/small/conv1/kernel"]
