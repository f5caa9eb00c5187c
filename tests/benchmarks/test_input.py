"""`benchmark input` reads what it says; figures are not tested."""

import json
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from sacd_jax import benchmark
from tests.input_pipeline.fake_nights import fake_dataset

TINY = ["--clips", "6", "--batch", "3", "--batches", "2", "--rounds", "2"]
SMALL = ["--height", "4", "--width", "6"]


def test_it_compares_every_way_to_read(tmp_path: Path, capsys) -> None:
    file = tmp_path / "input.json"
    benchmark.main(["input", *TINY, *SMALL, "--json", str(file)])
    printed = capsys.readouterr().out
    assert "16 of 60" in printed and "clips/CPU s" in printed
    written = json.loads(file.read_text())
    names = [result["name"] for result in written["results"]]
    assert names[:2] == ["copy in memory", "gather from a mapped file"]
    for storage in ("files", "records"):
        for what in ("video", "video and teacher cache", "video and EEG"):
            assert f"{what}, frames in {storage}" in names
    for result in written["results"]:
        assert result["clips_per_cpu_second"] == pytest.approx(6 / result["median_cpu_seconds"])


def test_any_data_set_will_do(tmp_path: Path) -> None:
    data = fake_dataset(tmp_path)
    file = tmp_path / "input.json"
    own = ["--data", str(data), "--moments", "4", "--json", str(file)]
    benchmark.main(["input", *TINY, *own])
    assert json.loads(file.read_text())["settings"]["size"] == "4x6x1"
    with pytest.raises(UserError, match="moments 16"):
        benchmark.main(["input", *TINY, "--data", str(data)])
