"""Audio networks: PANNs Cnn14_emb512 with its log-mel front end, and stored embeddings of it.

As in qiuqiangkong/audioset_tagging_cnn, pytorch/models.py, and qiuqiangkong/torchlibrosa,
torchlibrosa/stft.py and augmentation.py. The front end runs on the device.
"""

from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.conv import Conv2d
from sacd_jax.models.encoder import Batch, Encoder, EncoderOutput

SAMPLE_RATE = 32_000
_WINDOW = 1024
_HOP = 320
_MELS = 64
_RANGE_HZ = (50.0, 14_000.0)
_FLOOR = 1e-10
_CHANNELS = (64, 128, 256, 512, 1024, 2048)
_xavier = nn.initializers.xavier_uniform()


def _hz_to_mel(hz: Array | np.ndarray | float) -> np.ndarray:
    """Slaney's scale: linear to 1 kHz, then 27 steps to a factor of 6.4."""
    hz = np.asarray(hz, np.float64)
    return np.where(
        hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1) / 1000) / np.log(6.4)
    )


def _mel_to_hz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@lru_cache(maxsize=1)
def mel_filters() -> Float[np.ndarray, "bins mels"]:
    """Triangles of equal area on Slaney's mel scale, as `librosa.filters.mel` makes them."""
    edges = _mel_to_hz(np.linspace(*_hz_to_mel(np.array(_RANGE_HZ)), _MELS + 2))
    bins = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)[:, None]
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    triangles = np.minimum((bins - low) / (centre - low), (high - bins) / (high - centre))
    return (np.maximum(triangles, 0) * 2 / (high - low)).astype(np.float32)


def log_mel(audio: Float[Array, "batch samples"]) -> Float[Array, "batch frames mels"]:
    """Log-mel image in dB of mono audio at 32 kHz, amplitude -1 to 1; a frame every 10 ms.

    The signal is mirrored at its ends, so frames are centred on multiples of the hop.
    """
    padded = jnp.pad(audio, ((0, 0), (_WINDOW // 2, _WINDOW // 2)), mode="reflect")
    frames = 1 + (padded.shape[-1] - _WINDOW) // _HOP
    index = np.arange(frames)[:, None] * _HOP + np.arange(_WINDOW)
    hann = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)).astype(np.float32)
    spectrum = jnp.fft.rfft(padded[:, index] * hann)
    power = jnp.square(spectrum.real) + jnp.square(spectrum.imag)
    mel = jnp.matmul(power, mel_filters(), precision="highest")
    return 10 * jnp.log10(jnp.maximum(mel, _FLOOR))


def drop_stripes(
    rng: jax.Array, image: Float[Array, "batch frames mels"], axis: int, width: int, stripes: int
) -> Float[Array, "batch frames mels"]:
    """SpecAugment: zeroes stripes of less than `width` along axis 1 or 2, each clip its own."""
    length = image.shape[axis]
    shape = (image.shape[0], stripes, 1)
    width_rng, start_rng = jax.random.split(rng)
    widths = jax.random.randint(width_rng, shape, 0, min(width, length))
    starts = jax.random.randint(start_rng, shape, 0, length - widths)
    position = jnp.arange(length)
    hidden = ((position >= starts) & (position < starts + widths)).any(axis=1)
    hidden = hidden[:, :, None] if axis == 1 else hidden[:, None]
    return jnp.where(hidden, 0.0, image)


class Block(nn.Module):
    """Two 3x3 convolutions with batch normalisation and ReLU."""

    features: int
    replicas: int = 1
    dtype: Any = None

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch frames mels _"], train: bool
    ) -> Float[Array, "batch frames mels features"]:
        for i in (1, 2):
            x = Conv2d(
                self.features,
                (3, 3),
                padding=((1, 1), (1, 1)),
                use_bias=False,
                kernel_init=_xavier,
                dtype=self.dtype,
                name=f"conv{i}",
            )(x)
            norm = BatchNorm(replicas=self.replicas, dtype=self.dtype, name=f"bn{i}")
            x = nn.relu(norm(x, train))
        return x


class Cnn14(Encoder):
    """Cnn14_emb512: a 14-layer network over log-mel images, embedding of 512 non-negative values.

    Reads `audio`, float32 [batch, samples] at 32 kHz, or with `front_end=False` the image
    `log_mel`, float32 [batch, frames, 64] in dB.

    Attributes:
        num_classes: classes; the original's classifier has AudioSet's 527, read by a sigmoid.
        front_end: compute the log-mel image.
        spec_augment: hide stripes of the image in training (twice up to 64 frames, 8 mels).
        block_dropout: rate after each block.
        dropout: rate before the embedding and before the classifier.
        replicas: see `batch_norm.BatchNorm`.
        dtype: of the computation; parameters and statistics stay float32.
    """

    num_classes: int = 5
    front_end: bool = True
    spec_augment: bool = True
    block_dropout: float = 0.2
    dropout: float = 0.5
    replicas: int = 1
    dtype: Any = None

    @property
    def input_keys(self) -> tuple[str, ...]:
        """`audio`, or `log_mel` without the front end."""
        return ("audio",) if self.front_end else ("log_mel",)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """Embedding, logits, stages (channel means of blocks 3 to 5, embedding)."""
        image = log_mel(batch["audio"]) if self.front_end else batch["log_mel"]
        image = BatchNorm(replicas=self.replicas, raw_input=True, name="bn0")(image, train)
        if train and self.spec_augment:
            frames_rng, mels_rng = jax.random.split(self.make_rng("dropout"))
            image = drop_stripes(frames_rng, image, axis=1, width=64, stripes=2)
            image = drop_stripes(mels_rng, image, axis=2, width=8, stripes=2)
        x = image[..., None]
        stages = []
        for number, features in enumerate(_CHANNELS, start=1):
            x = Block(features, self.replicas, self.dtype, name=f"conv_block{number}")(x, train)
            if number < len(_CHANNELS):
                x = nn.avg_pool(x, (2, 2), (2, 2))
            x = nn.Dropout(self.block_dropout, deterministic=not train)(x)
            if number in (3, 4, 5):
                stages.append(x.mean(axis=(1, 2)).astype(jnp.float32))
        x = x.mean(axis=2)
        x = x.max(axis=1) + x.mean(axis=1)

        dropout = partial(nn.Dropout, self.dropout, deterministic=not train)
        dense = partial(nn.Dense, kernel_init=_xavier, dtype=self.dtype)
        x = nn.relu(dense(512, name="fc1")(dropout()(x)))
        logits = dense(self.num_classes, name="classifier")(x)
        embedding = dropout()(x).astype(jnp.float32)
        return EncoderOutput(embedding, logits.astype(jnp.float32), (*stages, embedding))


class StoredEmbedding(Encoder):
    """A linear classifier on embeddings that were stored, one vector a clip.

    Attributes:
        num_classes: classes.
        key: entry of the batch that holds them, float32 [batch, dim].
    """

    num_classes: int = 5
    key: str = "audio_embedding"

    @property
    def input_keys(self) -> tuple[str, ...]:
        """The one key it reads."""
        return (self.key,)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        """The stored vector as embedding and only stage, and logits."""
        del train
        embedding = jnp.asarray(batch[self.key], jnp.float32)
        logits = nn.Dense(self.num_classes, kernel_init=_xavier, name="classifier")(embedding)
        return EncoderOutput(embedding, logits, (embedding,))


def cnn14(num_classes: int = 5, **options: Any) -> Cnn14:
    """Makes Cnn14_emb512; options are the attributes of `Cnn14`."""
    return Cnn14(num_classes=num_classes, **options)


def audio_embedding(num_classes: int = 5, **options: Any) -> StoredEmbedding:
    """Makes the reader of stored embeddings; options are the attributes of `StoredEmbedding`."""
    return StoredEmbedding(num_classes=num_classes, **options)
