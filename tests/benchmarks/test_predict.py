"""`benchmark predict` stages and decodes in turns; figures are not tested."""

import json
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from sacd_jax import benchmark
from tests.staging.test_stager import every_second, store, write


@pytest.mark.slow
def test_it_sets_staging_beside_decoding(tmp_path: Path, capsys) -> None:
    video, file = write(tmp_path / "night.mkv", every_second(4.0, 65.0)), tmp_path / "out.json"
    common = ["predict", "--model", str(store(tmp_path / "run")), "--rounds", "1"]
    benchmark.main([*common, "--video", str(video), "--json", str(file)])
    assert "peak memory" in capsys.readouterr().out
    written = json.loads(file.read_text())
    assert [result["name"] for result in written["results"]] == ["decoding alone", "staging"]
    assert written["settings"]["epochs"] == 2 and written["peak_mib"] > 10
    for result in written["results"]:
        seconds = result["median_wall_seconds"]
        assert result["clips_per_second"] == pytest.approx(2 / seconds)
    with pytest.raises(UserError, match="no such file"):
        benchmark.main([*common, "--video", str(tmp_path / "none.mkv")])
