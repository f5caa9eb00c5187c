"""Name maps of the EEG and audio networks, in the order of the public state dicts."""

from sacd_jax.pretrained.names import Entry, batch_norm, kernel


def attnsleep(sample_rate: int = 125) -> list[Entry]:
    """emadeldeen24/AttnSleep, model/model.py; its classifier sits on the features directly.

    Entries without a path are parameters that the original creates and never uses.
    """
    dim = sample_rate * 4 // 5
    names = []
    for branch in ("features1", "features2"):
        for number, position in enumerate((0, 5, 8), start=1):
            key = f"mrcnn.{branch}"
            names += kernel(f"{key}.{position}", branch, f"conv{number}")
            names += batch_norm(f"{key}.{position + 1}", branch, f"bn{number}")
    key = "mrcnn.AFR.0"
    for number in (1, 2):
        names += kernel(f"{key}.conv{number}", "afr", f"conv{number}", bias=True)
        names += batch_norm(f"{key}.bn{number}", "afr", f"bn{number}")
    names += kernel(f"{key}.se.fc.0", "afr", "se_reduce")
    names += kernel(f"{key}.se.fc.2", "afr", "se_expand")
    names += kernel(f"{key}.downsample.0", "afr", "downsample")
    names += batch_norm(f"{key}.downsample.1", "afr", "downsample_bn")
    for number in (0, 1):
        key, layer = f"tce.layers.{number}", f"tce{number + 1}"
        names.append(Entry(f"{key}.self_attn.convs.0.weight", shape=(30, 30, 7)))
        names.append(Entry(f"{key}.self_attn.convs.0.bias", shape=(30,)))
        names += kernel(f"{key}.self_attn.convs.1", layer, "key", bias=True)
        names += kernel(f"{key}.self_attn.convs.2", layer, "value", bias=True)
        names += kernel(f"{key}.self_attn.linear", layer, "attention_out", bias=True)
        for part in (1, 2):
            names += kernel(f"{key}.feed_forward.w_{part}", layer, f"feed_forward{part}", bias=True)
        names.append(Entry(f"{key}.sublayer_output.0.norm.a_2", shape=(dim,)))
        names.append(Entry(f"{key}.sublayer_output.0.norm.b_2", shape=(dim,)))
        names += _layer_norm(f"{key}.sublayer_output.1.norm", layer, "norm")
        names += kernel(f"{key}.conv", layer, "query", bias=True)
    names += _layer_norm("tce.norm", "tce_norm")
    return names + kernel("fc", "classifier", bias=True)


def _layer_norm(key: str, *path: str) -> list[Entry]:
    return [
        Entry(f"{key}.a_2", ("params", *path, "scale")),
        Entry(f"{key}.b_2", ("params", *path, "bias")),
    ]


def cnn14() -> list[Entry]:
    """qiuqiangkong/audioset_tagging_cnn, pytorch/models.py: Cnn14_emb512, front end aside.

    The front end's fixed matrices (`spectrogram_extractor.*`, `logmel_extractor.*`) are computed.
    """
    names = batch_norm("bn0", "bn0")
    for block in range(1, 7):
        key = f"conv_block{block}"
        names += [*kernel(f"{key}.conv1", key, "conv1"), *kernel(f"{key}.conv2", key, "conv2")]
        names += [*batch_norm(f"{key}.bn1", key, "bn1"), *batch_norm(f"{key}.bn2", key, "bn2")]
    return names + kernel("fc1", "fc1", bias=True) + kernel("fc_audioset", "classifier", bias=True)
