"""Names of the public EEG and audio networks' tensors and where each stands in our trees.

As in `names`: state-dict key to path, in the order in which PyTorch registers the tensors.
"""

from collections.abc import Iterator

Path = tuple[str, ...]
Names = Iterator[tuple[str, Path]]


def attnsleep_names(bottleneck: bool = False) -> dict[str, Path]:
    """emadeldeen24/AttnSleep, model/model.py, at any sampling rate: key -> path.

    Args:
        bottleneck: whether a linear layer `fc1` precedes the classifier, as in the code of SACD's
            authors at 128 Hz (SPIresearch/IoT-V2E, model/model_xiao.py). The original has none and
            fits `attnsleep` with `bottleneck=None`.
    """
    return {key: path for key, path in _attnsleep(bottleneck) if path}


def attnsleep_unused() -> list[str]:
    """Keys of parameters that the original creates but never uses; none has a counterpart here."""
    return [key for key, path in _attnsleep(False) if not path]


def cnn14_names() -> dict[str, Path]:
    """qiuqiangkong/audioset_tagging_cnn, pytorch/models.py, Cnn14_emb512: key -> path.

    The front end's fixed matrices (`spectrogram_extractor.*`, `logmel_extractor.*`) are computed
    here and have no counterpart.
    """
    return dict(_cnn14())


def _layer(key: str, *path: str, bias: bool = False) -> Names:
    yield f"{key}.weight", ("params", *path, "kernel")
    if bias:
        yield f"{key}.bias", ("params", *path, "bias")


def _batch_norm(key: str, *path: str) -> Names:
    yield f"{key}.weight", ("params", *path, "scale")
    yield f"{key}.bias", ("params", *path, "bias")
    yield f"{key}.running_mean", ("batch_stats", *path, "mean")
    yield f"{key}.running_var", ("batch_stats", *path, "var")


def _layer_norm(key: str, *path: str) -> Names:
    yield f"{key}.a_2", ("params", *path, "scale")
    yield f"{key}.b_2", ("params", *path, "bias")


def _attnsleep(bottleneck: bool) -> Names:
    """Key and path; the path is empty for parameters that are never used."""
    for branch in ("features1", "features2"):
        for number, position in enumerate((0, 5, 8), start=1):
            key = f"mrcnn.{branch}"
            yield from _layer(f"{key}.{position}", branch, f"conv{number}")
            yield from _batch_norm(f"{key}.{position + 1}", branch, f"bn{number}")
    key = "mrcnn.AFR.0"
    for number in (1, 2):
        yield from _layer(f"{key}.conv{number}", "afr", f"conv{number}", bias=True)
        yield from _batch_norm(f"{key}.bn{number}", "afr", f"bn{number}")
    yield from _layer(f"{key}.se.fc.0", "afr", "se_reduce")
    yield from _layer(f"{key}.se.fc.2", "afr", "se_expand")
    yield from _layer(f"{key}.downsample.0", "afr", "downsample")
    yield from _batch_norm(f"{key}.downsample.1", "afr", "downsample_bn")
    for number in (0, 1):
        key, layer = f"tce.layers.{number}", f"tce{number + 1}"
        yield f"{key}.self_attn.convs.0.weight", ()
        yield f"{key}.self_attn.convs.0.bias", ()
        yield from _layer(f"{key}.self_attn.convs.1", layer, "key", bias=True)
        yield from _layer(f"{key}.self_attn.convs.2", layer, "value", bias=True)
        yield from _layer(f"{key}.self_attn.linear", layer, "attention_out", bias=True)
        for part in (1, 2):
            name = f"feed_forward{part}"
            yield from _layer(f"{key}.feed_forward.w_{part}", layer, name, bias=True)
        yield f"{key}.sublayer_output.0.norm.a_2", ()
        yield f"{key}.sublayer_output.0.norm.b_2", ()
        yield from _layer_norm(f"{key}.sublayer_output.1.norm", layer, "norm")
        yield from _layer(f"{key}.conv", layer, "query", bias=True)
    yield from _layer_norm("tce.norm", "tce_norm")
    if bottleneck:
        yield from _layer("fc1", "bottleneck", bias=True)
    yield from _layer("fc", "classifier", bias=True)


def _cnn14() -> Names:
    yield from _batch_norm("bn0", "bn0")
    for block in range(1, 7):
        key = f"conv_block{block}"
        for part in ("conv1", "conv2"):
            yield from _layer(f"{key}.{part}", key, part)
        for part in ("bn1", "bn2"):
            yield from _batch_norm(f"{key}.{part}", key, part)
    yield from _layer("fc1", "fc1", bias=True)
    yield from _layer("fc_audioset", "classifier", bias=True)
