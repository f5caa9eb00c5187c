"""The page of a night says how its network did on test subjects."""

import json

import numpy as np

from input_pipeline.stages import STAGES
from sacd_jax.runs import model_file
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.staging.page import night_page
from sacd_jax.staging.stager import load_stager
from sacd_jax.staging.statistics import night_statistics
from tests.staging.nights import staged
from tests.staging.test_stager import store


def write_predictions(run: RunFolder, weights: str, truth: list[int], said: list[int]) -> None:
    clips = len(truth)
    np.savez(
        run.predictions("test"),
        logits=np.eye(5, dtype=np.float32)[said],
        embedding=np.zeros((clips, 2), np.float32),
        index=np.arange(clips),
        stage=np.array(truth),
        night_id=np.repeat("n1", clips),
        subject_id=np.where(np.arange(clips) < 5, "Mustermann", "s2"),
        clip_index=np.arange(clips),
        ahi=np.zeros(clips, np.float32),
        data="data",
        weights=weights,
    )


def test_a_stager_says_how_it_did_on_test_subjects_and_what_it_hardly_finds(tmp_path) -> None:
    run = RunFolder(store(tmp_path / "run"))
    facts = load_stager(run.path).facts
    assert facts["tested"].startswith("not known: there are no predictions")
    truth = [0, 0, 1, 1, 2, 2, 2, 2, -1, 4]
    said = [0, 2, 2, 2, 2, 2, 2, 0, 4, 4]
    write_predictions(run, "another network's", truth, said)
    assert "are another network's" in load_stager(run.path).facts["tested"]
    write_predictions(run, model_file.identity(model_file.load(run.path)), truth, said)
    facts = load_stager(run.path).facts
    assert facts["tested"].startswith("on 9 clips of 2 test subjects: accuracy 55.6 %, macro F1 ")
    assert facts["found of each stage there"] == "W 50 %, N1 0 %, N2 75 %, REM 100 %"
    assert facts["hardly ever found there"] == "N1"
    assert "without a network there" not in facts
    for name, task in (("rival", "boost"), ("sacd", "distill"), ("damaged", "boost")):
        beside = RunFolder(tmp_path / name)
        beside.path.mkdir()
        beside.config.write_text(json.dumps({"dataset": "d", "run": {"task": task}}))
        write_predictions(beside, "", truth, [0, 0, 1, 1, 2, 2, 2, 2, 0, 0])
    beside.predictions("test").write_bytes(b"PK")
    facts = load_stager(run.path).facts
    assert facts["without a network there"].endswith("gradient boosting: rival 88.9 %")
    night = staged(list(STAGES), model=facts)
    page = night_page(night, night_statistics(night), b"", "night")
    assert "on 9 clips of 2 test subjects" in page and "Mustermann" not in page
    assert load_stager(run.model).facts == facts  # the folder of the model's files serves as well
    write_predictions(run, model_file.identity(model_file.load(run.path)), [-1] * 10, said)
    assert "nobody scored" in load_stager(run.path).facts["tested"]
