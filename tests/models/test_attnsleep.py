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

SAMPLES = {100: 3000, 125: 3750, 128: 3840}
DIM = {100: 80, 125: 100, 128: 100}


def keys(bottleneck=False):
    """Of the original without the counters of batch normalisation, as they are registered."""
    return [key for key, _ in _attnsleep(bottleneck)]


def shapes_of(network, samples=3750):
    batch = {"eeg": jax.ShapeDtypeStruct((2, samples), "float32")}
    return jax.eval_shape(lambda b: network.init(jax.random.key(0), b, train=False), batch)


def size(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def unused_shape(key, rate):
    """Shape of a parameter that only the original has."""
    return {"convs.0.weight": (30, 30, 7), "convs.0.bias": (30,)}.get(
        ".".join(key.split(".")[-3:]), (DIM[rate],)
    )


def filled(rate):
    """The network of the published code with golden weights; at 128 Hz it has a bottleneck."""
    layer = rate == 128
    network = create("attnsleep", sample_rate=rate, bottleneck=512 if layer else None)
    names, flat = attnsleep_names(layer), flatten_dict(shapes_of(network, SAMPLES[rate]))
    entries = [
        (
            key,
            to_torch(np.empty(flat[names[key]].shape)).shape
            if key in names
            else unused_shape(key, rate),
        )
        for key in keys(layer)
    ]
    state_dict = fill_state_dict(entries)
    return network, unflatten_dict({path: to_flax(state_dict[key]) for key, path in names.items()})


@pytest.mark.parametrize(
    ("rate", "total", "branches", "context", "classifier"),
    [
        (100, 522_805, 407_600, 103_200, 12_005),
        (125, 518_309, 383_024, 120_280, 15_005),
        (128, 550_949, 415_664, 120_280, 15_005),
    ],
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


@pytest.fixture(scope="module")
def at_128_hz():
    return filled(128)


# Sum, norm and first values of inner outputs at 128 Hz, for two inputs, computed in float64 by the
# module of SPIresearch/IoT-V2E in PyTorch.
HASHED = {
    "features1": (25723.0067, 285.609023, (0.138588314, 3.27087133, 3.64071658)),
    "features2": (4492.56125, 110.276631, (2.70287182, 4.3329429, 2.71903747)),
    "afr": (5841.61885, 156.974872, (0.262701974, 0, 0, 0, 0)),
    "tce_norm": (-25.0641927, 77.2280826, (-1.63047069, 0.940240759, -0.433647678, 2.99535144)),
    "bottleneck": (
        50.7049115,
        44.1382245,
        (0.914153125, 0.798610755, 1.14346476, 1.13419284, -1.05446225),
    ),
}
WAVE = {
    "features1": (553843.255, 5883.94634, ()),
    "features2": (116713.307, 2773.31698, ()),
    "afr": (134484.524, 3624.46654, ()),
    "tce_norm": (-14.120294, 77.5759023, ()),
    "bottleneck": (
        101.485699,
        44.856482,
        (0.283736257, 1.07771808, 1.62211111, 2.43089154, 1.79677412),
    ),
}


@pytest.mark.parametrize("expected", [HASHED, WAVE], ids=["hashed", "wave"])
def test_the_form_for_128_hz_equals_the_authors(expected, at_128_hz):
    network, variables = at_128_hz
    eeg = golden_input((2, 1, 3840))[:, 0]
    if expected is WAVE:
        eeg = 20 * np.sin(0.05 * np.arange(3840) + np.arange(2)[:, None]).astype(np.float32)
    run = jax.jit(
        lambda v, x: network.apply(v, {"eeg": x}, train=False, capture_intermediates=True)
    )
    output, state = run(variables, eeg)
    inner = state["intermediates"]
    for name, (total, norm, first) in expected.items():
        out = np.asarray(inner[name]["__call__"][0], np.float64)
        if name in ("features1", "features2", "afr"):
            out = out.swapaxes(1, 2)  # PyTorch's order
        np.testing.assert_allclose(np.linalg.norm(out), norm, rtol=5e-5, err_msg=name)
        np.testing.assert_allclose(out.sum(), total, rtol=1e-4, atol=2e-5 * norm, err_msg=name)
        start = out.reshape(-1)[: len(first)]
        np.testing.assert_allclose(start, first, rtol=1e-4, atol=2e-5, err_msg=name)
    np.testing.assert_array_equal(output.embedding, inner["bottleneck"]["__call__"][0])


def test_training_at_128_hz_equals_the_authors(at_128_hz):
    _, variables = at_128_hz
    network = create("attnsleep", sample_rate=128, dropout=0.0, tce_dropout=0.0)
    eeg = golden_input((2, 1, 3840))[:, 0]
    run = jax.jit(lambda v: network.apply(v, {"eeg": eeg}, train=True, mutable=["batch_stats"]))
    output, updates = run(variables)
    embedding = np.asarray(output.embedding, np.float64)
    np.testing.assert_allclose(embedding.sum(), -3.70345714, atol=2e-3)
    np.testing.assert_allclose(np.linalg.norm(embedding), 46.2900744, rtol=5e-5)
    first = (-0.294525001, -0.941978158, -0.955897437, 0.444069281, -1.4789998)
    np.testing.assert_allclose(embedding[0, :5], first, rtol=1e-4, atol=1e-4)
    statistics = updates["batch_stats"]["features1"]["bn1"]
    np.testing.assert_allclose(statistics["mean"].sum(), -0.926384118, rtol=1e-4)
    np.testing.assert_allclose(statistics["var"].sum(), 63.663835, rtol=1e-4)


def test_gradients_at_128_hz_equal_the_authors(at_128_hz):
    network, variables = at_128_hz
    eeg = golden_input((2, 1, 3840))[:, 0]

    @jax.jit
    def gradients(params):
        def loss(params):
            output = network.apply({**variables, "params": params}, {"eeg": eeg}, train=False)
            return 0.5 * jnp.square(output.embedding).sum()

        return jax.grad(loss)(params)

    found = gradients(variables["params"])
    for (module, layer, leaf), total, norm in (
        (("features1", "conv1", "kernel"), -2454.93308, 1948.13694),
        (("features2", "conv1", "kernel"), 11342.3493, 3202.23154),
        (("afr", "conv1", "kernel"), 5745.49183, 5359.88473),
        (("tce1", "key", "kernel"), 0, 13028.2769),
        (("tce2", "feed_forward1", "kernel"), -2.67889313, 69.9147971),
    ):
        gradient = np.asarray(found[module][layer][leaf], np.float64)
        name = f"{module}/{layer}"
        np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=5e-4, err_msg=name)
        np.testing.assert_allclose(gradient.sum(), total, atol=5e-4 * norm, err_msg=name)
    layer = (("kernel", -539.987104, 2707.65001), ("bias", 50.7049115, 54.5477416))
    for leaf, total, norm in layer:
        gradient = np.asarray(found["bottleneck"][leaf], np.float64)
        np.testing.assert_allclose(np.linalg.norm(gradient), norm, rtol=5e-4, err_msg=leaf)
        np.testing.assert_allclose(gradient.sum(), total, atol=5e-4 * norm, err_msg=leaf)


def test_every_tensor_of_the_original_has_a_place_or_is_unused():
    names = attnsleep_names()
    network = create("attnsleep", bottleneck=None)
    assert sorted(names.values()) == sorted(flatten_dict(shapes_of(network)))
    counters = sum(key.endswith("running_mean") for key in names)
    assert len(keys()) + counters == 98
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
    with pytest.raises(UserError, match=r"3000 samples.*3750 \(125 Hz\) or 3840 \(128 Hz\)"):
        shapes_of(network, 3000)
    with pytest.raises(UserError, match=r"sample_rate is 250, expected 100 \| 125 \| 128"):
        create("attnsleep", sample_rate=250)


@pytest.mark.parametrize("rate", [100, 125, 128])
@pytest.mark.parametrize("stored", [3750, 3840])
def test_clips_of_either_stored_rate_fit_every_form(rate, stored):
    assert shapes_of(create("attnsleep", sample_rate=rate), stored)["params"]


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
