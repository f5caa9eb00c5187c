"""An exported stager says what the stager says, without this package and Flax; damage is seen."""

import csv
import hashlib
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from jax import export as jax_export

from input_pipeline.clips import read_clip
from input_pipeline.errors import UserError
from input_pipeline.readers.video import open_video
from input_pipeline.stages import STAGES
from sacd_jax import export
from sacd_jax.exporting import stager_zip
from sacd_jax.exporting.stage_clips import ExportedStager
from sacd_jax.staging.stager import Stager, load_stager
from tests.staging.test_night_context import store_context
from tests.staging.test_stager import every_second, store, write


@pytest.fixture(scope="module")
def stager(tmp_path_factory) -> Stager:
    return load_stager(store(tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    out = folder / "stager.zip"
    export.main(["--model", str(store(folder / "run")), "--out", str(out)])
    return out


ALONE = """
import runpy, sys
class Blocker:
    def find_spec(self, name, *_):
        if name.partition(".")[0] in {"sacd_jax", "input_pipeline", "flax", "safetensors"}:
            raise ImportError(f"{name} is not there")
sys.meta_path.insert(0, Blocker())
sys.argv[:] = ["stage_clips.py", *sys.argv[2:]]
runpy.run_path("stage_clips.py", run_name="__main__")
"""


def test_it_says_what_the_stager_says_without_the_package(
    stager, exported, run_python, tmp_path
) -> None:
    with zipfile.ZipFile(exported) as file:
        file.extract("stage_clips.py", tmp_path)
    clips = np.random.default_rng(1).integers(0, 256, (5, 30, 24, 32, 1), np.uint8)
    np.save(tmp_path / "clips.npy", clips)
    arguments = ("-", str(exported), "clips.npy")
    printed = run_python(ALONE, *arguments, devices=1, cwd=tmp_path).stdout
    rows = list(csv.DictReader(printed.splitlines()))
    expected = stager.probabilities(clips[:, stager.taken], np.ones(5, bool))
    found = [[float(row[name]) for name in STAGES] for row in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=0).max() > 1e-3  # it depends on the pictures
    assert [row["stage"] for row in rows] == [STAGES[int(best)] for best in np.argmax(expected, -1)]


@pytest.mark.slow
@pytest.mark.parametrize("look_ahead", [0, 3, None])
def test_with_context_it_says_what_predict_says_of_a_night_with_a_hole(
    run_python, tmp_path, look_ahead
) -> None:
    model = store_context(tmp_path / "run", look_ahead)
    stager = load_stager(model)
    stamps = [stamp for stamp in every_second(4.0, 245.0) if not 91 <= stamp < 118]
    video = write(tmp_path / "night.mkv", stamps)
    night = stager.predict(video)
    assert night.reasons == ("",) * 3 + ("missing frames",) + ("",) * 4
    clips = np.zeros((8, 30, 24, 32, 1), np.uint8)
    with open_video([video], name="night") as reader:
        for epoch in range(8):
            frames, _ = read_clip(reader, epoch * 30.0 + np.arange(30), stager.clips)
            clips[epoch] = 0 if frames is None else frames
    out = tmp_path / "stager.zip"
    export.main(["--model", str(model), "--out", str(out)])
    with zipfile.ZipFile(out) as file:
        file.extract("stage_clips.py", tmp_path)
        assert "those of one night" in file.read("MODEL_CARD.md").decode()
        program = jax_export.deserialize(bytearray(file.read("over_night.jax")))
        assert program.platforms == ("cpu", "cuda", "tpu")
        facts = json.loads(file.read("stager.json"))["over_night"]
    assert facts["network"]["options"]["look_ahead"] == look_ahead and "unbroken" in facts["sees"]
    np.save(tmp_path / "clips.npy", clips)
    np.save(tmp_path / "seen.npy", night.scored)
    arguments = ("-", str(out), "clips.npy", "seen.npy")
    printed = run_python(ALONE, *arguments, devices=1, cwd=tmp_path).stdout
    rows = list(csv.DictReader(printed.splitlines()))
    stages = [STAGES[label] if label >= 0 else "" for label in night.stage]
    assert [row["stage"] for row in rows] == stages
    found = [[float(row[name] or "nan") for name in STAGES] for row in rows]
    np.testing.assert_allclose(found, night.probabilities, atol=1e-5)
    alone = stager.compute(stager.variables, clips[:1, stager.taken])["probabilities"]
    assert np.abs(alone - night.probabilities[0]).max() > 1e-3  # context has the last word


def test_it_holds_a_program_for_each_platform_and_says_what_it_is(exported) -> None:
    with zipfile.ZipFile(exported) as file:
        programs = {
            name: jax_export.deserialize(bytearray(file.read(f"stager_{name}.jax")))
            for name in ("cpu", "cuda", "tpu")
        }
        facts = json.loads(file.read("stager.json"))
        card = file.read("MODEL_CARD.md").decode()
        sums = file.read("SHA256SUMS").decode().split()
        digests = dict(zip(sums[1::2], sums[::2], strict=True))
        assert set(digests) == set(file.namelist()) - {"SHA256SUMS"}
        for name, digest in digests.items():
            assert hashlib.sha256(file.read(name)).hexdigest() == digest
    for name, program in programs.items():
        assert program.platforms == (name,)
        assert [str(each.shape) for each in program.out_avals] == ["(clips, 5)"]
    assert len({program.mlir_module_serialized for program in programs.values()}) == 3
    assert facts["stages"] == list(STAGES) and facts["crop"] == [20, 28]
    for words in ("Not a medical device", "says nothing about a person", facts["weights"]):
        assert words in card


def test_a_file_that_says_something_else_is_not_left(stager, tmp_path, monkeypatch) -> None:
    right = ExportedStager.probabilities
    monkeypatch.setattr(ExportedStager, "probabilities", lambda *what: right(*what) + 1e-3)
    with pytest.raises(UserError, match=r"off by 0.001 in a probability, expected at most 1e-05"):
        stager_zip.write(stager, tmp_path / "stager.zip")
    assert list(tmp_path.iterdir()) == []


def rewritten(path: Path, out: Path, changes: dict[str, bytes | None]) -> Path:
    """The same zip file with entries replaced, or left out."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            content = changes.get(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
    return out


@pytest.mark.parametrize(
    "damage", ["half", "empty", "one byte", "no digests", "no weights", "other weights", "odd sums"]
)
def test_damage_is_one_line(exported, tmp_path, damage) -> None:
    path, content = tmp_path / "stager.zip", exported.read_bytes()
    changes: dict[str, dict[str, bytes | None]] = {
        "no digests": {"SHA256SUMS": None},
        "no weights": {"weights.safetensors": None},
        "other weights": {"weights.safetensors": bytes(100)},
        "odd sums": {"SHA256SUMS": b"\xff\x00"},
    }
    if damage in changes:
        rewritten(exported, path, changes[damage])
    elif damage == "one byte":
        place = len(content) // 3
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "half" else b"")
    with pytest.raises(ValueError, match="the file is damaged or no exported stager") as raised:
        ExportedStager(path)
    assert "\n" not in str(raised.value)


def test_a_whole_file_whose_content_was_changed_is_told_by_its_digest(exported, tmp_path) -> None:
    with zipfile.ZipFile(exported) as file:
        facts = file.read("stager.json")
    changed = facts.replace(b'"N1"', b'"N2"', 1)
    assert changed != facts
    path = rewritten(exported, tmp_path / "stager.zip", {"stager.json": changed})
    with pytest.raises(ValueError, match="a digest differs"):
        ExportedStager(path)


def test_clips_of_another_shape_are_refused(exported) -> None:
    stager = ExportedStager(exported)
    with pytest.raises(ValueError, match=r"expected uint8 of shape \(clips, 30, 24, 32, 1\)"):
        stager.probabilities(np.zeros((2, 16, 24, 32, 1), np.uint8))
    with pytest.raises(ValueError, match=r"seen is int64 \(2,\); expected bool of shape \(2,\)"):
        stager.probabilities(np.zeros((2, 30, 24, 32, 1), np.uint8), np.array([0, 1]))
