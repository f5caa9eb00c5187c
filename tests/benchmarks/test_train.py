"""`benchmark train` trains a config and says what its log says; figures are not tested."""

import json
from pathlib import Path

import pytest

from input_pipeline.digests import write_verified_json
from input_pipeline.errors import UserError
from sacd_jax import benchmark
from sacd_jax.benchmarks import train
from tests.input_pipeline.fake_nights import fake_dataset


def command(folder: Path, *more: str) -> list[str]:
    config = f"tests/multi_process/toy.py:{folder / 'nights.csv'}"
    return ["train", "--config", config, "--data_dir", str(folder / "data"), *more]


def test_every_run_is_trained_and_every_figure_written(tmp_path: Path, capsys) -> None:
    fake_dataset(tmp_path)
    file = tmp_path / "out.json"
    benchmark.main(command(tmp_path, "--steps", "16", "--set", "batch_size=8", "--json", str(file)))
    printed = capsys.readouterr().out
    for words in ("training, end to end", "teacher", "sacd", "clips/s/device", "save ms"):
        assert words in printed
    written = json.loads(file.read_text())
    assert written["settings"]["steps"] == 16
    assert written["settings"]["settings"] == {"batch_size": "8"}
    assert [found["run"] for found in written["results"]] == ["teacher", "sacd"]
    for found in written["results"]:
        assert found["steps"] == 16 and found["batch_size"] == 8 and found["mfu"] is None
        assert found["clips_per_second"] >= found["clips_per_second_per_device"] > 0
        assert 0 < found["data_wait"] < 1 and found["host_peak_gb"] > 0
        assert found["compile_seconds"] > 0 and found["save_seconds"] > 0
        assert found["seconds"]["evaluate"] > 0 and found["seconds"]["lost"] == 0


def test_means_are_over_time_and_leave_the_beginning_out(tmp_path: Path) -> None:
    lines = [
        {"step": 2, "clips_per_second": 1.0, "data_wait": 0.9, "save_seconds": 0.0},
        {"step": 4, "clips_per_second": 1.0, "data_wait": 0.9, "save_seconds": 0.3},
        {"step": 6, "clips_per_second": 8.0, "data_wait": 0.5, "save_seconds": 0.1},  # 2 s
        {"step": 7, "clips_per_second": 4.0, "data_wait": 0.1, "save_seconds": 0.0},  # 2 s
    ]
    texts = [json.dumps({"split": "train", "host_peak_gb": 1.5, **line}) for line in lines]
    (tmp_path / "metrics.jsonl").write_text("\n".join(texts))
    start = {"began": 0, "first_step": 0, "last_step": 7, "seconds": {"compile": 5.0}}
    write_verified_json(tmp_path / "goodput.json", {"starts": [start]})
    found = train.measured(tmp_path, batch_size=8)
    assert found["clips_per_second"] == pytest.approx(24 / 4)
    assert found["data_wait"] == pytest.approx(0.3) and found["save_seconds"] == 0.3
    assert found["compile_seconds"] == 5.0 and found["host_peak_gb"] == 1.5


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--steps", "7"], "--steps is 7, expected at least 8"),
        (["--runs", "student"], "--runs names 'student', expected some of"),
        (["--set", "runs.sacd.batch=1"], "did you mean"),
    ],
)
def test_what_cannot_be_measured_is_one_line(tmp_path: Path, more: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        benchmark.main(command(tmp_path, *more))
