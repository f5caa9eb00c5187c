import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.encoder import Encoder, EncoderOutput, create, forward
from sacd_jax.models.fusion import Fusion

BATCH = {
    "a": np.random.default_rng(0).normal(size=(3, 20)).astype(np.float32),
    "b": np.random.default_rng(1).normal(size=(3, 6)).astype(np.float32),
}


class Small(Encoder):
    """An encoder with batch normalisation."""

    key: str

    @property
    def input_keys(self):
        return (self.key,)

    @nn.compact
    def __call__(self, batch, train):
        x = BatchNorm(name="norm")(nn.Dense(4, name="dense")(batch[self.key]), train)
        return EncoderOutput(x, nn.Dense(5, name="classifier")(x))


def make(**options):
    network = Fusion(Small("a"), Small("b"), **options)
    return network, network.init(jax.random.key(0), BATCH, train=False)


def test_layers_and_keys():
    network, variables = make(layers=3)
    assert network.input_keys == ("a", "b")
    params = variables["params"]
    widths = [params[name]["kernel"].shape for name in ("hidden1", "hidden2", "classifier")]
    assert widths == [(8, 256), (256, 64), (64, 5)]
    output, _ = forward(network, variables, BATCH, train=False)
    assert output.embedding.shape == (3, 64)
    assert [stage.shape for stage in output.stages] == [(3, 4), (3, 4)]


def test_encoders_are_as_they_are_alone():
    network, variables = make()
    assert variables["params"]["classifier"]["kernel"].shape == (8, 5)
    output, _ = forward(network, variables, BATCH, train=False)
    for i, name in enumerate(("first", "second")):
        own = {collection: tree[name] for collection, tree in variables.items()}
        expected, _ = forward(Small("ab"[i]), own, BATCH, train=False)
        np.testing.assert_allclose(output.stages[i], expected.embedding, rtol=1e-5)
    np.testing.assert_array_equal(output.embedding, np.concatenate(output.stages, axis=1))


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_encoders_do_not_move(frozen):
    network, variables = make(frozen=frozen)

    def loss(params):
        state = {"params": params, "batch_stats": variables["batch_stats"]}
        output, stats = forward(network, state, BATCH, train=True, dropout=jax.random.key(0))
        return jnp.sum(output.logits**2), stats

    grads, stats = jax.grad(loss, has_aux=True)(variables["params"])
    assert np.any(grads["classifier"]["kernel"])
    assert np.any(grads["second"]["dense"]["kernel"]) != frozen
    before, after = (tree["second"]["norm"]["mean"] for tree in (variables["batch_stats"], stats))
    assert np.array_equal(before, after) == frozen


def test_made_by_name():
    network = create(
        "fusion",
        num_classes=4,
        first={"name": "audio_embedding", "options": {"key": "a"}},
        second={"name": "audio_embedding", "options": {"key": "b"}},
        layers=3,
    )
    output, _ = network.init_with_output(jax.random.key(0), BATCH, train=False)
    assert network.input_keys == ("a", "b")
    assert output.logits.shape == (3, 4)
    np.testing.assert_array_equal(output.stages[0], BATCH["a"])


def test_mistakes_are_named():
    named = {"name": "audio_embedding"}
    with pytest.raises(UserError, match="layers is 2"):
        create("fusion", first=named, second=named, layers=2)
    with pytest.raises(UserError, match="second has no name"):
        create("fusion", first=named, second={})
