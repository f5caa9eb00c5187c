"""Leaving every subject out once: a table over folds, and the command from nights to it."""

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.datasets.building import folder_names
from input_pipeline.errors import UserError
from input_pipeline.splits import SplitSettings
from input_pipeline.stages import STAGES
from sacd_jax.config import EncoderConfig, Experiment, RunConfig
from sacd_jax.cross_validate import refuse_others
from sacd_jax.report.cross_validation import write_tables
from sacd_jax.runs import run_folder
from tests.input_pipeline.fake_nights import SETTINGS, fake_clips, fake_manifest


def predictions(path, subject, right, clips):
    """Of `clips` clips in all five stages in turn, the first `right` are right."""
    stage = np.arange(clips) % 5
    said = np.where(np.arange(clips) < right, stage, (stage + 1) % 5)
    path.mkdir(parents=True)
    np.savez(
        path / "predictions_test.npz",
        **{
            "logits": np.eye(5, dtype=np.float32)[said],
            "embedding": np.zeros((clips, 4), np.float32),
            "index": np.arange(clips),
            "stage": stage,
            "night_id": np.full(clips, f"{subject}-night"),
            "subject_id": np.full(clips, subject),
            "clip_index": np.arange(clips),
            "ahi": np.full(clips, 3.0),
        },
    )


PEOPLE = ["s0", "s1", "s2", "s3"]


def test_the_table_pools_the_subjects_that_were_left_out(tmp_path):
    for fold, (right, clips) in enumerate([(10, 10), (5, 20), (15, 30)]):
        predictions(tmp_path / f"fold{fold:03d}" / "student", f"s{fold}", right, clips)
    together, apart = write_tables(tmp_path, ["student"], PEOPLE, STAGES)
    assert together.rows[0][1].text == "50.0"  # (10 + 5 + 15) of 60
    assert [[cell.text for cell in row] for row in apart.rows] == [
        *(["0: s0", "100.0"], ["1: s1", "25.0"], ["2: s2", "50.0"])
    ]
    assert "Folds that are not finished: 3 (of 0 to 3)." in together.notes
    stored = json.loads((tmp_path / "cross_validation.json").read_text())
    assert stored["runs"]["student"]["subject_accuracy"] == [1.0, 0.25, 0.5]
    assert stored["runs"]["student"]["accuracy"]["value"] == 0.5
    text = (tmp_path / "cross_validation.md").read_text()
    assert "| 1: s1 | 25.0 |" in text
    with pytest.raises(UserError, match="no fold is finished"):
        write_tables(tmp_path, ["student", "other"], PEOPLE, STAGES)
    # Somebody came between: folds 1 and 2 are those of 2 and 3 now.
    with pytest.raises(UserError, match="of fold 1 was tested on other subjects than s0b"):
        write_tables(tmp_path, ["student"], ["s0", "s0b", "s1", "s2"], STAGES)


def test_folds_of_other_settings_or_other_nights_are_refused(tmp_path):
    """Those that are trained now would be pooled with them."""
    manifest, _ = fake_manifest(tmp_path, 4)
    run = RunConfig("classify", EncoderConfig("mlp"))
    settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
    experiment = Experiment(settings, {"student": run})
    split = SplitSettings(mode="leave_one_subject_out", fold=2)
    (name,) = folder_names([replace(settings, split=split)])
    run_folder.claim(tmp_path / "fold002" / "student", run, tmp_path / "data" / name)
    refuse_others(experiment, tmp_path, range(4))
    longer = replace(experiment, runs={"student": replace(run, passes=9.0)})
    with pytest.raises(UserError, match="holds a run with run.passes = 80.0, now it is 9.0"):
        refuse_others(longer, tmp_path, range(4))
    refuse_others(longer, tmp_path, [0, 1, 3])
    manifest.write_text(manifest.read_text().rsplit("\n", 2)[0] + "\n")
    with pytest.raises(UserError, match="'student' of fold 2 was trained on other nights"):
        refuse_others(experiment, tmp_path, range(3))


CONFIG = """
from dataclasses import replace

from tests.multi_process import toy

def get_config(manifest):
    experiment = toy.get_config(manifest)
    return replace(experiment, runs={"teacher": experiment.runs["teacher"]})
"""


@pytest.mark.slow
def test_the_command_tests_every_subject_once(tmp_path, root, monkeypatch):
    manifest, nights = fake_manifest(tmp_path, 4)
    monkeypatch.setattr(decode, "clips", fake_clips)
    settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
    for fold in range(4):  # decoded once: the made-up clips are not known to the command
        split = SplitSettings(mode="leave_one_subject_out", fold=fold)
        prepare(replace(settings, split=split), tmp_path / "data", jobs=1, keep_decoded=True)
        assert len(list((tmp_path / "data" / ".decoded").iterdir())) == 4
    (tmp_path / "folds.py").write_text(CONFIG)
    command = [
        *(sys.executable, "-m", "sacd_jax.cross_validate"),
        *("--config", f"{tmp_path / 'folds.py'}:manifest={manifest}"),
        *("--workdir", str(tmp_path / "run"), "--data_dir", str(tmp_path / "data")),
    ]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    options = {"cwd": root, "env": environment, "capture_output": True, "text": True}
    first = subprocess.run([*command, "--folds", "0,2"], timeout=1500, **options)
    assert first.returncode == 0, first.stderr
    assert "Folds that are not finished: 1, 3" in first.stdout
    done = subprocess.run(command, timeout=1500, **options)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("finished earlier") == 2
    stored = json.loads((tmp_path / "run" / "cross_validation.json").read_text())
    assert stored["subjects"] == [night.subject_id for night in nights]
    wrong = subprocess.run([*command, "--folds", "4"], timeout=1500, **options)
    assert wrong.returncode == 1 and "expected numbers from 0 to 3" in wrong.stderr
