"""A stager with context over the night: pieces stand for themselves, and a stream says the same."""

from pathlib import Path

import jax
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import models
from sacd_jax.models.encoder import init_variables
from sacd_jax.runs import model_file
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.staging.night_context import NightContext
from sacd_jax.staging.page import night_page
from sacd_jax.staging.stager import Stager, load_stager
from sacd_jax.staging.statistics import night_statistics
from tests.models.test_context import output_of
from tests.staging.test_stager import every_second, store, write

DIM = 512


def context_model(look_ahead: int | None, **inputs) -> model_file.Model:
    options = {"hidden": 4, "look_ahead": look_ahead}
    network = models.create("context", 5, **options)
    clips = {"clip_embedding": np.zeros((1, DIM)), "clip_logits": np.zeros((1, 5))}
    variables = jax.tree.map(np.asarray, init_variables(network, jax.random.key(2), clips))
    return model_file.Model("context", 5, options, variables, 0.625, inputs)


def store_context(folder: Path, look_ahead: int | None) -> Path:
    """The folder of a run over nights whose two networks have random weights."""
    clips = model_file.load(store(folder / "clips alone"))
    run = RunFolder(folder)
    model_file.save(run.clip_network, clips)
    training = {"clip_network": model_file.identity(clips), "training": {"simulated": True}}
    model_file.save(run.model, context_model(look_ahead, **training))
    return folder


@pytest.fixture(scope="module")
def stagers(tmp_path_factory) -> dict[int | None, Stager]:
    folder = tmp_path_factory.mktemp("runs")
    return {ahead: load_stager(store_context(folder / f"{ahead}", ahead)) for ahead in (1, None)}


@pytest.mark.slow
@pytest.mark.parametrize("look_ahead", [0, 2, None])
def test_pieces_stand_for_themselves_and_what_nobody_saw_is_no_number(look_ahead) -> None:
    model = context_model(look_ahead)
    rng = np.random.default_rng(0)
    embedding = rng.normal(size=(130, DIM)).astype(np.float32)
    logits = rng.normal(size=(130, 5)).astype(np.float32)
    seen = np.ones(130, bool)
    seen[[0, 4, 5, 129]] = False
    embedding[~seen] = logits[~seen] = np.nan
    shapes = {"clip_embedding": embedding[:1], "clip_logits": logits[:1]}
    found = NightContext(model, shapes).probabilities(embedding, logits, seen)
    np.testing.assert_array_equal(np.isfinite(found).all(-1), seen)
    network = models.create("context", 5, **model.options)
    for piece in (slice(1, 4), slice(6, 129)):
        batch = {"clip_embedding": embedding[None, piece], "clip_logits": logits[None, piece]}
        alone = output_of(network, model.variables, batch)
        np.testing.assert_allclose(found[piece], jax.nn.softmax(alone.logits), atol=1e-5)


def test_a_night_is_staged_with_both_networks_and_says_how_late_a_stage_is_known(
    stagers, tmp_path
) -> None:
    video = write(tmp_path / "night.mkv", every_second(4.0))
    night = stagers[1].predict(video)
    assert len(night) == 4 and night.scored.all()
    assert night.model["network"] == "r2plus1d_small"
    assert night.model["validation accuracy"] == 0.625
    page = night_page(night, night_statistics(night), b"", "night")
    assert "and 1 after it: a stage is known 30 s after its epoch has ended" in page
    assert "simulated nights" in page
    late = stagers[None].predict(video).model["context over the night"]
    assert late.endswith("all after it: a stage is known when the piece has ended")


def test_a_stream_says_the_same_up_to_what_it_looks_ahead(stagers, tmp_path) -> None:
    whole = write(tmp_path / "whole.mkv", every_second(4.0))
    begun = write(tmp_path / "begun.mkv", every_second(4.0, 95.0))
    for ahead, same in ((1, 2), (None, 0)):
        first, later = (stagers[ahead].predict(video).probabilities for video in (begun, whole))
        apart = np.abs(first - later[:3]).max(-1)
        assert (apart[:same] < 1e-4).all() and (apart[same:] > 1e-4).all()


def test_nothing_reaches_across_a_hole(stagers, tmp_path) -> None:
    stamps = [stamp for stamp in every_second(4.0) if not 31 <= stamp < 58]
    night = stagers[None].predict(write(tmp_path / "night.mkv", stamps))
    assert night.reasons == ("", "missing frames", "", "")
    alone = stagers[None].predict(write(tmp_path / "first.mkv", every_second(4.0, 31.0)))
    assert len(alone) == 1 and np.isnan(night.probabilities[1]).all()
    np.testing.assert_allclose(night.probabilities[0], alone.probabilities[0], atol=1e-4)


def test_two_networks_that_do_not_belong_together_are_one_line(tmp_path) -> None:
    folder = RunFolder(store_context(tmp_path / "run", 0))
    assert load_stager(folder.model).context is not None  # the folder of the files serves as well
    other = store(tmp_path / "other", sampling={"moments": 16})
    model = model_file.load(other)
    leaves, form = jax.tree.flatten(model.variables)
    model.variables.update(jax.tree.unflatten(form, [leaf + 1 for leaf in leaves]))
    model_file.save(folder.clip_network, model)
    with pytest.raises(UserError, match="the network of clips is another one than that which"):
        load_stager(folder.path)
    (folder.clip_network / model_file.FILE_NAME).unlink()
    with pytest.raises(UserError, match=r"no model.safetensors in .*clips: expected a finished"):
        load_stager(folder.path)
