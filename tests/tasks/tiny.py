"""Two small encoders with BatchNorm and dropout, and batches for them."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from sacd_jax.models.encoder import Encoder, EncoderOutput


class TinyVideo(Encoder):
    """Mean over frames, then a linear layer, BatchNorm and ReLU."""

    num_classes: int = 5
    width: int = 16
    input_keys: tuple[str, ...] = ("video",)

    @nn.compact
    def __call__(self, batch, train: bool) -> EncoderOutput:
        x = (batch["video"].astype(jnp.float32) / 255.0).mean(1).reshape(len(batch["video"]), -1)
        x = nn.Dense(self.width)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
        return EncoderOutput(x, nn.Dense(self.num_classes)(x), (x,))


class TinyEeg(Encoder):
    """A linear layer, dropout and ReLU."""

    num_classes: int = 5
    width: int = 16
    input_keys: tuple[str, ...] = ("eeg",)

    @nn.compact
    def __call__(self, batch, train: bool) -> EncoderOutput:
        x = nn.Dropout(0.1, deterministic=not train)(batch["eeg"])
        x = nn.relu(nn.Dense(self.width)(x))
        return EncoderOutput(x, nn.Dense(self.num_classes)(x), (x,))


def make_batch(seed: int, size: int = 32, frames: int = 2) -> dict[str, np.ndarray]:
    """Clips whose stage shows in the mean grey level and in the EEG's offset."""
    rng = np.random.default_rng(seed)
    stage = rng.integers(0, 5, size)
    video = rng.integers(0, 40, (size, frames, 6, 8, 1)) + 40 * stage[:, None, None, None, None]
    eeg = rng.normal(size=(size, 10)) + np.eye(5)[stage].repeat(2, 1) * 3
    return {
        "video": video.astype(np.uint8),
        "eeg": eeg.astype(np.float32),
        "stage": stage.astype(np.int32),
        "index": np.arange(size, dtype=np.int32),
        "mask": np.ones(size, bool),
    }


def as_arrays(batch):
    """The batch on the default device."""
    return {key: jnp.asarray(value) for key, value in batch.items()}
