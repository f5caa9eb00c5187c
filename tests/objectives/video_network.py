"""The small video network on clips whose class shows in the picture, in the students' place."""

import jax
import jax.numpy as jnp
import numpy as np

from sacd_jax import models
from sacd_jax.models.encoder import EncoderOutput, forward, output_spec
from tests.objectives.two_layers import DIM, LATENT, Student, latents

MOMENTS, PATCH, ROWS, COLUMNS = 4, 4, 4, 5
NETWORK = models.create("r2plus1d_small", stem_patch=PATCH, embedding_dim=DIM)


def video_clips(seed: int) -> jax.Array:
    """Grey clips of 4 moments and 16x20 pixels: patches that say what a clip shares with its EEG.

    Every patch of a frame shows the same mixture of patterns, which changes from moment to moment.
    """
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(4).normal(size=(LATENT, MOMENTS, PATCH, PATCH))
    frames = np.tensordot(latents(rng), patterns, 1)
    video = np.tile(frames, (1, 1, ROWS, COLUMNS))
    video = 128 + 12 * video + 10 * rng.normal(size=video.shape)
    return jnp.asarray(np.clip(video, 0, 255)[..., None], jnp.uint8)


def _init(seed: int):
    start = jax.jit(lambda key: NETWORK.init(key, {"video": video_clips(0)[:1]}, train=False))
    return start(jax.random.key(seed))["params"]


def _encode(params, video: jax.Array) -> EncoderOutput:
    """With the statistics of the batch, also on clips that are not trained on."""
    variables = {"params": params, "batch_stats": {}}
    return forward(NETWORK, variables, {"video": video}, train=True, dropout=jax.random.key(0))[0]


SPEC = output_spec(NETWORK, {"video": video_clips(0)[:1]})
VIDEO = Student(SPEC, _init, _encode, video_clips)
