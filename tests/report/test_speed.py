"""A report of a whole study's test nights is made in seconds on one core."""

import json

import pytest

REPORT = """
import json, os, sys, time
from pathlib import Path
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from tests.report.conftest import Night, write_run
root, night = Path(sys.argv[1]), Night(subjects=60, clips=500)
skills = {"a": 0.6, "b": 0.7}
runs = {name: write_run(root / name, night, skill, 0) for name, skill in skills.items()}
begin = time.process_time()
from sacd_jax.report import comparison, comparison_files
from sacd_jax.runs.run_folder import ExperimentFolder
found = comparison.compare(runs, {}, {}, resamples=10_000)
page = comparison_files.write(found, ExperimentFolder(root))
print(json.dumps({"seconds": time.process_time() - begin, "bytes": page.stat().st_size}))
"""


@pytest.mark.slow
def test_thirty_thousand_clips_and_ten_thousand_resamples_take_less_than_twenty_seconds(
    run_python, tmp_path
) -> None:
    """Two runs on 60 whole nights; seconds of the processor, which a busy machine does not change
    much."""
    done = run_python(REPORT, str(tmp_path), devices=1)
    found = json.loads(done.stdout.splitlines()[-1])
    print(found)
    assert found["seconds"] < 20 and found["bytes"] > 100_000
    nights = json.loads((tmp_path / "results.json").read_text())["sleep_statistics"]["b"]
    assert nights["nights"] == 60
