"""What happens to a clip's pixels inside the jitted step; uint8 in, uint8 out."""

import math

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
    """Crops to (height, width) at a random place, the same for all frames of a clip."""
    top_rng, left_rng = jax.random.split(rng)
    batch, _, height, width, _ = video.shape
    tops = jax.random.randint(top_rng, (batch,), 0, height - size[0] + 1)
    lefts = jax.random.randint(left_rng, (batch,), 0, width - size[1] + 1)
    return _crop(video, size, tops, lefts)


def centre_crop(video: Video, size: tuple[int, ...]) -> Video:
    """Crops the centre, (height, width)."""
    top, left = (video.shape[2] - size[0]) // 2, (video.shape[3] - size[1]) // 2
    return video[:, :, top : top + size[0], left : left + size[1]]


def random_flip(rng: PRNGKeyArray, video: Video, probability: float | Float[Array, ""]) -> Video:
    """Mirrors left and right with the given probability, the same for all frames of a clip."""
    flip = jax.random.bernoulli(rng, probability, (video.shape[0],))
    return jnp.where(flip[:, None, None, None, None], video[:, :, :, ::-1], video)


def resampling(
    size: int,
    out: int,
    start: Float[Array, " batch"],
    length: Float[Array, " batch"],
    cut: bool,
) -> Float[Array, "batch {out} {size}"]:
    """Weights that resample pixels from `start` on, `length` of them, to `out` pixels.

    Bilinear, averaging where it shrinks, as Pillow's BILINEAR. With `cut` the part is cropped
    first: pixels outside it do not bleed into its border.
    """
    start, length = start[:, None, None], length[:, None, None]
    step = length / out
    centre = start + (jnp.arange(out)[:, None] + 0.5) * step
    pixel = jnp.arange(size) + 0.5
    weights = jnp.maximum(1 - jnp.abs(pixel - centre) / jnp.maximum(step, 1), 0)
    if cut:
        weights = jnp.where((pixel > start) & (pixel < start + length), weights, 0)
    return weights / weights.sum(-1, keepdims=True)


def resample(
    video: Video,
    rows: Float[Array, "batch out_height height"],
    columns: Float[Array, "batch out_width width"],
) -> UInt8[Array, "batch frames out_height out_width channels"]:
    """Resamples rows and columns of every frame by weights of `resampling`; rounds to uint8."""
    exact = {"precision": "highest", "preferred_element_type": jnp.float32}
    pixels = jnp.einsum("boh,bthwc->btowc", rows, video.astype(jnp.float32), **exact)
    pixels = jnp.einsum("bpw,btowc->btopc", columns, pixels, **exact)
    return jnp.round(jnp.clip(pixels, 0, 255)).astype(jnp.uint8)


_ATTEMPTS = 10


def random_boxes(
    rng: PRNGKeyArray,
    batch: int,
    height: int,
    width: int,
    scale: tuple[float, ...],
    ratio: tuple[float, ...],
) -> tuple[Int[Array, " batch"], ...]:
    """Top, left, height and width of a random part of each clip's frame.

    As torchvision's RandomResizedCrop: area and log aspect ratio are drawn up to ten times; if none
    fits, the largest central part with an allowed ratio is taken.
    """
    area_rng, ratio_rng, top_rng, left_rng = jax.random.split(rng, 4)
    shape = (batch, _ATTEMPTS)
    area = jax.random.uniform(area_rng, shape, minval=scale[0], maxval=scale[1]) * height * width
    limits = [math.log(value) for value in ratio]
    aspect = jnp.exp(jax.random.uniform(ratio_rng, shape, minval=limits[0], maxval=limits[1]))
    widths, heights = jnp.round(jnp.sqrt(area * aspect)), jnp.round(jnp.sqrt(area / aspect))
    fits = (widths <= width) & (heights <= height) & (widths >= 1) & (heights >= 1)
    first, found = jnp.argmax(fits, axis=1)[:, None], fits.any(axis=1)
    middle_height = min(height, round(width / ratio[0]))
    middle_width = min(width, round(height * ratio[1]))
    box_height = jnp.where(found, jnp.take_along_axis(heights, first, 1)[:, 0], middle_height)
    box_width = jnp.where(found, jnp.take_along_axis(widths, first, 1)[:, 0], middle_width)
    places = []
    for key, side, length in ((top_rng, height, box_height), (left_rng, width, box_width)):
        room = side - length
        drawn = jnp.floor(jax.random.uniform(key, (batch,)) * (room + 1))
        places.append(jnp.where(found, jnp.minimum(drawn, room), jnp.floor(room / 2)))
    return tuple(value.astype(jnp.int32) for value in (*places, box_height, box_width))


def random_resized_crop(rng: PRNGKeyArray, video: Video, config: AugmentConfig) -> Video:
    """Crops a random part and resizes it to `config.crop`, the same for all frames of a clip."""
    batch, _, height, width, _ = video.shape
    boxes = random_boxes(rng, batch, height, width, config.scale, config.ratio)
    top, left, box_height, box_width = (value.astype(jnp.float32) for value in boxes)
    rows = resampling(height, config.crop[0], top, box_height, cut=True)
    columns = resampling(width, config.crop[1], left, box_width, cut=True)
    return resample(video, rows, columns)


def shrunk_centre(video: Video, size: tuple[int, ...]) -> Video:
    """Resizes the frame until its shorter side is that of `size`, then crops the centre."""
    sides = video.shape[2:4]
    weights = []
    for side, out in zip(sides, size, strict=True):
        shrunk = max(side * min(size) // min(sides), out)  # whole pixels, as an image would have
        step = side / shrunk
        start, length = round((shrunk - out) / 2) * step, out * step
        ones = jnp.ones(1)
        weights.append(resampling(side, out, start * ones, length * ones, cut=False))
    batched = [jnp.broadcast_to(w, (video.shape[0], *w.shape[1:])) for w in weights]
    return resample(video, *batched)


def augment(rng: PRNGKeyArray, batch: Batch, config: AugmentConfig) -> dict:
    """Augments a training batch: crops and mirrors the video at random; the rest is unchanged."""
    if "video" not in batch:
        return dict(batch)
    crop_rng, flip_rng = jax.random.split(rng)
    video = batch["video"]
    if config.scale:
        video = random_resized_crop(crop_rng, video, config)
    elif config.crop:
        video = random_crop(crop_rng, video, config.crop)
    return {**batch, "video": random_flip(flip_rng, video, config.flip)}


def centred(batch: Batch, config: AugmentConfig) -> dict:
    """Prepares a batch for evaluation: the centre of each frame at the trained size."""
    if "video" not in batch or not config.crop:
        return dict(batch)
    centre = shrunk_centre if config.scale else centre_crop
    return {**batch, "video": centre(batch["video"], config.crop)}
