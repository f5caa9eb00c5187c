"""`benchmark predict` stages and decodes in turns; figures are not tested."""

import json
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from sacd_jax import benchmark
from tests.staging.test_stager import every_second, store, write


@pytest.mark.slow
def test_it_sets_staging_beside_decoding(tmp_path: Path, capfd) -> None:
    video, file = write(tmp_path / "night.mkv", every_second(4.0, 65.0)), tmp_path / "out.json"
    common = ["predict", "--model", str(store(tmp_path / "run")), "--rounds", "1"]
    benchmark.main([*common, "--video", str(video), "--json", str(file)])
    assert "peak memory" in capfd.readouterr().out
    written = json.loads(file.read_text())
    assert [result["name"] for result in written["results"]] == ["decoding alone", "staging"]
    assert written["settings"]["epochs"] == 2 and written["peak_mib"] > 100
    for result in written["results"]:
        seconds = result["median_wall_seconds"]
        assert result["clips_per_second"] == pytest.approx(2 / seconds)
    with pytest.raises(UserError, match=r"sacd_jax\.predict ended with 1, see above"):
        benchmark.main([*common, "--video", str(tmp_path / "none.mkv")])
    assert "no such file" in capfd.readouterr().err
