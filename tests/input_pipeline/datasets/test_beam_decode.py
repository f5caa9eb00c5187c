"""Decoding on a Beam runner: what a local build gives, byte for byte.

Beam wants an environment of its own. Where it is not installed, a stand-in of its five names checks
the wiring (elements are pickled, results come back as files), and the test with Beam itself is
skipped.
"""

import importlib.util
import pickle
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from input_pipeline import build
from input_pipeline.datasets import beam_decode, decode
from input_pipeline.errors import UserError

from ..fake_nights import fake_clips, fake_manifest

SIZE = ["--height", "4", "--width", "6", "--frame-rate", "0.4"]


class Step:
    """A transform of the stand-in: elements in, elements out."""

    def __init__(self, run):
        self.run = run

    def __rrshift__(self, label):
        return self


class Collection:
    """A pipeline of the stand-in, or what a step made."""

    def __init__(self, elements=(), options=None):
        self.elements, self.options = list(elements), options

    def __or__(self, step):
        return Collection(step.run(self.elements))

    def __enter__(self):
        seen.append(self.options)
        return self

    def __exit__(self, *error):
        pass


seen: list = []


def stand_in() -> dict[str, ModuleType]:
    """Modules that behave as the part of Beam that is used; elements and functions are pickled."""
    beam, options = ModuleType("apache_beam"), ModuleType("pipeline_options")

    def call(function):
        function = pickle.loads(pickle.dumps(function))
        return Step(lambda elements: [function(pickle.loads(pickle.dumps(e))) for e in elements])

    names = SimpleNamespace(
        Pipeline=lambda options: Collection(options=options),
        Create=lambda elements: Step(lambda _: elements),
        Reshuffle=lambda: Step(lambda elements: elements[::-1]),
        Map=call,
    )
    vars(beam).update(vars(names))
    vars(options).update(PipelineOptions=list)
    return {
        "apache_beam": beam,
        "apache_beam.options": ModuleType("options"),
        "apache_beam.options.pipeline_options": options,
    }


@pytest.fixture(params=["stand-in", "Beam"])
def beam(request, monkeypatch):
    """Options to run with; the stand-in, or Beam where it is installed."""
    if request.param == "Beam":
        if importlib.util.find_spec("apache_beam") is None:
            pytest.skip("Apache Beam is not installed (extra beam, in an environment of its own)")
        return ["--runner", "DirectRunner", "--", "--direct_running_mode=in_memory"]
    for name, module in stand_in().items():
        monkeypatch.setitem(sys.modules, name, module)
    seen.clear()
    return ["--runner", "FlinkRunner", "--", "--flink_master=host:8081"]


def content(folder: Path) -> dict[str, bytes]:
    """All files of a data set but those that name versions and times."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.name: path.read_bytes() for path in files}


def built(arguments, root, capsys) -> dict[str, bytes]:
    build.main([arguments[0], arguments[1], "--out", str(root), *SIZE, *arguments[2:]])
    return content(Path(capsys.readouterr().out.splitlines()[-1]))


def test_clips_are_those_of_a_local_build(tmp_path, monkeypatch, capsys, beam):
    monkeypatch.setattr(decode, "clips", fake_clips)
    manifest = ["--manifest", str(fake_manifest(tmp_path, 12)[0])]
    local = built([*manifest, "--jobs", "1"], tmp_path / "local", capsys)
    there = built([*manifest, *beam], tmp_path / "beam", capsys)
    assert there == local and "test.frames-00000" in local
    if beam[1] == "FlinkRunner":
        assert seen == [["--runner=FlinkRunner", "--flink_master=host:8081"]]


def test_it_goes_on_with_what_is_done_and_names_what_fails(tmp_path, monkeypatch, capsys, beam):
    manifest = ["--manifest", str(fake_manifest(tmp_path, 12)[0])]
    decoded = []

    def clips(night, settings):
        if night.night_id == "n07" and not decoded.count("n07"):
            decoded.append("n07")
            raise UserError("night n07: its file is cut off")
        decoded.append(night.night_id)
        return fake_clips(night, settings)

    monkeypatch.setattr(decode, "clips", clips)
    with pytest.raises(UserError, match="1 of 12 nights cannot be used: night n07: its file is"):
        built([*manifest, *beam], tmp_path / "beam", capsys)
    assert sorted(decoded) == [f"n{number:02d}" for number in range(12)]
    assert not list((tmp_path / "beam" / ".decoded").glob(".results-*"))
    decoded[:] = ["n07"]
    built([*manifest, *beam], tmp_path / "beam", capsys)
    assert decoded == ["n07", "n07"]


def test_without_beam_or_a_shared_store_it_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "apache_beam", None)
    with pytest.raises(UserError, match="needs Apache Beam"):
        list(beam_decode.beam_map(str, [1], tmp_path, []))
    for name, module in stand_in().items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(beam_decode, "write_json", lambda path, value: None)
    with pytest.raises(UserError, match="night 1 of 1 here; expected a file system that"):
        list(beam_decode.beam_map(str, [1], tmp_path, []))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--manifest", "x.csv", "--", "--region=a"], "expected --runner, too"),
        (["--dataset", "ucf51", "--embeddings", "x", "--runner", "DirectRunner"], "ucf51 has none"),
    ],
)
def test_options_that_do_not_fit_are_refused(arguments, said, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        build.main(["--out", str(tmp_path), *arguments])
    assert said in capsys.readouterr().err
