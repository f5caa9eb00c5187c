"""A stager sees the pictures that are there, and scores nothing that it cannot see."""

import copy
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.clips import ClipSettings
from input_pipeline.errors import UserError
from input_pipeline.night import Night
from sacd_jax import models
from sacd_jax.runs import model_file, temperature
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.staging.stager import NO_NUMBERS, Stager, load_stager
from tests.input_pipeline import recordings

CLIPS = {"frame_rate": 1.0, "height": 24, "width": 32}
OPTIONS = {"stem_patch": 4, "width": 0.25}
SAMPLING = {"moments": 16, "lags_s": [0.0], "mode": "spread", "validation_windows": 3}
START = datetime(2024, 3, 5, 22, 57, 40)


def store(folder: Path, encoder: str = "r2plus1d_small", **changes) -> Path:
    """A model file of a network with random weights."""
    options = OPTIONS if encoder == "r2plus1d_small" else {}
    network = models.create(encoder, 5, **options)
    shape = {"video": (1, 16, 24, 32, 1), "eeg": (1, 3750)}[network.input_keys[0]]
    batch = {network.input_keys[0]: jnp.zeros(shape, jnp.uint8 if len(shape) > 2 else jnp.float32)}
    rngs = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    variables = jax.tree.map(np.asarray, partial(network.init, train=False)(rngs, batch))
    inputs = {
        "sampling": SAMPLING,
        "augment": {"crop": [20, 28]},
        "clips": CLIPS,
        "training": {"simulated": True},
    }
    model = model_file.Model(encoder, 5, options, variables, None, {**inputs, **changes})
    model_file.save(folder / "model", model)
    return folder


@pytest.fixture(scope="module")
def stager(tmp_path_factory) -> Stager:
    return load_stager(store(tmp_path_factory.mktemp("run")))


def every_second(rate: float, seconds: float = 125.0) -> list[float]:
    """A new picture at each second, repeated at the rate of the camera."""
    return recordings.steady(round(seconds * rate), rate)


def write(
    path: Path,
    stamps: list[float],
    begin_s: float = 0.0,
    period_s: int = 10**9,
    shown: list[float] | None = None,
    **options,
) -> Path:
    """A video whose pictures change on the second, so that cameras of any rate show the same; a
    part of a longer one begins at `begin_s`. The pictures come again every `period_s`, and are
    those of the moments `shown` where these are others."""
    plain = recordings.numbered
    seconds = iter([int(stamp + 1e-9) % period_s for stamp in shown or stamps])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recordings, "numbered", lambda number: plain(next(seconds)))
        return recordings.write_video(path, [stamp - begin_s for stamp in stamps], **options)


@pytest.fixture(scope="module")
def whole(stager: Stager, tmp_path_factory):
    path = write(tmp_path_factory.mktemp("whole") / "night.mkv", every_second(4.0))
    return stager.predict(path, start=START)


def test_every_epoch_has_probabilities(whole) -> None:
    assert len(whole) == 4 and whole.scored.all()
    np.testing.assert_allclose(whole.probabilities.sum(-1), 1, rtol=1e-5)
    assert len({row.tobytes() for row in whole.probabilities}) == 4  # it looks at the pictures
    assert whole.clock == "given" and whole.clock_time(2) == datetime(2024, 3, 5, 22, 58, 40)
    assert whole.model["simulated"] is True


def test_its_temperature_changes_no_stage(whole, tmp_path) -> None:
    folder = store(tmp_path / "run")
    logits, sure = np.zeros((40, 5), np.float32), 3.0
    logits[:, 0] = sure  # right in half of the clips: far too sure
    seen = (logits, np.arange(40) % 2, np.repeat("v", 40))
    temperature.store(RunFolder(folder), *seen, "another network's")
    with pytest.raises(UserError, match="fitted on another network"):
        load_stager(folder)
    own = model_file.identity(model_file.load(folder))
    fitted = temperature.store(RunFolder(folder), *seen, own)
    assert fitted.value > 1.5
    night = load_stager(folder).predict(write(tmp_path / "night.mkv", every_second(4.0)))
    assert (night.stage == whole.stage).all()
    expected = whole.probabilities ** (1 / fitted.value)
    expected /= expected.sum(-1, keepdims=True)
    np.testing.assert_allclose(night.probabilities, expected, atol=1e-4)
    assert "fitted on 40 validation clips of 1 subjects" in night.model["probabilities"]


@pytest.mark.parametrize("rate", [5, 15, 25, 30])
def test_cameras_of_any_rate_that_show_the_same_are_staged_the_same(
    stager, whole, tmp_path, rate
) -> None:
    night = stager.predict(write(tmp_path / "night.mkv", every_second(rate)))
    np.testing.assert_allclose(night.probabilities, whole.probabilities, atol=2e-3)


def test_a_night_in_three_files_is_the_same_night(stager, whole, tmp_path) -> None:
    stamps = every_second(4.0)
    for first, last in ((0, 40), (40, 90), (90, 125)):
        begin = START + timedelta(seconds=first)
        own = [stamp for stamp in stamps if first <= stamp < last]
        write(tmp_path / begin.strftime("cam_%Y%m%d_%H%M%S.mkv"), own, begin_s=first)
    night = stager.predict(tmp_path)
    assert night.start == START and night.clock == "file name"
    np.testing.assert_allclose(night.probabilities, whole.probabilities, atol=2e-3)


def test_a_row_of_a_manifest_says_when_files_begin_and_how_clocks_differ(
    stager, whole, tmp_path
) -> None:
    stamps = every_second(4.0)
    files = [tmp_path / "a.mkv", tmp_path / "b.mkv"]
    for path, first, last in zip(files, (0, 70), (70, 125), strict=True):
        own = [stamp for stamp in stamps if first <= stamp < last]
        write(path, own, begin_s=first)
    starts = (START, START + timedelta(seconds=70))
    night = Night("n1", "s1", tuple(files), tmp_path / "x.edf", video_start=starts)
    staged = stager.predict_night(replace(night, sync_offset_s=-2.5))
    assert staged.start == START - timedelta(seconds=2.5)
    np.testing.assert_allclose(staged.probabilities, whole.probabilities, atol=2e-3)
    # A camera whose file plays 4 % too fast.
    fast = write(tmp_path / "fast.mkv", [s / 1.04 for s in stamps], shown=stamps)
    wrong = replace(night, video=fast, video_start=START, sync_drift_ppm=40_000)
    staged = stager.predict_night(wrong)
    np.testing.assert_allclose(staged.probabilities, whole.probabilities, atol=2e-3)


def test_a_night_cut_in_the_middle_is_staged_up_to_the_cut(stager, whole, tmp_path) -> None:
    stamps = every_second(4.0)
    path = write(tmp_path / "night.mkv", stamps)
    content = path.read_bytes()
    path.write_bytes(content[: round(0.6 * len(content))])
    night = stager.predict(path)
    assert 1 <= len(night) < len(whole) and night.scored.all()
    np.testing.assert_allclose(night.probabilities, whole.probabilities[: len(night)], atol=2e-3)


def test_a_restart_behind_the_last_epoch_is_said(stager, tmp_path) -> None:
    """The epochs end before it, and with them the reading; hours may lie behind."""
    for name in ("1.ts", "2.ts"):
        write(tmp_path / name, every_second(4.0, 75.0))
    path = tmp_path / "night.ts"
    path.write_bytes((tmp_path / "1.ts").read_bytes() + (tmp_path / "2.ts").read_bytes())
    night = stager.predict(path, start=START)
    assert len(night) == 2 and night.scored.all()
    assert [note[:34] for note in night.notes] == ["its clock starts anew after 74.8 s"]


def test_a_hole_is_not_scored_and_moves_nothing(stager, whole, tmp_path) -> None:
    stamps = [stamp for stamp in every_second(4.0) if not 31 <= stamp < 58]
    night = stager.predict(write(tmp_path / "night.mkv", stamps))
    assert night.reasons == ("", "missing frames", "", "")
    assert np.isnan(night.probabilities[1]).all() and night.stage[1] == -1
    kept = [0, 2, 3]
    np.testing.assert_allclose(night.probabilities[kept], whole.probabilities[kept], atol=2e-3)
    assert night.start is None and night.clock == ""


@pytest.mark.slow
def test_ten_hours_in_three_files_with_a_hole_and_a_cut(stager, tmp_path) -> None:
    """Pictures that come again every two minutes get the same stages all night."""
    hours = [second for second in every_second(1.0, 36000.0) if not 18010 <= second < 18250]
    for first, last in ((0, 9000), (9000, 27030), (27030, 36000)):
        begin = START + timedelta(seconds=first)
        own = [second for second in hours if first <= second < last]
        name = begin.strftime("cam_%Y%m%d_%H%M%S.mkv")
        path = write(tmp_path / name, own, first, period_s=120, rate=1)
    content = path.read_bytes()
    path.write_bytes(content[: round(0.6 * len(content))])
    night = stager.predict(tmp_path)
    hole = np.arange(600, 608)  # of the first, 10 s are there; the next begins with its 10th second
    assert 1050 < len(night) < 1200
    scored = np.setdiff1d(np.arange(len(night)), [*hole, 608])
    assert night.scored[scored].all() and not night.scored[hole].any()
    expected = np.tile(night.probabilities[:4], (300, 1))[: len(night)]
    np.testing.assert_allclose(night.probabilities[scored], expected[scored], atol=2e-3)
    assert len({row.tobytes() for row in night.probabilities[:4].round(4)}) == 4


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "night bed 3: the video file is empty"),
        (b"no video" * 100, "night bed 3: "),
        (None, "night bed 3: video 1 of 1: no such file"),
    ],
)
def test_what_is_no_video_is_one_line_without_its_name(stager, tmp_path, content, words) -> None:
    path = tmp_path / "Erika Mustermann.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        stager.predict(path, name="bed 3")
    assert words in str(raised.value) and "Mustermann" not in str(raised.value)


def test_less_than_an_epoch_is_refused(stager, tmp_path) -> None:
    path = write(tmp_path / "short.mkv", every_second(4.0, 12.0))
    with pytest.raises(UserError, match="lasts 12 s; expected 30 s or more"):
        stager.predict(path)


@pytest.mark.slow
def test_networks_that_cannot_stage_a_video_are_refused(tmp_path) -> None:
    with pytest.raises(UserError, match="attnsleep reads eeg; expected one that reads video"):
        load_stager(store(tmp_path / "teacher", "attnsleep"))
    with pytest.raises(UserError, match="does not say how its pictures are made"):
        folder = store(tmp_path / "old")
        model = model_file.load(folder)
        del model.inputs["clips"]
        model_file.save(folder / "model", model)
        load_stager(folder)
    assert ClipSettings(**CLIPS).frames == 30


def test_scores_that_are_no_numbers_are_no_stage(stager: Stager, tmp_path) -> None:
    """The likeliest of five that are no numbers would be W, all night."""
    broken = copy.copy(stager)
    broken.variables = jax.tree.map(lambda weights: weights * np.float32(1e30), stager.variables)
    night = broken.predict(write(tmp_path / "night.mkv", every_second(2.0, 65.0)))
    assert night.reasons == (NO_NUMBERS,) * 2 and night.stage.tolist() == [-1, -1]
