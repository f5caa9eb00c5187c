"""What happens to a clip's pixels inside the jitted step; uint8 in, uint8 out."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import Batch

Video = UInt8[Array, "batch frames height width channels"]


def _crop(
    video: Video, size: tuple[int, ...], tops: Int[Array, " batch"], lefts: Int[Array, " batch"]
) -> Video:
    height, width = size

    def one(clip: jax.Array, top: jax.Array, left: jax.Array) -> jax.Array:
        clip = jax.lax.dynamic_slice_in_dim(clip, top, height, axis=1)
        return jax.lax.dynamic_slice_in_dim(clip, left, width, axis=2)

    return jax.vmap(one)(video, tops, lefts)


def random_crop(rng: PRNGKeyArray, video: Video, size: tuple[int, ...]) -> Video:
    """Cuts (height, width) at a random place, the same for all frames of a clip."""
    top_rng, left_rng = jax.random.split(rng)
    batch, _, height, width, _ = video.shape
    tops = jax.random.randint(top_rng, (batch,), 0, height - size[0] + 1)
    lefts = jax.random.randint(left_rng, (batch,), 0, width - size[1] + 1)
    return _crop(video, size, tops, lefts)


def centre_crop(video: Video, size: tuple[int, ...]) -> Video:
    """Cuts (height, width) from the middle."""
    top, left = (video.shape[2] - size[0]) // 2, (video.shape[3] - size[1]) // 2
    return video[:, :, top : top + size[0], left : left + size[1]]


def random_flip(rng: PRNGKeyArray, video: Video, probability: float | Float[Array, ""]) -> Video:
    """Mirrors left and right with the given probability, the same for all frames of a clip."""
    flip = jax.random.bernoulli(rng, probability, (video.shape[0],))
    return jnp.where(flip[:, None, None, None, None], video[:, :, :, ::-1], video)


def augment(rng: PRNGKeyArray, batch: Batch, config: AugmentConfig) -> dict:
    """A training batch: video cropped and mirrored at random; everything else as it was."""
    if "video" not in batch:
        return dict(batch)
    crop_rng, flip_rng = jax.random.split(rng)
    video = batch["video"]
    if config.crop:
        video = random_crop(crop_rng, video, config.crop)
    return {**batch, "video": random_flip(flip_rng, video, config.flip)}


def centred(batch: Batch, config: AugmentConfig) -> dict:
    """A batch to evaluate on: the middle of each frame at the trained size."""
    if "video" not in batch or not config.crop:
        return dict(batch)
    return {**batch, "video": centre_crop(batch["video"], config.crop)}
