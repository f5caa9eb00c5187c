"""What the project writes itself, and the files of others that it takes beside recordings: the
S3VE release, and weights."""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image
from safetensors.numpy import load_file

from input_pipeline.clips import ClipSettings
from input_pipeline.datasets import data_card
from input_pipeline.datasets.dataset_files import read_info
from input_pipeline.datasets.s3ve_release import ReleaseClips, ReleaseSettings, release_nights
from input_pipeline.night import Night
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS, SplitSettings, make_splits, read_splits, write_splits
from input_pipeline.stages import STAGES
from input_pipeline.teacher_cache import read_cache, write_cache
from sacd_jax import models, parallel
from sacd_jax.config import EncoderConfig, RunConfig
from sacd_jax.pretrained.state_dict import open_state_dict
from sacd_jax.report.experiment import read_description
from sacd_jax.report.runs import series
from sacd_jax.runs import log, model_file, predictions, run_folder, temperature
from sacd_jax.runs.run_folder import ExperimentFolder, RunFolder
from sacd_jax.staging.stager import load_stager
from sacd_jax.training.checkpoints import Checkpoints
from tests.input_pipeline.fake_nights import fake_dataset
from tests.pretrained import torch_files
from tests.torture.fuzz import Target
from tests.torture.planted import WORDS
from tests.torture.recorded import write_all

Reading = tuple[Sequence[str], Any]

_SIZE = ClipSettings(frame_rate=0.4, height=4, width=6, eeg_rate=128.0)
_NIGHT, _WHOLE = "20210413", "20210416"
_PATIENT = " ".join(WORDS)


def changed(whole: Any, found: Any) -> str:
    """A file that its digest did not tell from the whole one must say the same; None: nothing."""
    return "" if None in (whole, found) or whole == found else "changed without notice"


def _bytes(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays as what can be compared, NaN with NaN."""
    flat = {name: np.asarray(value) for name, value in arrays.items()}
    return {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in flat.items()}


def _npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def _make_release(folder: Path, lists: bool) -> Sequence[Path]:
    """Two nights of five clips, one with a file a clip and one in a single file."""
    rng = np.random.default_rng(0)
    made: list[Path] = []
    names = {
        night: [f"{night}_{k}_{label}" for k, label in enumerate(STAGES)]
        for night in (_NIGHT, _WHOLE)
    }
    names = {night: [name.replace("REM", "R") for name in each] for night, each in names.items()}
    for name in names[_NIGHT]:
        eeg = rng.normal(0, 3e-5, 3840).astype(np.float32)
        made += write_all(folder, {f"EEG_{name}.npy": _npy(eeg)})
    x = rng.normal(0, 3e-5, (5, 3, 3840)).astype(np.float32)
    np.savez(folder / f"{_WHOLE}_{WORDS[1]}.npz", x=x, y=np.arange(5), fs=128)
    made.append(folder / f"{_WHOLE}_{WORDS[1]}.npz")
    every = [name for each in names.values() for name in each]
    for name in every:
        images = folder / name.rpartition("_")[2] / name
        images.mkdir(parents=True)
        Image.new("L", (12, 8), 99).save(images / "image_00001.jpg")
        made.append(images / "image_00001.jpg")
    labels = ["W", "N1", "N2", "N3", "R"]
    if lists:
        lines = "".join(f"{name.rpartition('_')[2]}/{name}.avi\n" for name in every)
        classes = "".join(f"{k} {label}\n" for k, label in enumerate(labels, 1))
        texts = {"classInd.txt": classes, "trainlist01.txt": lines, "testlist01.txt": ""}
    else:
        database = {
            name: {"annotations": {"label": name.rpartition("_")[2], "segment": [1, 2]}}
            for name in every
        }
        texts = {f"{WORDS[0]}.json": json.dumps({"labels": labels, "database": database})}
    return [*made, *write_all(folder, {name: text.encode() for name, text in texts.items()})]


def _read_release(path: Path) -> Reading:
    folder = next(each for each in path.parents if each.name == "files")
    said: list[str] = []
    for night in release_nights(ReleaseSettings(folder)):
        read = ReleaseClips(night, _SIZE)
        said += [str(clip["stage"]) for clip in read] + read.notes + list(read.counts)
    return said, None


def _make_splits(folder: Path) -> Sequence[Path]:
    nights = [Night(f"n{k}", f"s{k}", None, folder / "x", ahi=k % 40.0) for k in range(20)]
    write_splits(folder / "written.json", make_splits(nights, SplitSettings()))
    by_hand = json.loads((folder / "written.json").read_text())
    del by_hand["digest"]
    return [folder / "written.json", *write_all(folder, {"own.json": json.dumps(by_hand).encode()})]


def _read_splits(path: Path) -> Reading:
    said = read_splits(path)
    return said.notes, repr(said) if b'"digest"' in path.read_bytes() else None


_RUN = RunConfig("classify", EncoderConfig("mlp"))


def _make_run(folder: Path) -> Sequence[Path]:
    made = run_folder.claim(folder, _RUN, folder / "data")
    lines = [
        {"step": step, "split": split, "loss": 1.0 / step, "accuracy": step / 99}
        for step in range(1, 60)
        for split in ("train", "validation")
    ]
    made.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "experiment").mkdir()
    description = ExperimentFolder(folder / "experiment").description
    description.write_text(json.dumps({"dataset": "../data", "nights": None, "runs": [WORDS[0]]}))
    logits = np.random.default_rng(0).normal(size=(40, 5))
    temperature.store(made, logits, np.arange(40) % 5, np.repeat(WORDS[0], 40))
    return [made.config, made.versions, made.metrics, made.temperature, description]


def _read_run(path: Path) -> Reading:
    if path.name == "experiment.json":
        return [], len(read_description(ExperimentFolder(path.parent))["runs"]) and None
    run, dataset = run_folder.read_run(path.parent)
    fitted = temperature.read(RunFolder(path.parent), "")
    run_folder.read_stored(path.parent / "versions.json")
    stored = log.read(path.parent)
    points = [series(stored.latest(), split, "accuracy") for split in ("train", "validation")]
    assert all(np.isfinite(values).all() for each in points for values in each)
    digests = path.suffix == ".json" and b'"digest"' in path.read_bytes()
    return [], repr((run, dataset, fitted)) if digests else None


def _make_predictions(folder: Path) -> Sequence[Path]:
    rng, clips = np.random.default_rng(0), 40
    np.savez(
        folder / "predictions_test.npz",
        logits=rng.normal(size=(clips, 5)).astype(np.float32),
        embedding=rng.normal(size=(clips, 4)).astype(np.float32),
        index=np.arange(clips, dtype=np.int32),
        stage=np.arange(clips, dtype=np.int32) % 5,
        night_id=np.repeat(["n1", "n2"], clips // 2),
        subject_id=np.repeat(["s1", "s2"], clips // 2),
        clip_index=np.arange(clips, dtype=np.int32),
        ahi=np.full(clips, np.nan, np.float32),
    )
    return [folder / "predictions_test.npz"]


def _read_predictions(path: Path) -> Reading:
    return [], _bytes(vars(predictions.read("run", path)))


def _make_cache(folder: Path) -> Sequence[Path]:
    logits = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
    with write_cache(folder / "cache", rows=30, data="d" * 32, weights="w" * 32) as writer:
        writer.write(np.arange(30), {"logits": logits})
    return [folder / "cache" / "cache.json", folder / "cache" / "logits.npy"]


def _read_cache(path: Path) -> Reading:
    return [], _bytes(read_cache(path.parent, data="d" * 32, weights="w" * 32))


_INPUTS = {
    "sampling": {"moments": 16, "lags_s": [0.0], "mode": "spread", "validation_windows": 3},
    "augment": {"crop": [20, 28]},
    "clips": {"frame_rate": 1.0, "height": 24, "width": 32},
    "training": {"simulated": True},
}
_VIDEO_MLP = {"input_key": "video", "width": 4, "embedding_dim": 4}


def make_models(folder: Path) -> Sequence[Path]:
    """A model file that stages nights, and its header in the form of an earlier version."""
    network = models.create("mlp", 5, **_VIDEO_MLP)
    batch = {"video": jnp.zeros((1, 16, 20, 28, 1), jnp.uint8)}
    drawn = network.init(jax.random.key(0), batch, train=False)
    variables = jax.tree.map(np.asarray, drawn)
    model = model_file.Model("mlp", 5, _VIDEO_MLP, variables, 0.5, _INPUTS)
    path = model_file.save(folder, model)
    # As a version without digests wrote it: all that stands in its header may be damaged.
    facts = {"encoder": "mlp", "num_classes": 5, "options": _VIDEO_MLP, "inputs": _INPUTS}
    return [path, *write_all(folder, {"facts.json": json.dumps(facts).encode()})]


def _read_model(path: Path) -> Reading:
    if path.name == "facts.json":
        text = path.read_bytes().decode("latin-1")
        weights = load_file(path.parent / model_file.FILE_NAME)
        content = model_file.serialize(weights, metadata={"sacd_jax": text})
        (path.parent / "old").mkdir(exist_ok=True)
        (path.parent / "old" / model_file.FILE_NAME).write_bytes(content)
        return [str(load_stager(path.parent / "old").clips)], None
    model = model_file.load(path.parent)
    load_stager(path.parent)
    flat = model_file.flatten_dict(model.variables, sep="/")
    return [], repr((model.encoder, model.options, model.accuracy, model.inputs, _bytes(flat)))


def _make_dataset(folder: Path) -> Sequence[Path]:
    (folder / "nights").mkdir()
    built = fake_dataset(folder / "nights", 12)
    kept = folder / "dataset"
    shutil.copytree(built, kept)
    shutil.rmtree(folder / "nights")
    return sorted(path for path in kept.iterdir() if path.is_file())


def _read_dataset(path: Path) -> Reading:
    folder = path.parent
    info = read_info(folder)
    data_card.read_card(folder, info)
    read_splits(folder / "splits.json")
    content: list[Any] = [repr(info)]
    for split in SPLITS:
        source = open_split(folder, split)
        content.append(_bytes({k: v for k, v in vars(source.table).items() if v is not None}))
        content += [_bytes(source[row]) for row in range(0, len(source), 7)]
    return [], content


def _state(value: float) -> Any:
    tree = {"step": jnp.int32(3), "w": np.full((4, 3), value, np.float32)}
    return parallel.replicate(tree, parallel.make_mesh())


def _make_checkpoints(folder: Path) -> Sequence[Path]:
    writer = Checkpoints(folder / "checkpoints", {"data": "a"})
    for step in (1, 2):
        writer.save(_state(step), step)
    writer.wait()
    writer.close()
    newest = folder / "checkpoints" / "2"
    return sorted(path for path in newest.rglob("*") if path.is_file())


def _read_checkpoints(path: Path) -> Reading:
    folder = next(each for each in path.parents if each.name == "checkpoints")
    checkpoints = Checkpoints(folder, {"data": "a"})
    try:
        restored = checkpoints.restore(_state(0))
    finally:
        checkpoints.close()
    if restored is None:
        return [], "none of two"
    state, step = restored
    whole = bool((np.asarray(state["w"]) == step).all() and state["step"] == 3)
    return [], "whole" if whole and step in (1, 2) else "neither"


def _make_weights(folder: Path) -> Sequence[Path]:
    rng = np.random.default_rng(0)
    shapes = {"conv1.weight": (4, 1, 3, 3), "bn1.weight": (4,), "fc.weight": (5, 4)}
    arrays = {key: rng.normal(size=shape).astype(np.float32) for key, shape in shapes.items()}
    content = {"epoch": 3, "state_dict": torch_files.state_dict(arrays)}
    (folder / "w.safetensors").write_bytes(model_file.serialize(arrays))
    return [torch_files.save(content, folder / "w.pth"), folder / "w.safetensors"]


def _read_weights(path: Path) -> Reading:
    with open_state_dict(path) as state:
        for entry in state.entries.values():
            entry.read()
    return [], None  # names of tensors are shown; no recording is in such a file


STATE = (
    Target("release", partial(_make_release, lists=False), _read_release, share=2),
    Target("lists", partial(_make_release, lists=True), _read_release),
    Target("splits", _make_splits, _read_splits, share=2, wrong=changed),
    Target("run", _make_run, _read_run, share=2, wrong=changed),
    Target("predictions", _make_predictions, _read_predictions, share=2, wrong=changed),
    Target("cache", _make_cache, _read_cache, share=2, wrong=changed),
    Target("model", make_models, _read_model, share=2, wrong=changed),
    Target("dataset", _make_dataset, _read_dataset, share=2, wrong=changed),
    Target("checkpoints", _make_checkpoints, _read_checkpoints, wrong=changed),
    Target("weights", _make_weights, _read_weights, share=2),
)
