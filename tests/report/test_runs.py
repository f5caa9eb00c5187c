"""Run directories as they are and as they should not be."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax.report.runs import check_same_clips, read_run, series, subject_counts
from sacd_jax.runs import predictions
from tests.report.conftest import Night, write_run


@pytest.fixture
def folder(tmp_path: Path, runs: dict[str, Path]) -> Path:
    """A run directory that a test may spoil."""
    return Path(shutil.copytree(runs["video baseline"], tmp_path / "run"))


def _change(folder: Path, **changes: np.ndarray | None) -> None:
    path = folder / "predictions_test.npz"
    with np.load(path) as file:
        values = {name: file[name] for name in file.files}
    values |= {name: value for name, value in changes.items() if value is not None}
    for name, value in changes.items():
        if value is None:
            del values[name]
    np.savez(path, **values)


def test_a_run_is_read_in_order_of_rows(folder: Path, night: Night):
    order = np.random.default_rng(0).permutation(len(night.stage))
    with np.load(folder / "predictions_test.npz") as file:
        values = {name: file[name][order] for name in file.files}
    np.savez(folder / "predictions_test.npz", **values)
    run = read_run("baseline", folder)
    np.testing.assert_array_equal(run.predictions.stage, night.stage)
    np.testing.assert_array_equal(run.predictions.index, np.arange(len(order)))
    assert run.config["seed"] == 2 and run.versions["jax"]


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: (f / "predictions_test.npz").unlink(), "predictions_test.npz is missing"),
        (lambda f: (f / "predictions_test.npz").write_bytes(b""), "broken or truncated"),
        (lambda f: (f / "predictions_test.npz").write_bytes(b"no archive"), "broken or truncated"),
        (
            lambda f: (f / "predictions_test.npz").write_bytes(
                (f / "predictions_test.npz").read_bytes()[:5000]
            ),
            "broken or truncated",
        ),
        (lambda f: _change(f, ahi=None), "lacks ahi"),
        (lambda f: _change(f, stage=np.zeros(3, np.int32)), "stage has shape (3,)"),
        (lambda f: _change(f, logits=np.full((800, 5), np.nan, np.float32)), "800 of 800 clips"),
        (lambda f: _change(f, logits=np.zeros((800, 2), np.float32)), "beyond the 2 classes"),
        (lambda f: _change(f, index=np.zeros(800, np.int32)), "a row twice"),
        (lambda f: _change(f, embedding=np.zeros(800, np.float32)), "embedding has shape (800,)"),
        (lambda f: _change(f, embedding=np.full((800, 2), "x")), "embedding has dtype"),
        (lambda f: _change(f, stage=np.full(800, -5)), "a stage below -1"),
        (lambda f: (f / "config.json").write_text('{"a": '), "config.json: not a JSON object"),
        (
            lambda f: (f / "versions.json").write_text('{"jax": "0.12.0", "digest": "0"}'),
            "versions.json: is damaged or was changed",
        ),
        (lambda f: (f / "metrics.jsonl").write_text("x\ny\n"), "metrics.jsonl has 2 lines"),
        (lambda f: (f / "goodput.json").write_text("{}"), "times of a run"),
        (lambda f: shutil.rmtree(f), "is not a folder"),
    ],
    ids=[
        "no predictions",
        "empty file",
        "no archive",
        "truncated",
        "lacks a field",
        "other length",
        "not finite",
        "stage beyond",
        "row twice",
        "flat embedding",
        "words for an embedding",
        "no stage",
        "broken config",
        "no object",
        "broken log",
        "damaged times",
        "no folder",
    ],
)
def test_what_is_wrong_is_said_with_run_and_file(folder: Path, spoil, said: str):
    spoil(folder)
    with pytest.raises(UserError) as error:
        read_run("my run", folder)
    assert "'my run'" in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_predictions_on_another_data_set_are_refused(folder: Path):
    runs = {"old": folder / "predictions_test.npz"}
    predictions.check_data(runs, "this")  # of an earlier version, it does not say what it is of
    _change(folder, data=np.array("this"), weights=np.array(""))
    predictions.check_data(runs, "this")
    with pytest.raises(UserError, match="run 'old' was tested on another data set"):
        predictions.check_data(runs, "that")


def test_nothing_is_unpickled(folder: Path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    trap = np.array([Trap()] * 800, dtype=object)
    with np.load(folder / "predictions_test.npz") as file:
        values = {name: file[name] for name in file.files} | {"night_id": trap}
    np.savez(folder / "predictions_test.npz", **values)
    with pytest.raises(UserError, match="cannot be read"):
        read_run("run", folder)


def test_a_log_that_was_cut_and_resumed(folder: Path):
    lines = [
        {"step": 1, "split": "train", "loss": 3.0},
        {"step": 2, "split": "train", "loss": 2.5},
        {"step": 2, "split": "validation", "accuracy": 0.4},
        {"step": 2, "split": "train", "loss": 2.0},  # done again after the resume
        {"step": 3, "split": "train", "loss": None},
        {"step": 3, "split": "validation", "accuracy": 0.5},
    ]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"step": 4, "los')
    run = read_run("run", folder)
    assert run.unreadable_lines == 1
    steps, losses = series(run.lines, "train", "loss")
    assert steps.tolist() == [1, 2] and losses.tolist() == [3.0, 2.0]
    steps, accuracy = series(run.lines, "validation", "accuracy")
    assert steps.tolist() == [2, 3] and accuracy.tolist() == [0.4, 0.5]
    assert [len(part) for part in series(run.lines, "train", "never logged")] == [0, 0]


def test_counts_of_a_runs_subjects(folder: Path, night: Night):
    predictions = read_run("run", folder).predictions
    subjects, counts = subject_counts(predictions)
    assert subjects.tolist() == [f"S0{at}" for at in range(1, 9)]
    first = (night.subject_id == "S01") & (night.stage >= 0)
    assert counts[0].sum() == first.sum()
    assert np.trace(counts[0]) == (predictions.predicted == night.stage)[first].sum()


def test_a_run_without_log_and_config_is_a_run(folder: Path):
    for name in ("metrics.jsonl", "config.json", "versions.json"):
        (folder / name).unlink()
    run = read_run("run", folder)
    assert run.lines == () and run.config == {} and run.unreadable_lines == 0


def test_runs_on_other_clips_are_refused(folder: Path, runs: dict[str, Path], tmp_path: Path):
    first = read_run("first", runs["video baseline"])
    other = read_run("other", write_run(tmp_path / "other", Night(seed=5), 0.5, 1))
    with pytest.raises(UserError, match=r"'first' and 'other' differ in \w+ of \d+ clips"):
        check_same_clips([first, other])
    fewer = read_run("fewer", write_run(tmp_path / "fewer", Night(subjects=3), 0.5, 1))
    with pytest.raises(UserError, match="800 and 300 clips"):
        check_same_clips([first, fewer])
    check_same_clips([first, read_run("copy", folder)])
