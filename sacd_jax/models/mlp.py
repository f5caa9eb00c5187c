"""A perceptron of two layers over any array of the batch: for features, tests and first trials."""

import flax.linen as nn
import jax.numpy as jnp

from sacd_jax.models.encoder import EMBEDDING_DIM, Batch, Encoder, EncoderOutput


class Mlp(Encoder):
    """Reads one array of the batch, flattened; integers count as pixels, scaled to [0, 1].

    Attributes:
        num_classes: classes of the logits.
        input_key: key of the batch.
        width: units of the hidden layer, the only stage.
        embedding_dim: width of the embedding.
    """

    num_classes: int = 5
    input_key: str = "eeg"
    width: int = 64
    embedding_dim: int = EMBEDDING_DIM

    @property
    def input_keys(self) -> tuple[str, ...]:
        return (self.input_key,)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        del train  # nothing here differs between training and use
        x = batch[self.input_key]
        if jnp.issubdtype(x.dtype, jnp.integer):
            x = x.astype(jnp.float32) / jnp.iinfo(x.dtype).max
        x = x.reshape(x.shape[0], -1)
        hidden = nn.relu(nn.Dense(self.width, name="hidden")(x))
        embedding = nn.relu(nn.Dense(self.embedding_dim, name="embedding")(hidden))
        logits = nn.Dense(self.num_classes, name="classifier")(embedding)
        return EncoderOutput(embedding, logits, (hidden,))


mlp = Mlp
