"""Video ResNets: R3D and R(2+1)D in the forms of kenshohara, torchvision and CCL.

Five public networks are called "18" and differ in the stem, the pool, the middle channels and the
shortcut; `VideoResNet` has one option for each difference, and the factories below set them.
Sources: K. Hara et al. (3D-ResNets-PyTorch), D. Tran et al. (torchvision), Y. Chen et al. (CCL).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array

from input_pipeline.errors import UserError
from sacd_jax.models.batch_norm import BatchNorm
from sacd_jax.models.conv import backend, kaiming_normal, resolve, torch_bias, torch_uniform
from sacd_jax.models.encoder import EMBEDDING_DIM, Batch, Encoder, EncoderOutput
from sacd_jax.models.rhythm import rhythm_features
from sacd_jax.models.video_blocks import (
    Block,
    Shortcut,
    Style,
    VideoConv,
    max_pool,
    middle_channels,
    symmetric_padding,
)
from sacd_jax.models.video_input import StemConv, VideoInput, arrange

VideoForm = Literal["auto", "direct", "matmul", "planar", "folded"]

KINETICS_KENSHOHARA = ((0.4345, 0.4051, 0.3775), (0.2768, 0.2713, 0.2737))
KINETICS_TORCHVISION = ((0.43216, 0.394666, 0.37645), (0.22803, 0.22145, 0.216989))


class VideoResNet(Encoder):
    """A residual network over moments, height and width of a clip.

    Reads `video`, uint8 `[batch, moments * lags, height, width, colours]`. The output's stages are
    the pooled outputs of the residual stages.

    Attributes:
        num_classes: classes of the logits.
        blocks: residual blocks of each stage; stages after the first halve all three axes.
        widths: channels of each stage.
        bottleneck: three-convolution blocks, four times as wide at their end.
        factorized: spatial and temporal convolutions, R(2+1)D, rather than 3-D ones, R3D.
        shared_middle: the second convolution of a block has the middle channels of the first.
        shortcut: where a block changes size: `A` without parameters, `B` a strided 1x1x1
            convolution, `factorized` one in two steps. The gradient flows through `A`, as in He et
            al.; kenshohara's code stops it there (`.data`), so a further training differs.
        stem_taps: temporal and spatial width of the stem, which has spatial stride 2.
        stem_middle: channels between the stem's spatial and temporal half; None for the formula.
        stem_patch: side in pixels of patches that replace the overlapping spatial stem.
        pool: max pool of 3x3x3 and stride 2 after the stem.
        video_input, lags: see `video_input.arrange`.
        stem_channels: input channels of the stem's kernel; 3 for weights from colour video, which
            a single grey channel may stand for; None for as many as there are.
        mean, std: of the colours of frames in [0, 1]; differences and centred frames have no mean.
        embedding_dim: width of the embedding; a linear layer leads there where the last stage has
            another. None for the last stage's.
        rhythm: width of a layer that reads `rhythm.rhythm_features` of the differences, beside the
            last stage; 0 for none. Meant for each stored frame less the one before.
        kernel_init: of convolutions.
        head_init: of linear layers: PyTorch's default, or N(0, 0.01).
        dtype: of the computation (bfloat16); parameters, statistics, embedding and logits are
            float32.
        form: `folded` (stem and stage 1 width-folded, all else direct) or a form of `conv`; `auto`
            is folded on TPU where no pool follows the stem. Parameters and results do not depend
            on it.
        replicas: see `batch_norm.BatchNorm`.
        remat: recompute blocks in the backward pass instead of keeping their activations.
    """

    num_classes: int = 5
    blocks: tuple[int, ...] = (2, 2, 2, 2)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    bottleneck: bool = False
    factorized: bool = True
    shared_middle: bool = False
    shortcut: Shortcut = "B"
    stem_taps: tuple[int, int] = (7, 7)
    stem_middle: int | None = None
    stem_patch: int | None = None
    pool: bool = True
    video_input: VideoInput = "frames"
    lags: int = 1
    stem_channels: int | None = 3
    mean: tuple[float, ...] = KINETICS_KENSHOHARA[0]
    std: tuple[float, ...] = KINETICS_KENSHOHARA[1]
    embedding_dim: int | None = EMBEDDING_DIM
    rhythm: int = 0
    kernel_init: Callable[..., Array] = kaiming_normal
    head_init: Literal["torch", "normal"] = "torch"
    dtype: Any = None
    form: VideoForm = "auto"
    replicas: int = 1
    remat: bool = False

    @property
    def input_keys(self) -> tuple[str, ...]:
        return ("video",)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        form = self.form
        if form == "auto" and backend() == "tpu":
            form = "direct" if self.pool else "folded"  # estimates: docs/video-networks.md
        style = Style(
            self.factorized,
            self.shared_middle,
            self.shortcut,
            self.kernel_init,
            self.dtype,
            "direct" if form == "folded" else resolve(form),
            self.replicas,
        )
        x = arrange(batch["video"], self.video_input, self.lags, self.dtype or jnp.float32)
        rhythm = self._rhythm(x, train) if self.rhythm else None
        x, columns = self._stem(x, train, style, folded=form == "folded")
        block = nn.remat(Block, static_argnums=(2, 3, 4)) if self.remat else Block
        stages = []
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths, strict=True), start=1):
            columns_out = columns if stage == 1 else 1
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                name = f"stage{stage}_block{i}"
                layer = block(width, style, stride, self.bottleneck, name=name)
                x = layer(x, train, columns, columns_out)
                columns = columns_out
            stages.append(_pooled(x, columns))
        embedding = stages[-1]
        if rhythm is not None:
            embedding = jnp.concatenate([embedding, rhythm], axis=-1)
        if self.embedding_dim is not None and embedding.shape[-1] != self.embedding_dim:
            embedding = self._linear(embedding, self.embedding_dim, "embedding")
        logits = self._linear(embedding, self.num_classes, "classifier")
        return EncoderOutput(embedding, logits, tuple(stages))

    def _rhythm(self, x: Array, train: bool) -> Array:
        """The branch that reads breathing and movement by plain signal processing."""
        if self.video_input != "differences":
            raise UserError(
                f"rhythm {self.rhythm} with video_input {self.video_input!r}: expected differences"
            )
        features = BatchNorm(replicas=self.replicas, raw_input=True, name="rhythm_norm")(
            rhythm_features(x), train
        )
        return nn.relu(self._linear(features, self.rhythm, "rhythm"))

    def _stem(self, x: Array, train: bool, style: Style, folded: bool) -> tuple[Array, int]:
        """Returns the activation that enters stage 1, and its columns a block."""
        time, space = self.stem_taps
        features = self.widths[0]
        kernel = (1 if self.factorized else time, space, space)
        strides, padding = (1, 2, 2), symmetric_padding(kernel)
        if self.stem_patch:
            kernel = strides = (1, self.stem_patch, self.stem_patch)
            padding = ((0, 0),) * 3
        width = (x.shape[3] + sum(padding[2]) - kernel[2]) // strides[2] + 1
        columns = 2 if folded and not width % 2 and not x.shape[3] % (2 * strides[2]) else 1
        # The colours' mean is gone from differences and centred frames.
        mean = self.mean if self.video_input == "frames" else (0.0,) * len(self.mean)
        convolution = partial(
            StemConv,
            kernel_size=kernel,
            strides=strides,
            padding=padding,
            kernel_init=style.kernel_init,
            mean=mean,
            std=self.std,
            input_channels=self.stem_channels,
            dtype=style.dtype,
            form=style.form,
        )
        if self.factorized:
            middle = self.stem_middle or middle_channels(
                (time, space), self.stem_channels or x.shape[-1], features
            )
            x = convolution(middle, name="stem_spatial")(x, columns)
            x = nn.relu(style.norm("stem_spatial_norm")(x, train, columns))
            temporal = VideoConv(features, (time, 1, 1), style, name="stem_temporal")
            x = temporal(x, columns, columns)
        else:
            x = convolution(features, name="stem")(x, columns)
        norm = style.norm("stem_norm")
        if not self.pool:
            return nn.relu(norm(x, train, columns)), columns
        pooled_columns = columns

        def pool(x: Array) -> tuple[Array, int]:
            nonlocal pooled_columns
            x, pooled_columns = max_pool(x, columns, window=backend() == "tpu")
            return x, pooled_columns

        return nn.relu(norm(x, train, columns, pool)), pooled_columns

    def _linear(self, x: Array, features: int, name: str) -> Array:
        if self.head_init == "normal":
            return nn.Dense(features, kernel_init=nn.initializers.normal(0.01), name=name)(x)
        bias_init = torch_bias(x.shape[-1])
        return nn.Dense(features, kernel_init=torch_uniform, bias_init=bias_init, name=name)(x)


def _pooled(x: Array, columns: int) -> Array:
    """Mean over time and place, in float32 at least."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32)).mean((1, 2, 3))
    return x.reshape(x.shape[0], columns, -1).mean(1)


def _scaled(
    blocks: tuple[int, ...], width: float, depth: float, options: dict[str, Any]
) -> dict[str, Any]:
    """Blocks and widths of a network of this depth and width scale, then the options."""
    widths = tuple(max(1, round(width * 64 * 2**i)) for i in range(4))
    blocks = tuple(max(1, round(depth * count)) for count in blocks)
    return {"blocks": blocks, "widths": widths, **options}


def _kenshohara(
    blocks: tuple[int, ...],
    factorized: bool,
    bottleneck: bool,
    /,
    num_classes: int = 5,
    width: float = 1.0,
    depth: float = 1.0,
    **options: Any,
) -> VideoResNet:
    return VideoResNet(
        num_classes,
        factorized=factorized,
        bottleneck=bottleneck,
        **_scaled(blocks, width, depth, options),
    )


r2plus1d_18 = partial(_kenshohara, (2, 2, 2, 2), True, False)
"""kenshohara's resnet2p1d-18, the paper's R(2+1)D; `width` and `depth` scale it."""
r2plus1d_34 = partial(_kenshohara, (3, 4, 6, 3), True, False)
r2plus1d_50 = partial(_kenshohara, (3, 4, 6, 3), True, True)
r3d_18 = partial(_kenshohara, (2, 2, 2, 2), False, False)
"""kenshohara's resnet-18, the paper's R3D; `shortcut` is B, or A for the checkpoints of 2018."""
r3d_34 = partial(_kenshohara, (3, 4, 6, 3), False, False)
r3d_50 = partial(_kenshohara, (3, 4, 6, 3), False, True)


def _torchvision(
    factorized: bool,
    /,
    num_classes: int = 5,
    width: float = 1.0,
    depth: float = 1.0,
    **options: Any,
) -> VideoResNet:
    own = {
        "stem_taps": (3, 7),
        "stem_middle": max(1, round(45 * width)) if factorized else None,
        "shared_middle": True,
        "pool": False,
        "head_init": "normal",
        "mean": KINETICS_TORCHVISION[0],
        "std": KINETICS_TORCHVISION[1],
    }
    options = _scaled((2, 2, 2, 2), width, depth, own | options)
    return VideoResNet(num_classes, factorized=factorized, **options)


torchvision_r2plus1d_18 = partial(_torchvision, True)
torchvision_r3d_18 = partial(_torchvision, False)


def ccl_r21d(
    num_classes: int = 51, width: float = 1.0, depth: float = 1.0, **options: Any
) -> VideoResNet:
    """CCL's r21d "18" for UCF51: one block a stage, ten layers; its result is from scratch."""
    own = {
        "stem_taps": (3, 7),
        "shortcut": "factorized",
        "pool": False,
        "kernel_init": torch_uniform,
    }
    return VideoResNet(num_classes, **_scaled((1, 1, 1, 1), width, depth, own | options))


def r2plus1d_small(
    num_classes: int = 5, width: float = 0.125, depth: float = 1.0, **options: Any
) -> VideoResNet:
    """A student for two CPU cores: patch stem, one block a stage, widths 8/16/32/64."""
    own = {
        "stem_taps": (3, 7),
        "stem_patch": 8,
        "stem_middle": max(1, round(64 * width)),
        "pool": False,
        "stem_channels": None,
    }
    return VideoResNet(num_classes, **_scaled((1, 1, 1, 1), width, depth, own | options))
