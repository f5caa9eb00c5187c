import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from sacd_jax.models.encoder import create, forward, output_spec
from sacd_jax.models.sen import reverse_gradient


def shapes_of(network, samples=3750):
    batch = {"eeg": jax.ShapeDtypeStruct((2, samples), "float32")}
    return jax.eval_shape(lambda b: network.init(jax.random.key(0), b, train=False), batch)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("rate", "samples", "small", "large", "flat"),
    [
        (128, 3840, 333_056, 279_808, 2944),
        (125, 3750, None, None, 3200),
        (100, 3000, 332_160, 272_640, 3072),
    ],
)
def test_sizes(rate, samples, small, large, flat):
    network = create("sen", sample_rate=rate, domains=80)
    params = shapes_of(network, samples)["params"]
    if small is not None:
        assert (size(params["small"]), size(params["large"])) == (small, large)
    assert params["label_hidden"]["kernel"].shape == (flat, 512)
    assert params["domain"]["kernel"].shape == (128, 80)
    assert params["se_reduce"]["kernel"].shape == (128, 64)


def test_output():
    batch = {"eeg": jax.ShapeDtypeStruct((2, 3750), "float32")}
    assert output_spec(create("sen"), batch).embedding_dim == 512
    spec = output_spec(create("sen", bottleneck=None), batch)
    assert (spec.embedding_dim, spec.num_classes, spec.stage_dims) == (128, 5, (128, 3072))
    assert "domain_hidden" not in shapes_of(create("sen"))["params"]


def test_gradient_reversal():
    x = jnp.array([1.0, -2.0])
    np.testing.assert_array_equal(reverse_gradient(x, 0.5), x)
    gradient = jax.grad(lambda x: jnp.sum(reverse_gradient(x, 0.5) ** 2))(x)
    np.testing.assert_allclose(gradient, -0.5 * 2 * x)


@pytest.fixture(scope="module")
def trained():
    """Gradients of the domain logits, of the penalty, and both values, of a narrow network."""
    network = create("sen", domains=3, filters=4, bottleneck=6, dropout=0.0)
    rng = np.random.default_rng(0)
    variables = {
        name: jax.tree.map(lambda a: rng.normal(scale=0.2, size=a.shape).astype("f4"), tree)
        for name, tree in shapes_of(network).items()
    }
    eeg = rng.normal(size=(3, 3000)).astype(np.float32)

    def outcome(params, what):
        batch_stats = {"params": params, "batch_stats": variables["batch_stats"]}
        dropout = jax.random.key(0)
        output, _ = forward(network, batch_stats, {"eeg": eeg}, train=True, dropout=dropout)
        return jnp.sum(output.extras[what])

    grads = {
        what: jax.jit(jax.grad(lambda p, w=what: outcome(p, w)))(variables["params"])
        for what in ("domain_logits", "penalty")
    }
    return variables["params"], grads


def test_domain_head_learns_and_the_features_unlearn(trained):
    params, grads = trained
    grads = grads["domain_logits"]
    assert not np.any(grads["label_hidden"]["kernel"])
    # Summed logits: the output layer's bias gets 1 a row, what passes the reversal a thousandth.
    np.testing.assert_allclose(grads["domain"]["bias"], 3.0, rtol=1e-5)
    towards_features = np.abs(grads["se_expand"]["kernel"]).max()
    assert 0 < towards_features < 0.01 * np.abs(grads["domain_hidden"]["kernel"]).max()
    assert params["domain"]["kernel"].shape == (128, 3)


def test_penalty_is_keras_l2(trained):
    params, grads = trained
    factors = dict.fromkeys(("label_hidden", "classifier", "domain_hidden"), 0.1)
    flat = flatten_dict(params)
    for path, grad in flatten_dict(grads["penalty"]).items():
        factor = 0.0
        if path[-1] == "kernel":
            factor = 1e-4 if path[-2].startswith("conv") else factors.get(path[-2], 0.0)
        np.testing.assert_allclose(grad, 2 * factor * flat[path], rtol=1e-5)
