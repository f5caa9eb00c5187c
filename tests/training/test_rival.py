"""The rival as a run: it learns what the pictures show, and leaves what a network's run leaves."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.clips import ClipSettings
from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.errors import UserError
from sacd_jax.config import EncoderConfig, RunConfig
from sacd_jax.runs import log, predictions
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.training import loop, rival
from sacd_jax.training.evaluator import evaluate_run
from tests.input_pipeline import fake_nights

plain_clip = fake_nights.fake_clip
FORM = ClipSettings(frame_rate=1.2, height=8, width=10)
RUN = RunConfig("boost", EncoderConfig(rival.NAME))


def breathing_clip(night_id, clip_index, settings=FORM):
    """A fake clip whose breathing is the faster, the later its stage."""
    clip = dict(plain_clip(night_id, clip_index, settings))
    rng = np.random.default_rng([*night_id.encode(), clip_index, 1])
    clip["stage"] = -1 if clip_index % 7 == 6 else (clip_index // 2) % 5
    time = np.arange(settings.frames) / settings.frame_rate
    depth = np.sin(2 * np.pi * (0.14 + 0.06 * ((clip_index // 2) % 5)) * time)
    frames = 100 + 20 * depth[:, None, None] + rng.normal(0, 1, (settings.frames, 8, 10))
    clip["video"] = frames.round().astype(np.uint8)[..., None]
    return clip


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rival")
    manifest, _ = fake_nights.fake_manifest(folder, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fake_nights, "fake_clip", breathing_clip)
        patch.setattr(decode, "clips", fake_nights.fake_clips)
        settings = DatasetSettings("s3ve", manifest=manifest, clips=FORM)
        return prepare(settings, folder / "data", jobs=1)


@pytest.mark.parametrize("neighbours", [(), (3, 5)])
def test_a_run_finds_what_the_breathing_tells(dataset, tmp_path, neighbours) -> None:
    options = {"neighbours": neighbours} if neighbours else {}
    run = replace(RUN, student=EncoderConfig(rival.NAME, options))
    loop.train(run, tmp_path / "rival", dataset)
    folder = RunFolder(tmp_path / "rival")
    said = predictions.read("rival", folder.predictions("test"))
    scored = said.stage >= 0
    assert not scored.all()
    assert (said.predicted == said.stage)[scored].mean() > 0.7
    np.testing.assert_allclose(np.exp(said.logits).sum(axis=1), 1, rtol=1e-5)
    assert said.embedding.shape[1] == 49 * (1 + len(neighbours))
    assert [line["split"] for line in log.read(folder.path).lines] == ["validation"]


def test_evaluated_again_it_says_the_same(dataset, tmp_path) -> None:
    loop.train(RUN, tmp_path / "rival", dataset)
    file = RunFolder(tmp_path / "rival").predictions("test")
    before = predictions.read("rival", file)
    file.unlink()
    measured = evaluate_run(tmp_path / "rival", "test")
    after = predictions.read("rival", file)
    assert np.array_equal(before.logits, after.logits)
    scored = after.stage >= 0
    assert measured["accuracy"] == (after.predicted == after.stage)[scored].mean()


@pytest.mark.parametrize(
    ("student", "words"),
    [
        (EncoderConfig("sen"), "student.name is 'sen', expected 'breathing_and_movement'"),
        (EncoderConfig(rival.NAME, {"width": 3}), "student.options has 'width'"),
        (EncoderConfig(rival.NAME, {"neighbours": (4,)}), "expected odd numbers of clips"),
        (EncoderConfig(rival.NAME, {"neighbours": 5}), "expected odd numbers of clips"),
    ],
)
def test_a_student_that_is_none_is_one_line(dataset, tmp_path, student, words) -> None:
    with pytest.raises(UserError, match=words) as error:
        loop.train(replace(RUN, student=student), tmp_path / "rival", dataset)
    assert "\n" not in str(error.value)
