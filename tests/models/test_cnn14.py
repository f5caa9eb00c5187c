import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from sacd_jax.models.cnn14 import drop_stripes, log_mel, mel_filters
from sacd_jax.models.encoder import create, output_spec
from sacd_jax.pretrained.names import to_flax, to_torch
from sacd_jax.pretrained.names_eeg import cnn14_names
from tests.golden.fill import INPUT, fill, fill_entry


def shapes_of(network, batch):
    return jax.eval_shape(lambda b: network.init(jax.random.key(0), b, train=False), batch)


def test_sizes_and_names():
    network = create("cnn14", num_classes=527)
    audio = {"audio": jax.ShapeDtypeStruct((1, 32_000), "float32")}
    shapes = shapes_of(network, audio)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == 76_796_879
    assert sorted(cnn14_names().values()) == sorted(flatten_dict(shapes))
    spec = output_spec(network, audio)
    assert (spec.embedding_dim, spec.num_classes) == (512, 527)
    assert spec.stage_dims == (256, 512, 1024, 512)


@pytest.mark.slow
def test_equals_the_original():
    network = create("cnn14", num_classes=527, front_end=False)
    image = (10 * fill((2, 1, 101, 64), INPUT) - 20).astype(np.float32)[:, 0]
    flat = flatten_dict(shapes_of(network, {"log_mel": image}))
    variables = {}
    for number, (key, path) in enumerate(cnn14_names().items()):
        shape = to_torch(np.empty(flat[path].shape, np.bool_)).shape
        variables[path] = to_flax(fill_entry(key, shape, number))
    run = jax.jit(lambda v, x: network.apply(v, {"log_mel": x}, train=False))
    output = run(unflatten_dict(variables), image)
    embedding = np.asarray(output.embedding, np.float64)
    np.testing.assert_allclose(embedding.sum(), 15190.810964, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(embedding), 832.466262, rtol=1e-4)
    np.testing.assert_allclose(embedding[0, :5], (20.853451, 0, 0, 15.003934, 0), rtol=1e-4)
    probabilities = jax.nn.sigmoid(output.logits)[0, :5]
    np.testing.assert_allclose(probabilities, (0.999993, 1, 0.99975, 0, 0), atol=2e-6)


def test_mel_filters_are_slaneys():
    filters = mel_filters()
    assert filters.shape == (513, 64)
    hz = np.fft.rfftfreq(1024, 1 / 32_000)
    centres = hz[filters.argmax(axis=0)]
    assert (np.diff(centres) >= 0).all()
    assert hz[filters.any(axis=1)].min() > 50
    assert hz[filters.any(axis=1)].max() < 14_000
    # Equal area: wide triangles, sampled finely enough, integrate to one.
    np.testing.assert_allclose(filters[:, 40:].sum(axis=0) * 32_000 / 1024, 1, rtol=0.02)


def test_log_mel_of_a_tone_and_of_silence():
    seconds = np.arange(32_000) / 32_000
    tone = np.sin(2 * np.pi * 3000 * seconds).astype(np.float32)
    image = np.asarray(log_mel(jnp.stack([jnp.asarray(tone), jnp.zeros(32_000)])))
    assert image.shape == (2, 101, 64)
    expected = int(np.abs(np.fft.rfftfreq(1024, 1 / 32_000) - 3000).argmin())
    assert image[0, 50].argmax() == mel_filters()[expected].argmax()
    # A sine of amplitude 1 under a Hann window: peak power (1024 / 4)^2, three bins of the line.
    line = np.array([0.25, 1, 0.25]) * (1024 / 4) ** 2
    power = line @ mel_filters()[expected - 1 : expected + 2].max(axis=1)
    assert image[0, 50].max() == pytest.approx(10 * np.log10(power), abs=1.0)
    np.testing.assert_allclose(image[1], -100, atol=1e-4)


def test_log_mel_mirrors_the_ends():
    audio = np.random.default_rng(0).normal(size=2048).astype(np.float32)
    mirrored = np.pad(audio, 512, mode="reflect")
    hann = np.hanning(1025)[:-1]
    power = np.abs(np.fft.rfft(mirrored[:1024] * hann)) ** 2
    expected = 10 * np.log10(power @ mel_filters())
    np.testing.assert_allclose(log_mel(audio[None])[0, 0], expected, rtol=1e-4, atol=1e-3)


def test_stripes_hide_up_to_their_width():
    hidden = drop_stripes(jax.random.key(0), jnp.ones((64, 100, 9)), axis=1, width=10, stripes=2)
    rows = np.asarray(hidden)
    assert (rows.min(axis=2) == rows.max(axis=2)).all()
    lengths = (rows[:, :, 0] == 0).sum(axis=1)
    assert lengths.max() <= 18
    assert len(set(lengths.tolist())) > 5
    columns = np.asarray(drop_stripes(jax.random.key(1), jnp.ones((8, 9, 20)), 2, 8, 1))
    assert (columns.min(axis=1) == columns.max(axis=1)).all()
    assert (columns == 0).any()


def test_stored_embedding():
    network = create("audio_embedding", num_classes=51)
    vectors = np.random.default_rng(0).normal(size=(3, 512)).astype(np.float32)
    variables = network.init(jax.random.key(0), {"audio_embedding": vectors}, train=False)
    output = network.apply(variables, {"audio_embedding": vectors}, train=True)
    np.testing.assert_array_equal(output.embedding, vectors)
    assert output.logits.shape == (3, 51)
    assert create("audio_embedding", key="video_embedding").input_keys == ("video_embedding",)
