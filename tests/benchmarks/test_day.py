"""The day of measurements: parts that fail or hang take nothing with them; nothing is lost."""

import json
from argparse import Namespace
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from input_pipeline.files import mine_alone
from sacd_jax import benchmark
from sacd_jax.benchmarks import day, day_tables
from sacd_jax.benchmarks.day import Part

SLEEPS = ("-n", "1", "-r", "1", "import time; time.sleep(600)")


def test_a_part_is_measured_or_says_why_not(tmp_path: Path) -> None:
    good = day.measure(Part("good", "platform", ("terse",), 60), tmp_path, 60)
    assert good["arguments"] == ["terse"] and good["seconds"] > 0 and good["result"]["said"]
    bad = day.measure(Part("bad", "json.tool", ("no file",), 60), tmp_path, 60)
    assert "No such file" in bad["error"] and "result" not in bad
    hung = day.measure(Part("hung", "timeit", SLEEPS, 60), tmp_path, 1)
    assert hung["error"] == "ended after 1 s" and hung["seconds"] < 30


def test_what_was_measured_is_kept_and_what_failed_is_tried_again(
    tmp_path: Path, monkeypatch, capsys
) -> None:
    begun: list[str] = []
    works = {"one": True, "two": False}

    def measure(part: Part, files: Path, seconds: float) -> dict:
        begun.append(part.name)
        if part.name == "three":
            raise KeyboardInterrupt
        outcome = {"result": {"said": "1 passed"}} if works[part.name] else {"error": "no memory"}
        return {"arguments": list(part.arguments), "seconds": 1.0, **outcome}

    monkeypatch.setattr(day, "measure", measure)
    monkeypatch.setattr(
        day, "parts", lambda *_: [Part(name, "", (name,), 9) for name in ("one", "two", "three")]
    )
    file = tmp_path / "out.json"
    arguments = Namespace(json=file, torch_python=None, minutes=1, toy=True, parts=None)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            day.run(arguments)
    assert begun == ["one", "two", "three", "two", "three"]
    kept = json.loads(file.read_text())["parts"]
    assert kept["one"]["result"] and kept["two"]["error"] == "no memory"
    assert "- two: no memory" in file.with_suffix(".md").read_text()
    assert "one: measured earlier" in capsys.readouterr().out
    with (
        mine_alone(tmp_path / "out_files" / ".lock", "it"),
        pytest.raises(UserError, match="out.json is in use by process"),
    ):
        day.run(arguments)


def test_names_of_parts_are_unique_and_pytorch_runs_beside() -> None:
    for toy in (False, True):
        found = day.parts(Path("files"), "torch/python", toy)
        assert len({part.name for part in found}) == len(found)
        for part in found:
            beside = "--torch-python" in part.arguments
            assert beside == (part.arguments[0] in ("step", "input"))


def test_tables_of_steps_trainings_and_checks() -> None:
    step = {"name": "r3d_18, auto", "median_wall_seconds": 0.02, "clips_per_second": 800.0}
    trained = {"run": "sacd", "clips_per_second_per_device": 900.0, "data_wait": 0.02, "mfu": 0.31}
    check = {"name": "float32 3x3x3", "error": 0.5, "limit": 2e-3, "right": False}
    parts = {
        "networks": {
            "arguments": ["step"],
            "result": {
                "machine": {"device": "NVIDIA H100", "load": 1.0},
                "settings": {"dtype": "bfloat16", "batch": 16},
                "results": [{**step, "ratio": 0.8, "warm_up_seconds": 30.0}],
            },
        },
        "train": {
            "arguments": ["train"],
            "result": {"results": [{**trained, "device_peak_gb": 3.0, "save_seconds": 0.05}]},
        },
        "check": {"arguments": ["check"], "result": {"results": [check]}},
        "input": {"arguments": ["input"], "error": "ended after 90 s"},
    }
    said = day_tables.markdown(parts)
    for line in (
        "Measured on: device NVIDIA H100.",
        "| r3d_18, auto | bfloat16 | 16 | 20.00 | 800 | 0.80 | 30 |",
        "| sacd | 900 | 2.0% | 31.0% | 3.00 | 50 |",
        "1 checks of computing, 1 wrong.",
        "| float32 3x3x3 | 5.0e-01 | 2e-03 |",
        "- input: ended after 90 s",
    ):
        assert line in said.splitlines()


@pytest.mark.slow
def test_the_whole_day_at_toy_size(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    names = "check,step of 2,demo,train,input,predict"
    benchmark.main(["day", "--toy", "--json", str(file), "--parts", names])
    found = json.loads(file.read_text())["parts"]
    assert sorted(found) == sorted(names.split(","))
    assert {name: part["error"] for name, part in found.items() if "error" in part} == {}
    assert all(each["right"] for each in found["check"]["result"]["results"])
    said = file.with_suffix(".md").read_text()
    for words in ("a training step", "a training", "reading", "a night", "The demo, from nothing"):
        assert words in said
