import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from input_pipeline.errors import UserError
from sacd_jax.models.attnsleep import EncoderLayer, UnbiasedLayerNorm
from sacd_jax.models.encoder import create, output_spec
from sacd_jax.pretrained.names import to_flax, to_torch
from sacd_jax.pretrained.names_eeg import _attnsleep, attnsleep_names, attnsleep_unused
from tests.golden.fill import fill_state_dict, golden_input

SAMPLES = {100: 3000, 125: 3750}
# Of the original without the counters of batch normalisation, in the order of registration.
KEYS = [key for key, _ in _attnsleep()]


def shapes_of(network, samples=3750):
    batch = {"eeg": jax.ShapeDtypeStruct((2, samples), "float32")}
    return jax.eval_shape(lambda b: network.init(jax.random.key(0), b, train=False), batch)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def unused_shape(key, rate):
    """Shape of a parameter that only the original has."""
    return {"convs.0.weight": (30, 30, 7), "convs.0.bias": (30,)}.get(
        ".".join(key.split(".")[-3:]), (rate * 4 // 5,)
    )


def filled(rate):
    """The original network with golden weights."""
    network = create("attnsleep", sample_rate=rate, bottleneck=None)
    names, flat = attnsleep_names(), flatten_dict(shapes_of(network, SAMPLES[rate]))
    entries = [
        (
            key,
            to_torch(np.empty(flat[names[key]].shape)).shape
            if key in names
            else unused_shape(key, rate),
        )
        for key in KEYS
    ]
    state_dict = fill_state_dict(entries)
    return network, unflatten_dict({path: to_flax(state_dict[key]) for key, path in names.items()})


@pytest.mark.parametrize(
    ("rate", "total", "branches", "context", "classifier"),
    [(100, 522_805, 407_600, 103_200, 12_005), (125, 518_309, 383_024, 120_280, 15_005)],
)
def test_parameter_counts(rate, total, branches, context, classifier):
    params = shapes_of(create("attnsleep", sample_rate=rate, bottleneck=None))["params"]
    unused = sum(int(np.prod(unused_shape(key, rate))) for key in attnsleep_unused())
    parts = {
        "branches": size([params[k] for k in ("features1", "features2", "afr")]),
        "context": size([params[k] for k in ("tce1", "tce2", "tce_norm")]) + unused,
        "classifier": size(params["classifier"]),
    }
    assert parts == {"branches": branches, "context": context, "classifier": classifier}
    assert size(params) + unused == total


@pytest.mark.parametrize(
    ("rate", "feature_sum", "feature_norm", "features", "logits", "logit_sum"),
    [
        (
            100,
            -8.098609,
            70.786198,
            (-0.554181, 0.067844, 0.018976),
            (0.713169, 0.652089, 2.889347, 0.673615, 0.269326),
            7.289228,
        ),
        (
            125,
            -40.810310,
            77.207445,
            (1.522318, -0.124103, 0.893026),
            (0.767809, 0.424123, 1.597844, 2.541182, -0.605793),
            5.090871,
        ),
    ],
)
def test_equals_the_original(rate, feature_sum, feature_norm, features, logits, logit_sum):
    network, variables = filled(rate)
    eeg = golden_input((2, 1, SAMPLES[rate]))[:, 0]
    output = jax.jit(lambda v, x: network.apply(v, {"eeg": x}, train=False))(variables, eeg)
    embedding = np.asarray(output.embedding, np.float64)
    assert embedding.shape == (2, 30 * rate * 4 // 5)
    np.testing.assert_allclose(embedding.sum(), feature_sum, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(embedding), feature_norm, rtol=1e-5)
    np.testing.assert_allclose(embedding[0, :3], features, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(output.logits[0], logits, rtol=1e-4, atol=2e-6)
    np.testing.assert_allclose(np.sum(output.logits), logit_sum, rtol=1e-4)


def test_branches_and_recalibration_equal_the_original():
    network, variables = filled(100)
    eeg = golden_input((2, 1, 3000))[:, 0]
    run = jax.jit(
        lambda v, x: network.apply(v, {"eeg": x}, train=False, capture_intermediates=True)
    )
    inner = run(variables, eeg)[1]["intermediates"]
    for name, length, total, norm in (
        ("features1", 64, 20124.666979, 249.519538),
        ("features2", 16, 3343.330020, 92.355647),
        ("afr", 80, 4643.611915, 139.409807),
    ):
        out = np.asarray(inner[name]["__call__"][0], np.float64)
        assert out.shape[1] == length
        np.testing.assert_allclose(out.sum(), total, rtol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(out), norm, rtol=1e-4)


def test_every_tensor_of_the_original_has_a_place_or_is_unused():
    names = attnsleep_names()
    network = create("attnsleep", bottleneck=None)
    assert sorted(names.values()) == sorted(flatten_dict(shapes_of(network)))
    counters = sum(key.endswith("running_mean") for key in names)
    assert len(KEYS) + counters == 98
    assert attnsleep_unused() == [
        f"tce.layers.{i}.{part}"
        for i in (0, 1)
        for part in (
            "self_attn.convs.0.weight",
            "self_attn.convs.0.bias",
            "sublayer_output.0.norm.a_2",
            "sublayer_output.0.norm.b_2",
        )
    ]


def test_context_encoder_is_causal_along_the_model_dimension():
    layer = EncoderLayer()
    x = np.random.default_rng(0).normal(size=(1, 20, 30)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x, train=False)
    changed = x.copy()
    changed[:, 12:] += 1
    query = [
        layer.apply(variables, v, train=False, capture_intermediates=True)[1]["intermediates"][
            "query"
        ]["__call__"][0]
        for v in (x, changed)
    ]
    np.testing.assert_array_equal(query[0][:, :12], query[1][:, :12])
    assert (query[0][:, 12:] != query[1][:, 12:]).any(axis=2).all()


def test_layer_norm_is_unbiased_with_epsilon_outside():
    x = np.random.default_rng(0).normal(size=(3, 6)).astype(np.float32)
    norm = UnbiasedLayerNorm()
    variables = norm.init(jax.random.key(0), x)
    expected = (x - x.mean(1, keepdims=True)) / (x.std(1, ddof=1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(norm.apply(variables, x), expected, rtol=1e-5)
    gradient = jax.grad(lambda x: norm.apply(variables, x).sum())(jnp.ones((2, 6)))
    np.testing.assert_array_equal(gradient, 0)


def test_bottleneck_sets_the_embedding():
    batch = {"eeg": jax.ShapeDtypeStruct((2, 3750), "float32")}
    spec = output_spec(create("attnsleep"), batch)
    assert (spec.embedding_dim, spec.num_classes) == (512, 5)
    assert spec.stage_dims == (256, 30, 3000, 3000)
    spec = output_spec(create("attnsleep", flat_stages=False, bottleneck=None), batch)
    assert spec.embedding_dim == 3000
    assert spec.stage_dims == (256, 30, 100, 100)


def test_input_of_another_length_is_refused():
    network = create("attnsleep", sample_rate=125)
    with pytest.raises(UserError, match=r"3000 samples.*3750"):
        shapes_of(network, 3000)


@pytest.mark.slow
def test_a_training_step_moves_every_parameter_and_the_statistics():
    network = create("attnsleep", sample_rate=100, eeg_scale=20.0)
    eeg = 20 * golden_input((4, 3750))
    variables = jax.jit(lambda x: network.init(jax.random.key(0), {"eeg": x}, train=False))(eeg)

    @jax.jit
    def gradients(params, eeg):
        def loss(params):
            output, updates = network.apply(
                {"params": params, "batch_stats": variables["batch_stats"]},
                {"eeg": eeg},
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return jnp.sum(jax.nn.log_softmax(output.logits)[:, 0]), updates

        return jax.grad(loss, has_aux=True)(params)

    grads, updates = gradients(variables["params"], eeg)
    for path, grad in jax.tree.leaves_with_path(grads):
        name = jax.tree_util.keystr(path)
        assert np.isfinite(grad).all(), name
        # A bias before batch normalisation has no gradient but rounding; keys' biases cancel too.
        assert np.abs(grad).max() > 0 or "bias" in name, name
    before, after = variables["batch_stats"], updates["batch_stats"]
    jax.tree.map(lambda a, b: np.testing.assert_(np.any(a != b)), before, after)
