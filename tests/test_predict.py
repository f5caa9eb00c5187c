"""The command that stages a night, on a simulated one: files, page, privacy, one-line errors."""

import csv
import json
import shutil
import sys
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from input_pipeline.simulation.nights import simulate_nights
from input_pipeline.simulation.settings import SimulationSettings
from sacd_jax import predict
from tests.staging.test_stager import SAMPLING, store

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
import jax
from sacd_jax import predict
jax.config.update("jax_enable_compilation_cache", False)  # those of users compile
predict.main(sys.argv[1:])
facts = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(facts["VmHWM"].split()[0])
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_a_night_takes_less_than_400_megabytes(model, nights, run_python, tmp_path) -> None:
    """From the start to the page; JAX and its compiler take most of it. Some is left for the index
    of a long video, which is read when the compiler is done."""
    (video,) = nights.rglob("*.mp4")
    own = ["--model", str(model), "--video", str(video), "--out", str(tmp_path / "out")]
    kibibytes = int(run_python(PEAK, *own, devices=1).stdout.splitlines()[-1])
    print(f"{kibibytes / 1000:.0f} MB")
    assert 50_000 < kibibytes < 366_000  # 375 MB


def test_every_night_of_a_manifest(model, nights, tmp_path) -> None:
    manifest = str(nights / "nights.csv")
    predict.main(["--model", str(model), "--manifest", manifest, "--out", str(tmp_path)])
    (night,) = tmp_path.iterdir()
    assert {path.name for path in night.iterdir()} == FILES
    assert json.loads((night / "statistics.json").read_text())["start"]


def test_a_night_that_cannot_be_read_stops_no_other(model, nights, tmp_path, capsys) -> None:
    header, row = (nights / "nights.csv").read_text().splitlines()
    (video,) = nights.rglob("*.mp4")
    bad = row.replace("sim0000", "bad0000", 1).replace(str(video.relative_to(nights)), "bad.mp4")
    assert "bad.mp4" in bad
    folder = tmp_path / "nights"
    shutil.copytree(nights, folder)
    (folder / "bad.mp4").write_bytes(video.read_bytes()[:2000])
    (folder / "nights.csv").write_text("\n".join([header, bad, row]) + "\n")
    own = ["--model", str(model), "--manifest", str(folder / "nights.csv")]
    with pytest.raises(UserError, match="1 of 2 nights could not be staged"):
        predict.main([*own, "--out", str(tmp_path / "out")])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sim0000"]
    words = "not staged: night bad0000: the video cannot be opened"
    assert words in capsys.readouterr().err


def test_the_same_command_goes_on_with_the_nights_that_are_not_there(
    model, nights, tmp_path, capsys
) -> None:
    """A night is staged again where another network, or another row or video of it, would say more
    than what lies there, or where it was not written to its end."""
    folder = tmp_path / "nights"
    shutil.copytree(nights, folder)
    out = tmp_path / "out"
    page = out / "sim0000" / "report.html"

    def again(model: Path) -> bool:
        before = page.stat().st_mtime_ns if page.exists() else 0
        own = ["--model", str(model), "--manifest", str(folder / "nights.csv"), "--out", str(out)]
        predict.main(own)
        written = page.stat().st_mtime_ns != before
        assert written != ("sim0000: staged already" in capsys.readouterr().out)
        return written

    assert again(model)
    assert not again(model)
    for lost in ("report.html", "hypnogram.csv"):
        (out / "sim0000" / lost).unlink()
        assert again(model)
    (video,) = folder.rglob("*.mp4")
    renamed = video.rename(video.with_name("cam_20240305_225740.mp4"))  # a name may say the start
    manifest = folder / "nights.csv"
    manifest.write_text(manifest.read_text().replace(video.name, renamed.name))
    assert again(model)
    (out / "sim0000" / "statistics.json").write_text("{")
    assert again(model)
    manifest.write_text(manifest.read_text().replace(",0.0,0.0,", ",5.0,0.0,"))
    assert again(model)
    assert again(store(tmp_path / "other", sampling={**SAMPLING, "moments": 8}))


@pytest.mark.parametrize("name", ["hypnogram.csv", "report.html", "statistics.json"])
def test_files_of_others_are_not_written_over(model, nights, tmp_path, name) -> None:
    """The scoring of a night may be called hypnogram.csv; it lies beside its video."""
    (video,) = nights.rglob("*.mp4")
    (tmp_path / "sim0000").mkdir()
    scored = tmp_path / "sim0000" / name
    scored.write_text("of somebody else")
    own = ["--model", str(model), "--out"]
    with pytest.raises(UserError, match=f"holds a {name} that is not of a staged night"):
        predict.main([*own, str(scored.parent), "--video", str(video)])
    with pytest.raises(UserError, match="1 of 1 nights could not be staged"):
        predict.main([*own, str(tmp_path), "--manifest", str(nights / "nights.csv")])
    assert scored.read_text() == "of somebody else" and len(list(scored.parent.iterdir())) == 1


def test_files_without_a_clock_are_placed_by_a_start_for_each(model, nights, tmp_path) -> None:
    (video,) = nights.rglob("*.mp4")
    own = ["--model", str(model), "--out", str(tmp_path / "out"), "--video"]
    for name in ("b.mp4", "a.mp4"):
        own.append(str(shutil.copy(video, tmp_path / name)))
    with pytest.raises(UserError, match=r"3 starts for 2 videos; expected one each"):
        predict.main([*own, "--start", *["2024-03-05T22:57:40"] * 3])
    predict.main([*own, "--start", "2024-03-05T22:57:40", "2024-03-05T23:02:40"])
    found = json.loads((tmp_path / "out/statistics.json").read_text())
    assert found["start"] == "2024-03-05 22:57:40" and found["epochs"] == 16
    assert found["not_scored"] == {"between videos": 3, "missing frames": 1}


@pytest.mark.parametrize(
    "start", ["2024-03-05", "2024-03-05T22:57:40+01:00", "22:57", "9999-12-31T23:59:00"]
)
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
