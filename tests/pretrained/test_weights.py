"""Public weights in our networks: every tensor in its place, and each misfit named."""

import logging
from functools import cache

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sacd_jax
from input_pipeline.errors import UserError
from sacd_jax import models
from sacd_jax.pretrained import ARCHITECTURES, convert, load, names, names_eeg
from sacd_jax.pretrained.weights import variable_shapes
from sacd_jax.runs import model_file
from tests.golden.fill import fill_state_dict
from tests.pretrained.torch_files import BFLOAT16, save, state_dict

WIDTH = {"width": 0.0625}  # four channels in the first stage
SMALL = WIDTH | {"depth": 0.5, "embedding_dim": None}  # and one block a stage


@cache
def shapes(name: str, classes: int, **options) -> dict:
    """Path -> shape of a network's variables."""
    return flatten_dict(variable_shapes(models.create(name, classes, **options)))


def weights(name: str, classes: int = 5, **options) -> dict[str, np.ndarray]:
    """The state dict of an original network, in PyTorch's layout and order, filled."""
    encoder = models.create(name, classes, **options)
    flat = shapes(name, classes, **options)
    entries = [
        (key, names.to_torch(np.empty(flat[path].shape)).shape)
        for key, path in ARCHITECTURES[name].names(encoder).items()
    ]
    filled = fill_state_dict(entries)
    counters = {
        key.replace("running_mean", "num_batches_tracked"): np.array(3)
        for key in filled
        if key.endswith("running_mean")
    }
    return filled | counters


VIDEO = [name for name in names.VIDEO_FAMILIES if not name.endswith("34")]


@pytest.mark.parametrize("name", VIDEO)
def test_video_weights_come_to_their_places(name, tmp_path):
    options = WIDTH | {"embedding_dim": None}
    state = weights(name, 7, **options)
    path = save({"epoch": 200, "state_dict": state_dict(state)}, tmp_path / "a.pth")
    variables = load(name, path, 7, **options)
    flat = flatten_dict(variables)
    assert {p: v.shape for p, v in flat.items()} == {
        p: leaf.shape for p, leaf in shapes(name, 7, **options).items()
    }
    encoder = models.create(name, 7, **options)
    for key, place in names.video_names(name, encoder).items():
        assert flat[place].dtype == np.float32
        back = flat[place]
        if back.ndim > 1:  # (*taps, in, out) -> (out, in, *taps), written out
            axes = (back.ndim - 1, back.ndim - 2, *range(back.ndim - 2))
            back = back.transpose(axes)
        np.testing.assert_array_equal(back, state[key], err_msg=key)


@pytest.mark.parametrize("name", ["r3d_18", "torchvision_r2plus1d_18"])
def test_grey_video_equals_three_equal_channels(name, tmp_path):
    """The stem keeps its three-channel kernel; a single channel is folded into it, border exact."""
    variables = load(name, save(state_dict(weights(name, **SMALL)), tmp_path / "a.pth"), **SMALL)
    stem = variables["params"]["stem" if name == "r3d_18" else "stem_spatial"]
    assert stem["kernel"].shape[3] == 3
    encoder = models.create(name, **SMALL)
    run = jax.jit(lambda v, x: encoder.apply(v, {"video": x}, train=False).embedding)
    grey = np.random.default_rng(0).integers(0, 256, (2, 4, 24, 24, 1), np.uint8)
    from_grey = np.asarray(run(variables, grey))
    from_colour = np.asarray(run(variables, np.repeat(grey, 3, axis=-1)))
    close = {"rtol": 2e-5, "atol": 2e-5 * np.abs(from_colour).max()}
    np.testing.assert_allclose(from_grey, from_colour, **close)
    # It would be noticed if the colours were confused: their means and deviations differ.
    stem["kernel"] = stem["kernel"][..., ::-1, :]
    assert np.abs(np.asarray(run(variables, grey)) - from_grey).max() > 100 * close["atol"]


@pytest.mark.parametrize("classes", [400, 1039])
def test_the_files_head_is_kept_or_left_out(classes, tmp_path, caplog):
    state = weights("r3d_18", classes, **SMALL)
    path = save({"state_dict": state_dict(state)}, tmp_path / "a.pth")
    own = load("r3d_18", path, classes, **SMALL)
    np.testing.assert_array_equal(own["params"]["classifier"]["kernel"], state["fc.weight"].T)
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        fresh = load("r3d_18", path, **SMALL)
    assert "r3d_18: fresh weights for params/classifier/" in caplog.text
    kernel, bias = (fresh["params"]["classifier"][key] for key in ("kernel", "bias"))
    assert (kernel.shape, bias.shape) == ((32, 5), (5,))
    assert 0 < np.abs(kernel).max() <= 32**-0.5
    again = load("r3d_18", path, **SMALL)["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(kernel, again)


# Whole conversions, on the one public network that is small


def attnsleep(rate: int = 125, classes: int = 5) -> dict[str, np.ndarray]:
    """The original's state dict, with the parameters that it never uses."""
    state = weights("attnsleep", classes, sample_rate=rate, bottleneck=None)
    ones = {key: np.ones(3, np.float32) for key in names_eeg.attnsleep_unused()}
    return state | ones


@pytest.mark.parametrize("rate", [100, 125, 128])
def test_attnsleep_converts_with_the_options_of_the_file(rate, tmp_path):
    content = {
        "arch": "AttnSleep",
        "state_dict": state_dict({f"module.{k}": v for k, v in attnsleep(rate).items()}),
        "optimizer": {"state": {0: {"step": 3}}},
    }
    converted = convert("attnsleep", save(content, tmp_path / "a.pth"))
    model = converted.model
    assert (model.encoder, model.num_classes) == ("attnsleep", 5)
    assert model.options == {"bottleneck": None, "sample_rate": rate}
    assert converted.head_classes == 5
    assert converted.unused == tuple(names_eeg.attnsleep_unused())
    assert converted.beside == ("arch", "optimizer")
    assert converted.tensors == len(flatten_dict(model.variables))
    encoder = models.create(model.encoder, model.num_classes, **model.options)
    batch = {"eeg": np.zeros((1, 30 * rate), np.float32)}
    output = jax.eval_shape(lambda v: encoder.apply(v, batch, train=False), model.variables)
    assert output.embedding.shape == (1, {100: 2400, 125: 3000, 128: 3000}[rate])


def test_the_teacher_of_s3ve_brings_its_bottleneck(tmp_path):
    """`pre_attn.pth` of SPIresearch/IoT-V2E: a bare state dict without a classifier."""
    state = weights("attnsleep", 5, sample_rate=128)
    headless = {key: value for key, value in state.items() if not key.startswith("fc.")}
    ones = {key: np.ones(3, np.float32) for key in names_eeg.attnsleep_unused()}
    path = save(state_dict(headless | ones), tmp_path / "pre_attn.pth")
    converted = convert("attnsleep", path, num_classes=5)
    assert converted.model.options == {"bottleneck": 512, "sample_rate": 128}
    assert converted.head_classes is None
    params = converted.model.variables["params"]
    np.testing.assert_array_equal(params["bottleneck"]["kernel"], state["fc1.weight"].T)
    assert "classifier" not in params
    taken = load("attnsleep", path, sample_rate=128)
    np.testing.assert_array_equal(taken["params"]["bottleneck"]["bias"], state["fc1.bias"])
    for rate in (100, 125):
        with pytest.raises(UserError, match=r"does not fit attnsleep.*features1\.0\.weight.*64"):
            load("attnsleep", path, sample_rate=rate)


def test_a_bottleneck_that_no_file_has_is_fresh(tmp_path, caplog):
    path = save(state_dict(attnsleep()), tmp_path / "a.pth")
    variables = load("attnsleep", path)  # with its 512-d bottleneck, as a teacher has
    assert variables["params"]["bottleneck"]["kernel"].shape == (3000, 512)
    assert variables["params"]["classifier"]["kernel"].shape == (512, 5)
    assert "params/bottleneck/kernel" in caplog.text
    assert "features1" not in caplog.text


def test_a_head_of_other_classes_is_left_out_of_the_model(tmp_path):
    path = save(state_dict(attnsleep(classes=4)), tmp_path / "a.pth")
    converted = convert("attnsleep", path, num_classes=5)
    assert (converted.model.num_classes, converted.head_classes) == (5, 4)
    assert "classifier" not in converted.model.variables["params"]
    assert convert("attnsleep", path).model.num_classes == 4
    kept = convert("attnsleep", path, num_classes=4).model.variables["params"]["classifier"]
    assert kept["kernel"].shape == (3000, 4)


def test_a_file_without_a_head(tmp_path):
    state = {k: v for k, v in attnsleep().items() if not k.startswith("fc.")}
    path = save(state_dict(state), tmp_path / "a.pth")
    converted = convert("attnsleep", path, num_classes=5)
    assert converted.head_classes is None
    assert "classifier" not in converted.model.variables["params"]
    with pytest.raises(UserError, match="no classifier fc: expected a number of classes"):
        convert("attnsleep", path)
    state["fc.bias"] = np.zeros(5, np.float32)
    with pytest.raises(UserError, match=r"missing: fc\.weight$"):
        convert("attnsleep", save(state_dict(state), path), num_classes=5)


def test_training_takes_what_fits(tmp_path):
    """The way of `train`: a model stored, read again, and laid over fresh variables."""
    options = WIDTH | {"embedding_dim": None}
    path = save(state_dict(weights("r3d_18", 400, **options)), tmp_path / "a.pth")
    model = model_file.Model("r3d_18", 400, options, load("r3d_18", path, 400, **options))
    model_file.save(tmp_path / "out", model)
    fresh = jax.tree.map(
        lambda leaf: np.zeros(leaf.shape, leaf.dtype),
        variable_shapes(models.create("r3d_18", 5, **WIDTH)),
    )
    filled, kept = model_file.fill(fresh, model_file.load(tmp_path / "out").variables)
    # This student ends in a linear layer to 512, which no public network has.
    assert kept == [
        f"params/{layer}/{part}"
        for layer in ("classifier", "embedding")
        for part in ("bias", "kernel")
    ]
    assert np.abs(filled["params"]["stem"]["kernel"]).max() > 0


def test_names_of_cnn14(tmp_path):
    encoder = models.create("cnn14", 527)
    places = ARCHITECTURES["cnn14"].names(encoder)
    assert sorted(places.values()) == sorted(flatten_dict(variable_shapes(encoder)))
    assert ARCHITECTURES["cnn14"].unused("spectrogram_extractor.stft.conv_real.weight")
    assert ARCHITECTURES["cnn14"].unused("logmel_extractor.melW")
    assert not ARCHITECTURES["cnn14"].unused("bn0.weight")


def test_shortcut_a_and_bottlenecks_are_seen_in_the_file():
    entries = dict.fromkeys(["conv1.weight", "layer2.0.conv1.weight"])
    assert ARCHITECTURES["r3d_18"].options(entries) == {"shortcut": "A"}
    entries["layer2.0.downsample.0.weight"] = None
    assert ARCHITECTURES["r3d_18"].options(entries) == {}
    assert ARCHITECTURES["r3d_50"].options(entries) == {"embedding_dim": None}


# Misfits


def test_missing_unused_and_wrong_entries_are_all_named(tmp_path):
    state = attnsleep()
    del state["tce.norm.a_2"], state["mrcnn.AFR.0.bn1.running_var"]
    state["extra.weight"] = np.ones(2, np.float32)
    state["mrcnn.features1.0.weight"] = np.ones((64, 1, 49), np.float32)
    state["mrcnn.features1.1.bias"] = np.ones(64, np.int64)
    path = save(state_dict(state), tmp_path / "a.pth")
    with pytest.raises(UserError) as caught:
        convert("attnsleep", path)
    assert str(caught.value) == (
        f"{path} does not fit attnsleep: missing: mrcnn.AFR.0.bn1.running_var, tce.norm.a_2; "
        "unused: extra.weight; "
        "of another shape or type: mrcnn.features1.0.weight float32 (64, 1, 49), "
        "expected (64, 1, 50), mrcnn.features1.1.bias int64 (64,), expected (64,)"
    )


def test_another_networks_file_is_recognised(tmp_path):
    path = save(state_dict(attnsleep()), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"names are those of attnsleep.* and \d+ more"):
        convert("r3d_18", path, 5)
    state = weights("r3d_18", **WIDTH)
    path = save(state_dict(state), tmp_path / "b.pth")
    with pytest.raises(UserError, match=r"\(its names are those of r3d_18\): missing: stem\.0"):
        load("torchvision_r3d_18", path, **WIDTH)


def test_a_deeper_networks_weights_are_not_taken_in_part(tmp_path):
    path = save(state_dict(weights("r3d_34", **WIDTH)), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"those of r3d_34\): unused: layer1\.2"):
        load("r3d_18", path, **WIDTH)


@pytest.mark.parametrize(("value", "dtype"), [(np.nan, "f4"), (-np.inf, "f4"), (1e300, "f8")])
def test_values_that_are_not_finite_are_refused(value, dtype, tmp_path):
    state = attnsleep()
    state["tce.norm.b_2"] = np.full(100, value, dtype)
    path = save(state_dict(state), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"tce\.norm\.b_2 holds values that are not finite"):
        convert("attnsleep", path)


def test_a_name_that_is_not_known_gets_a_suggestion(tmp_path):
    with pytest.raises(UserError, match="did you mean 'attnsleep'"):
        load("attn_sleep", tmp_path / "a.pth")
    with pytest.raises(UserError, match="no public weights are known for 'mlp'"):
        convert("mlp", tmp_path / "a.pth")


def test_a_head_behind_another_width_is_not_silently_dropped(tmp_path):
    state = attnsleep() | {"fc.weight": np.ones((5, 17), np.float32)}
    path = save(state_dict(state), tmp_path / "a.pth")
    with pytest.raises(UserError, match=r"fc\.weight float32 \(5, 17\), expected \(5, 3000\)"):
        convert("attnsleep", path)


def test_an_empty_head_is_no_head(tmp_path):
    state = attnsleep()
    state["fc.weight"] = np.ones((0, 3000), np.float32)
    path = save(state_dict(state), tmp_path / "a.pth")
    with pytest.raises(UserError, match="no classifier fc"):
        convert("attnsleep", path)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=10
)
@given(st.data())
def test_generated_checkpoints_convert_to_the_same_values(tmp_path, data):
    """Types, order, prefix and containers change nothing but the rounding of the type."""
    dtype = data.draw(st.sampled_from([np.float16, np.float32, np.float64, BFLOAT16]))
    prefix = data.draw(st.sampled_from(["", "module."]))
    state = {
        key: value if value.dtype == np.int64 else value.astype(dtype)
        for key, value in data.draw(st.permutations(list(attnsleep(100).items())))
    }
    content = state_dict({prefix + key: value for key, value in state.items()})
    container = data.draw(st.sampled_from([None, "state_dict", "model"]))
    path = save({container: content, "epoch": 1} if container else content, tmp_path / "a.pth")
    model = convert("attnsleep", path).model
    flat = flatten_dict(model.variables)
    for key, place in names_eeg.attnsleep_names().items():
        value = state[key].astype(np.float32)
        np.testing.assert_array_equal(names.to_torch(flat[place]), value)


def test_it_is_public():
    assert sacd_jax.pretrained.load is load
