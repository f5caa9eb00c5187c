"""The command that stages a night, on a simulated one: files, page, privacy, one-line errors."""

import csv
import json
import sys
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from input_pipeline.simulation.nights import simulate_nights
from input_pipeline.simulation.settings import SimulationSettings
from sacd_jax import predict
from tests.staging.test_stager import store

NAME = "Mustermann_Erika_19701224"
FILES = {
    "hypnogram.csv",
    "hypnogram.edf",
    "hypnogram.png",
    "hypnogram_edfbrowser.csv",
    "hypnogram_yasa.json",
    "night_hypnogram.json",
    "night_hypnogram.tsv",
    "report.html",
    "statistics.json",
}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return store(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def nights(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("nights")
    simulate_nights(SimulationSettings(nights=1, hours=0.05, height=32, width=40), folder, jobs=1)
    return folder


def test_a_night_becomes_files_and_a_page_that_name_nobody(model, nights, tmp_path, capsys) -> None:
    (video,) = nights.rglob("*.mp4")
    named = tmp_path / f"{NAME}_05-MAR-2024_22h57m40.000s_Video.mp4"
    named.write_bytes(video.read_bytes())
    out = tmp_path / "staged"
    predict.main(["--model", str(model), "--video", str(named), "--out", str(out)])
    assert {path.name for path in out.iterdir()} == FILES
    printed = capsys.readouterr()
    written = [path.read_bytes().decode("latin-1") for path in out.iterdir()]
    for text in (printed.out, printed.err, *written):
        assert "Mustermann" not in text and "19701224" not in text
    statistics = json.loads((out / "statistics.json").read_text())
    assert statistics["start"] == "2024-03-05 22:57:40" and statistics["clock"] == "file name"
    rows = list(csv.DictReader((out / "hypnogram.csv").read_text().splitlines()))
    assert len(rows) == statistics["epochs"] == 6
    page = (out / "report.html").read_text()
    for words in ("simulated nights", "not a medical device", "REM latency", "WASO", "in bed"):
        assert words in page
    assert "http" not in page.replace("http://www.w3.org", "") and "<script" not in page


PEAK = """
import sys
from pathlib import Path
from sacd_jax import predict
predict.main(sys.argv[1:])
facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(facts["VmHWM"].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_night_takes_less_than_400_megabytes(model, nights, run_python, tmp_path) -> None:
    """From the start to the page; JAX and its compiler take most of it.

    50 MB are left for the index of a long video."""
    (video,) = nights.rglob("*.mp4")
    own = ["--model", str(model), "--video", str(video), "--out", str(tmp_path / "out")]
    kibibytes = int(run_python(PEAK, *own, devices=1).stdout.splitlines()[-1])
    print(f"{kibibytes / 1000:.0f} MB")
    assert 50_000 < kibibytes < 342_000  # 350 MB


def test_every_night_of_a_manifest(model, nights, tmp_path) -> None:
    manifest = str(nights / "nights.csv")
    predict.main(["--model", str(model), "--manifest", manifest, "--out", str(tmp_path)])
    (night,) = tmp_path.iterdir()
    assert {path.name for path in night.iterdir()} == FILES
    assert json.loads((night / "statistics.json").read_text())["start"]


@pytest.mark.parametrize("start", ["2024-03-05", "2024-03-05T22:57:40+01:00", "22:57"])
def test_a_start_is_a_local_date_and_time_as_in_a_manifest(model, nights, tmp_path, start) -> None:
    (video,) = nights.rglob("*.mp4")
    own = ["--model", str(model), "--video", str(video), "--out", str(tmp_path / "out")]
    with pytest.raises(UserError, match="--start: expected a local date and time"):
        predict.main([*own, "--start", start])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--video", "nothing.mp4"], "error: night night: video 1 of 1: no such file"),
        (["--video", "x.mp4", "--start", "yesterday"], "error: --start: expected a local date"),
    ],
)
def test_what_is_wrong_is_one_line(model, run_python, tmp_path, arguments, words) -> None:
    own = ["--model", str(model), "--out", str(tmp_path / "out"), *arguments]
    done = run_python("sacd_jax.predict", *own, check=False, devices=1)
    assert done.returncode == 1 and done.stderr.startswith(words)
    assert done.stderr.count("\n") == 1


def test_either_a_video_or_a_manifest(model, capsys) -> None:
    with pytest.raises(SystemExit, match="2"):
        predict.main(["--model", str(model), "--out", "staged"])
    assert "either --video or --manifest" in capsys.readouterr().err
