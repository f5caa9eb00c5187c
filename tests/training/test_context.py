"""Runs over nights from stored embeddings: joined to their clips, whole pieces, resumable."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS
from sacd_jax import models
from sacd_jax.config import EncoderConfig, RunConfig
from sacd_jax.runs import log, model_file, predictions, run_folder
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.training import loop
from sacd_jax.training.evaluator import evaluate_run
from tests.input_pipeline.fake_nights import SETTINGS, fake_clips, fake_manifest
from tests.models.test_context import output_of
from tests.training.test_loop import COMMON, EEG, stopped, variables

RUN = RunConfig(
    "classify",
    EncoderConfig("context", {"hidden": 4}),
    embeddings_of="eeg",
    **{**COMMON, "batch_size": 24, "passes": 1.0},
    batch_mode="sequences",
    consecutive_clips=6,
)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[Path, Path]:
    """A built data set, and a folder with a finished network that stored what it says."""
    folder = tmp_path_factory.mktemp("context")
    manifest, _ = fake_manifest(folder, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
        dataset = prepare(settings, folder / "data", jobs=1)
    runs = folder / "runs"
    loop.train(RunConfig("classify", EEG, **{**COMMON, "passes": 0.5}), runs / "eeg", dataset)
    with pytest.raises(UserError) as missing:
        loop.train(RUN, runs / "early", dataset)
    assert str(missing.value) == (
        "run 'eeg' has no stored embeddings of split train: "
        f"`python -m sacd_jax.evaluate --workdir {runs / 'eeg'} --split train` writes them"
    )
    for split in SPLITS:
        evaluate_run(runs / "eeg", split)
    return dataset, runs


@pytest.mark.slow
def test_it_goes_on_bit_for_bit_after_a_stop(experiment, monkeypatch) -> None:
    dataset, runs = experiment
    loop.train(RUN, runs / "whole", dataset)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "stop_request", lambda: stopped(3))
        loop.train(RUN, runs / "parted", dataset)
    assert log.read(runs / "parted").lines[-1]["step"] == 3
    loop.train(RUN, runs / "parted", dataset)
    one, other = variables(runs / "whole"), variables(runs / "parted")
    assert one.keys() == other.keys() and log.read(runs / "parted").lines[-1]["step"] > 3
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])


@pytest.mark.slow
@pytest.mark.parametrize("look_ahead", [None, 2])
def test_a_test_shows_each_unbroken_piece_whole_and_every_clip_once(experiment, look_ahead) -> None:
    dataset, runs = experiment
    name, options = f"ahead {look_ahead}", {"hidden": 4, "look_ahead": look_ahead}
    run = replace(RUN, student=EncoderConfig("context", options), passes=0.2)
    loop.train(run, runs / name, dataset)
    folder, source = RunFolder(runs / name), open_split(dataset, "test")
    said = predictions.read(name, folder.predictions("test"))
    np.testing.assert_array_equal(said.index, np.arange(len(source)))
    model = model_file.load(folder.path)
    network = models.create(model.encoder, 5, **model.options)
    clips = predictions.read("eeg", RunFolder(runs / "eeg").predictions("test"))
    pieces = source.table.runs()
    assert len(pieces) == 2 * len(np.unique(source.table.night_id))  # each night has a gap
    for piece in pieces:
        batch = {"clip_embedding": clips.embedding[None, piece]}
        batch["clip_logits"] = clips.logits[None, piece]
        alone = output_of(network, model.variables, batch)
        np.testing.assert_allclose(said.logits[piece], alone.logits, atol=1e-5)
    # The folder holds all that stages a night.
    kept = model_file.load(folder.clip_network)
    assert model_file.same(kept, model_file.load(runs / "eeg"))
    assert model.inputs["clip_network"] == model_file.identity(kept)
    measured = evaluate_run(folder.path, "test")
    scored = said.stage >= 0
    assert measured["accuracy"] == (said.predicted == said.stage)[scored].mean()


def changed(path: Path, **changes: np.ndarray) -> None:
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    arrays |= {name: value for name, value in changes.items() if value is not None}
    for name in [name for name, value in changes.items() if value is None]:
        del arrays[name]
    np.savez(path, allow_pickle=False, **arrays)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": np.array("0" * 64)}, "holds embeddings of other data than split validation"),
        ({"weights": np.array("f" * 64)}, "holds embeddings of other weights than split"),
        ({"data": None}, "is of a version that did not say of which data its embeddings are"),
        ({"clip_index": "later"}, "differs from split validation in clip_index"),
    ],
)
def test_embeddings_of_other_clips_or_weights_are_one_line(
    experiment, tmp_path, changes, words
) -> None:
    dataset, runs = experiment
    path = RunFolder(runs / "eeg").predictions("validation")
    whole = path.read_bytes()
    if "clip_index" in changes:
        later = predictions.read("eeg", path).clip_index
        later[-1] += 1
        changes = {"clip_index": later}
    changed(path, **changes)
    try:
        with pytest.raises(UserError) as error:
            loop.train(replace(RUN, embeddings_of=str(runs / "eeg")), tmp_path / "run", dataset)
    finally:
        path.write_bytes(whole)
    assert words in str(error.value) and "\n" not in str(error.value)
    assert f"--workdir {runs / 'eeg'} --split validation` writes them" in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"embeddings_of": "nobody"}, "no config.json in nobody: expected the folder of a run"),
        ({"embeddings_of": "boosted"}, "names 'boosted', which has no network"),
        ({"embeddings_of": "over"}, "names 'over', which sees embeddings itself"),
        ({"student": EEG}, "student mlp with embeddings_of 'eeg': expected the network context"),
        ({"embeddings_of": None}, "student context with embeddings_of None: expected the network"),
        ({"batch_mode": "shuffled"}, "student context sees a night in its order"),
    ],
)
def test_what_does_not_fit_is_one_line(experiment, tmp_path, changes, words) -> None:
    dataset, runs = experiment
    boosted = RunConfig("boost", EncoderConfig("breathing_and_movement"))
    for name, run in (("boosted", boosted), ("over", RUN)):
        run_folder.claim(runs / name, run, dataset)
    with pytest.raises(UserError) as error:
        loop.train(replace(RUN, **changes), runs / tmp_path.name, dataset)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_only_a_task_that_learns_from_labels_reads_embeddings() -> None:
    with pytest.raises(UserError, match="embeddings_of is set, but task is 'boost'"):
        RunConfig("boost", EncoderConfig("breathing_and_movement"), embeddings_of="eeg")
