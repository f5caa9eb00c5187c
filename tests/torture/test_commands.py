"""No command says or writes a name, a birth date or a number of a patient."""

import gzip
import io
import zipfile

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from input_pipeline import inspect
from sacd_jax import analyze, cache_teacher, cross_validate, evaluate, export, predict, sweep, train
from tests.torture import commands
from tests.torture.fuzz import fuzz
from tests.torture.planted import WORDS, leaks

EXPERIMENT = """
from dataclasses import replace

from input_pipeline.splits import SplitSettings
from tests.multi_process import toy

def get_config(manifest, runs=""):
    experiment = toy.get_config(manifest)
    chosen = {name: run for name, run in experiment.runs.items() if runs in (name, "")}
    dataset = replace(experiment.dataset, split=SplitSettings(ahi_groups=1))
    return replace(experiment, dataset=dataset, runs=chosen)
"""


def packed(text: str) -> dict[str, bytes]:
    """A text where a search through files must find it."""
    png, npz, archive = io.BytesIO(), io.BytesIO(), io.BytesIO()
    told = PngImagePlugin.PngInfo()
    told.add_text("Title", text, zip=True)
    Image.new("L", (2, 2)).save(png, "png", pnginfo=told)
    np.savez_compressed(npz, names=np.array([text.encode()]))
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", text)
    return {
        "plain.txt": text.encode(),
        f"{text}.txt": b"",
        "a.gz": gzip.compress(text.encode()),
        "a.zip": archive.getvalue(),
        "a.npz": npz.getvalue(),
        "a.png": png.getvalue(),
    }


@pytest.mark.parametrize("kind", packed(WORDS[1]))
def test_a_leak_is_found_in_every_kind_of_file(tmp_path, kind):
    (tmp_path / kind).write_bytes(packed(WORDS[1])[kind])
    assert list(commands.leaking_files(tmp_path)) == [kind]


def test_numbers_are_no_leak(tmp_path):
    for kind, content in packed("0.1931 and 0.7071").items():
        (tmp_path / kind).write_bytes(content)
    assert commands.leaking_files(tmp_path) == {}


@pytest.mark.slow
@pytest.mark.parametrize("target", commands.TARGETS, ids=lambda target: target.name)
def test_commands_on_some_damaged_nights(target):
    assert fuzz(target, range(6), seed=1, max_seconds=60).failures == []


@pytest.mark.slow
def test_commands_from_recordings_to_a_stager(tmp_path):
    study, out = tmp_path / "study", tmp_path / "out"
    study.mkdir()
    manifest = commands.write_study(study, 8)
    (tmp_path / "experiment.py").write_text(EXPERIMENT)
    config = f"{tmp_path / 'experiment.py'}:manifest={manifest}"
    teacher, toys = f"{config},runs=teacher", f"tests/toy_sweep.py:manifest={manifest}"
    runs = out / "runs"
    data = ("--data_dir", out / "data")
    said = commands.run(inspect.main, "--manifest", manifest, "--frame-rate", 0.4, "--jobs", 1)
    assert "8 nights can be used" in said
    for main, *arguments in (
        (train.main, "--config", config, "--workdir", runs, *data),
        (cache_teacher.main, "--workdir", runs / "teacher"),
        (evaluate.main, "--workdir", runs),
        (evaluate.main, "--workdir", runs / "sacd", "--split", "validation"),
        *((analyze.main, "--workdir", runs, kind) for kind in ("ahi", "tsne", "confusions")),
        (analyze.main, "--workdir", runs, "errors", "--show-frames"),
        (predict.main, "--model", runs / "sacd", "--manifest", manifest, "--out", out / "staged"),
        (export.main, "--model", runs / "sacd", "--out", out / "stager.zip"),
        (cross_validate.main, "--config", teacher, "--folds", 0, "--workdir", out / "folds", *data),
        (sweep.main, "--config", toys, "--list", "--workdir", out / "sweep"),
    ):
        new = commands.run(main, *arguments)
        assert not any(line.startswith("error:") for line in new), new[-3:]
        said += new
    assert leaks("\n".join(said)) == []
    assert commands.leaking_files(out) == {}
    assert (out / "stager.zip").exists() and list((out / "staged").glob("n0*/report.html"))
