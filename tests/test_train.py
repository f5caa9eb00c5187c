"""The training command: the demo at toy size from nothing to the report, and what breaks it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import evaluate
from sacd_jax.calibration import fit_temperature
from sacd_jax.report.experiment import report
from sacd_jax.runs import goodput, log, model_file, predictions, temperature
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.staging.stager import load_stager
from sacd_jax.training.evaluator import evaluate_run
from sacd_jax.training.meters import CLOCK
from tests.miniature import TOY, train


def weights(run: Path) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return load_file(run / "model" / "model.safetensors")


def same_run(one: Path, two: Path) -> None:
    """Bit for bit the same weights, losses and predictions."""
    first, second = weights(one), weights(two)
    assert first.keys() == second.keys()
    for name in first:
        assert np.array_equal(first[name], second[name]), name
    with np.load(one / "predictions_test.npz") as a, np.load(two / "predictions_test.npz") as b:
        assert np.array_equal(a["logits"], b["logits"])
    lines = [
        [{k: v for k, v in line.items() if k not in CLOCK} for line in log.read(run).lines]
        for run in (one, two)
    ]
    validation = [[line for line in run if line["split"] == "validation"] for run in lines]
    assert validation[0] == validation[1]


def test_the_rival_stands_beside_the_networks(demo):
    workdir = demo[0]
    results = json.loads((workdir / "results.json").read_text())
    pairs = [(each["run"], each["reference"]) for each in results["differences"]]
    assert pairs == [("sacd", "baseline"), ("sacd", "rival"), ("sacd", "rival_neighbours")]
    page = (workdir / "report.html").read_text()
    for name in ("rival", "rival_neighbours"):
        assert not (workdir / name / "model").exists()
        assert f"Is sacd better than {name}?" in page and name in (workdir / "table.md").read_text()
    assert "no network: gradient boosting" in page and "means over 15 clips" in page


@pytest.mark.slow
def test_context_over_the_night_joins_a_finished_demo(root, demo, tmp_path):
    workdir = tmp_path / "demo"
    shutil.copytree(demo[0], workdir)
    config, new = ("--config", "configs/context.py:miniature"), ("sacd_context", "sacd_causal")
    chosen = (*config, "--runs", ",".join(new))
    early = train(root, workdir, *chosen, check=False)
    assert early.returncode == 1 and early.stderr.strip().endswith("--split train` writes them")
    evaluate_run(workdir / "sacd", "train")
    train(root, workdir, *chosen)
    results = json.loads((workdir / "results.json").read_text())
    pairs = [(each["run"], each["reference"]) for each in results["differences"]]
    sacd = [("sacd", name) for name in ("baseline", "rival", "rival_neighbours")]
    assert pairs == [*sacd, *((name, "sacd") for name in new)]
    page = (workdir / "report.html").read_text()
    assert "a small network that sees the whole unbroken piece of the night" in page
    assert "a small network that sees what came before, 0 s late" in page
    stager = load_stager(workdir / "sacd_causal")
    assert "0 s after its epoch has ended" in stager.facts["context over the night"]


def test_demo_goes_from_nothing_to_a_report(demo):
    workdir, printed = demo
    for name in ("teacher", "baseline", "sacd"):
        run = workdir / name
        for file in ("config.json", "versions.json", "metrics.jsonl", "predictions_test.npz"):
            assert (run / file).is_file(), (name, file)
        lines = log.read(run).lines
        trained = [line for line in lines if line["split"] == "train"]
        assert trained and all(line["clips_per_second"] > 0 for line in trained)
        assert all(0 <= line["data_wait"] <= 1 for line in trained)
        assert any(line["split"] == "validation" for line in lines)
        assert all(0 < line["goodput"] < 1 and line["host_peak_gb"] > 0 for line in trained)
    assert {"graph", "contrast", "jsd", "graph_distance_positive"} <= set(
        next(line for line in log.read(workdir / "sacd").lines if line["split"] == "train")
    )
    results = json.loads((workdir / "results.json").read_text())
    assert results["simulated"] is True
    rows = ("hidden signals", "hidden signals at frame times", "teacher", "baseline", "sacd")
    assert set(rows) <= set(results["rows"])
    assert "Simulated nights" in printed and "report.html" in printed
    page = (workdir / "report.html").read_text()
    assert "simulated" in page.lower() and "http" not in page.replace("http://www.w3.org", "")


def test_a_second_call_keeps_everything(demo, root):
    workdir, _ = demo
    before = {path: path.stat().st_mtime_ns for path in workdir.rglob("predictions_test.npz")}
    result = train(root, workdir)
    assert result.stderr.count("finished earlier") == 5
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_report_is_made_of_the_runs_that_are_there(demo, tmp_path, capsys):
    workdir = tmp_path / "demo"
    shutil.copytree(demo[0], workdir)
    shutil.rmtree(workdir / "teacher")
    (workdir / "baseline" / "temperature.json").unlink()  # as of an earlier version
    evaluate.main(["--workdir", str(workdir)])
    page = workdir / "report.html"
    printed = capsys.readouterr().out
    assert "not finished here, so not in the report: teacher" in printed
    assert set(json.loads((workdir / "results.json").read_text())["rows"]) >= {"baseline", "sacd"}
    assert page.exists() and "sacd − baseline" in printed
    calibration = json.loads((workdir / "results.json").read_text())["calibration"]
    for name in ("baseline", "sacd"):
        folder = RunFolder(workdir / name)
        seen, tested = (
            predictions.read(name, folder.predictions(split)) for split in ("validation", "test")
        )
        weights = model_file.identity(model_file.load(folder.path))
        fitted = temperature.read(folder, weights)
        assert fitted == temperature.read(RunFolder(demo[0] / name), weights) and fitted is not None
        assert fitted.value == fit_temperature(seen.logits, seen.stage)
        assert calibration[name]["temperature"]["value"] == fitted.value
        assert not set(seen.subject_id) & set(tested.subject_id)
        assert load_stager(folder.path).temperature == fitted.value
        shutil.rmtree(workdir / name)
    for name in ("rival", "rival_neighbours"):
        shutil.rmtree(workdir / name)
    with pytest.raises(UserError, match="no run in .* is finished"):
        report(workdir)


def test_an_interrupted_run_goes_on_and_equals_the_uninterrupted_one(demo, root, tmp_path):
    reference, _ = demo
    workdir = tmp_path / "demo"
    shutil.copytree(reference / "data", workdir / "data")
    shutil.copytree(reference / "teacher", workdir / "teacher")
    command = [sys.executable, "-m", "sacd_jax.train", *TOY, "--workdir", str(workdir)]
    environment = {**os.environ, "PYTHONPATH": str(root)}  # with JAX_PLATFORMS
    process = subprocess.Popen(
        [*command, "--runs=sacd"], cwd=root, env=environment, stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 1500
    while not log.read(workdir / "sacd").lines and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 130, errors
    assert errors.rstrip().splitlines()[-1].startswith("error: interrupted")
    assert "Traceback" not in errors
    assert not (workdir / "sacd" / "predictions_test.npz").exists()

    train(root, workdir, "--runs=sacd")
    same_run(reference / "sacd", workdir / "sacd")
    spent = goodput.spent(goodput.read(workdir / "sacd"))
    assert spent.starts == 2 and spent.seconds["restart"] > 0 == spent.seconds["lost"]
    assert 0 < spent.share("train") < 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--runs=student"], "error: --runs names 'student', expected some of"),
        (["--config.runs.sacd.objective.name=scad"], "error: objective 'scad' is not known"),
        (["--config.runs.baseline.batch_size=0"], "batch_size is 0, expected at least 1"),
        *(
            pytest.param([f"--config.runs.{setting}"], words, marks=pytest.mark.slow)
            for setting, words in (
                ("sacd.batch_size=24", "expected a multiple of 16"),
                ("baseline.sampling.moments=99", "moments 99"),
            )
        ),
    ],
)
def test_wrong_settings_end_in_one_line(demo, root, tmp_path, arguments, words):
    reference, _ = demo
    workdir = tmp_path / "demo"
    workdir.mkdir()
    (workdir / "data").symlink_to(reference / "data")
    shutil.copytree(reference / "teacher", workdir / "teacher")
    result = train(root, workdir, *arguments, check=False)
    assert result.returncode == 1
    lines = [line for line in result.stderr.splitlines() if line.startswith("error:")]
    assert len(lines) == 1 and words in lines[0], result.stderr
    assert "Traceback" not in result.stderr


def test_another_setting_in_the_same_folder_is_refused(demo, root):
    workdir, _ = demo
    result = train(root, workdir, "--config.runs.sacd.seed=1", check=False)
    assert result.returncode == 1
    assert "holds a run with run.seed = 0, now it is 1" in result.stderr


def test_a_loss_gone_wrong_stops_with_step_and_term(demo, root, tmp_path):
    reference, _ = demo
    workdir = tmp_path / "demo"
    workdir.mkdir()
    (workdir / "data").symlink_to(reference / "data")
    result = train(
        root,
        workdir,
        "--runs=baseline",
        "--config.runs.baseline.passes=4.0",
        "--config.runs.baseline.optimizer.learning_rate=1e30",
        "--config.runs.baseline.optimizer.clip_norm=0.0",
        check=False,
    )
    assert result.returncode == 1
    assert "at step" in result.stderr and "expected a finite number" in result.stderr
    assert not (workdir / "baseline" / "predictions_test.npz").exists()
