"""UCF51 from toy videos to the table: classes of the data, windows in test, sound as teacher."""

import json
from dataclasses import replace

import numpy as np
import pytest

from configs import ucf51_distill
from input_pipeline.datasets import DatasetSettings, prepare
from input_pipeline.datasets.ucf51 import Ucf51Settings
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from sacd_jax import models, objectives, parallel
from sacd_jax.config import AugmentConfig, EncoderConfig, Experiment, ObjectiveConfig, build
from sacd_jax.report import experiment as reports
from sacd_jax.runs import log, model_file
from sacd_jax.tasks.augment import centred
from sacd_jax.training.evaluator import Evaluator, evaluate_run
from sacd_jax.training.loop import train
from tests.input_pipeline.fake_ucf51 import CLASSES, HEIGHT, WIDTH, write_archive, write_videos


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """The runs of the config at toy size, on toy videos: folder of the runs, data set."""
    folder = tmp_path_factory.mktemp("ucf51")
    write_archive(folder / "features.tar.gz")
    write_videos(folder / "videos")
    experiment = ucf51_distill.get_config("fitnet")
    settings = Ucf51Settings(folder / "features.tar.gz", folder / "videos", HEIGHT, WIDTH)
    small = {"batch_size": 6, "eval_batch_size": 5, "log_every_steps": 1, "passes": 3.0}
    mlp = EncoderConfig("mlp", {"input_key": "video", "width": 8})
    runs = {}
    for name, run in experiment.runs.items():
        run = replace(run, **small, evaluate_every_passes=1.0)
        if name != "teacher":
            augment = AugmentConfig((12, 14), 0.5, run.augment.scale, run.augment.ratio)
            run = replace(run, student=mlp, augment=augment)
        runs[name] = run
    experiment = Experiment(DatasetSettings("ucf51", ucf51=settings), runs)
    dataset = prepare(experiment.dataset, folder / "data", jobs=1)
    for name, run in experiment.runs.items():
        train(run, folder / "runs" / name, dataset)
    reports.describe(experiment, folder / "runs", dataset)
    return folder / "runs", dataset, experiment


def test_every_run_knows_the_classes_of_its_data(experiment):
    runs, dataset, _ = experiment
    for name in ("teacher", "baseline", "fitnet"):
        with np.load(runs / name / "predictions_test.npz") as file:
            assert file["logits"].shape == (len(open_split(dataset, "test")), len(CLASSES))
            np.testing.assert_array_equal(file["index"], np.arange(len(file["index"])))
        assert model_file.load(runs / name).num_classes == len(CLASSES)
        # Validation clips are the test clips: a temperature would be fitted on them.
        assert not (runs / name / "temperature.json").exists()
        validation = [line for line in log.read(runs / name).lines if line["split"] == "validation"]
        assert {f"recall_{name}" for name in CLASSES} <= set(validation[-1])
    assert any("hint" in line for line in log.read(runs / "fitnet").lines)


def test_a_prediction_is_the_mean_over_the_windows_of_a_video(experiment):
    runs, dataset, settings = experiment
    source, run = open_split(dataset, "test"), settings.runs["baseline"]
    stored = model_file.load(runs / "baseline")
    encoder = models.create(stored.encoder, stored.num_classes, **stored.options)
    row = int(np.argmax(source.table.frames))
    windows = run.sampling.windows(int(source.table.frames[row]), 25.0)
    assert len(windows) == 2
    video = np.empty((2, 16, HEIGHT, WIDTH, 3), np.uint8)
    for out, window in zip(video, windows, strict=True):
        source[row]["video"].take(window, out)
    batch = centred({"video": video}, run.augment)
    logits = np.asarray(encoder.apply(stored.variables, batch, train=False).logits, np.float64)
    each = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    with np.load(runs / "baseline" / "predictions_test.npz") as file:
        found = np.exp(file["logits"][row].astype(np.float64))
    np.testing.assert_allclose(found, each.mean(0), rtol=1e-3, atol=1e-5)

    mesh = parallel.make_mesh()
    evaluator = Evaluator(encoder, run, mesh)
    variables = parallel.replicate(stored.variables, mesh)
    once = list(evaluator.batches(variables, source, windows=1))
    rows = np.concatenate([part["index"] for part in once])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(source)))


def test_the_report_is_a_table_of_the_runs(experiment, capsys):
    runs, _, _ = experiment
    path = reports.report(runs)
    assert path.name == "table.md" and "official 1" in path.read_text()
    printed = capsys.readouterr().out
    assert all(f"| {name} |" in printed for name in ("teacher", "baseline", "fitnet"))
    results = json.loads((runs / "results.json").read_text())
    with np.load(runs / "fitnet" / "predictions_test.npz") as file:
        accuracy = (file["logits"].argmax(-1) == file["stage"]).mean()
    row = next(row for row in results["rows"] if row["name"] == "fitnet")
    assert row["accuracy"]["mean"] == pytest.approx(accuracy)
    assert results["reference"] == "baseline"


@pytest.mark.parametrize("method", ["audio", *objectives.available()])
def test_the_config_follows_the_protocol(method):
    experiment = ucf51_distill.get_config(method)
    assert experiment.dataset.ucf51.videos is None
    names = ["teacher"] if method == "audio" else ["teacher", "baseline", method]
    assert list(experiment.runs) == names
    if method == "audio":
        return
    baseline, ours = experiment.runs["baseline"], experiment.runs[method]
    assert replace(ours, task="classify", teacher=None, objective=None) == baseline
    assert ours.objective == ObjectiveConfig(method)
    assert (baseline.batch_size, baseline.passes, baseline.sampling.frames) == (16, 300.0, 16)
    optimizer = baseline.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.momentum) == ("sgd", 1e-3, 0.9)
    assert (optimizer.weight_decay, optimizer.milestones) == (5e-4, (0.5, 0.75))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"name": "ucf51"}, "settings ucf51 belong to dataset ucf51"),
        (
            {"name": "s3ve", "manifest": "a", "ucf51": {"embeddings": "b"}},
            "belong to dataset ucf51",
        ),
        ({"name": "ucf51", "manifest": "a", "ucf51": {"embeddings": "b"}}, "expected no manifest"),
        ({"name": "ucf51", "ucf51": {"embeddings": "b", "quality": 0}}, "ucf51.quality 0"),
        ({"name": "ucf51", "ucf51": {"embeddings": "b", "height": 0}}, "frames of 0x320"),
    ],
)
def test_wrong_data_settings_are_one_line(settings, words):
    with pytest.raises(UserError, match=words):
        build(DatasetSettings, settings)


@pytest.mark.parametrize(
    ("passes", "least", "most"),
    [(2.0, 0.2, 0.35), pytest.param(50.0, 0.46, 0.49, marks=pytest.mark.slow)],
)
def test_the_linear_probe_hears_the_actions(shared_data, tmp_path, passes, least, most):
    """The audio baseline on the published vectors; one class in 51 would be 2 %."""
    archive = shared_data / "ucf51-cnn14-embeddings" / "audiocnn14embed512_features.tar.gz"
    settings = DatasetSettings("ucf51", ucf51=Ucf51Settings(archive))
    run = replace(ucf51_distill.TEACHER, passes=passes)
    train(run, tmp_path / "teacher", prepare(settings, tmp_path / "data"))
    assert least < evaluate_run(tmp_path / "teacher", "test")["accuracy"] < most
