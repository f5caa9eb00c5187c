"""The command `convert`: from a checkpoint to a folder that `train` takes, or one clear line."""

import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import convert
from sacd_jax.pretrained import names_eeg
from sacd_jax.runs import model_file
from tests.pretrained.test_weights import attnsleep
from tests.pretrained.torch_files import save, state_dict


def run(checkpoint, out, *more: str) -> None:
    convert.main(
        ["--architecture", "attnsleep", "--checkpoint", str(checkpoint), "--out", str(out), *more]
    )


@pytest.fixture
def checkpoint(tmp_path):
    content = {"epoch": 58, "state_dict": state_dict(attnsleep()), "optimizer": {"state": {}}}
    return save(content, tmp_path / "model_best.pth")


def test_a_checkpoint_becomes_a_model(checkpoint, tmp_path, capsys):
    run(checkpoint, tmp_path / "out")
    said = capsys.readouterr().out
    assert "attnsleep with 5 classes: took 81 tensors of model_best.pth" in said
    assert "'sample_rate': 125" in said
    assert f"never used by the network: {', '.join(names_eeg.attnsleep_unused())}" in said
    assert "not weights: epoch, optimizer" in said
    model = model_file.load(tmp_path / "out")
    assert (model.encoder, model.num_classes) == ("attnsleep", 5)
    assert model.options == {"bottleneck": None, "sample_rate": 125}
    kernel = model.variables["params"]["classifier"]["kernel"]
    np.testing.assert_array_equal(kernel, attnsleep()["fc.weight"].T)


def test_the_number_of_classes_drops_the_head_and_says_so(checkpoint, tmp_path, capsys):
    run(checkpoint, tmp_path / "out", "--num-classes", "3")
    said = capsys.readouterr().out
    assert "with 3 classes" in said
    assert "its classifier of 5 classes is left out: training starts a fresh one" in said
    model = model_file.load(tmp_path / "out")
    assert model.num_classes == 3
    assert "classifier" not in model.variables["params"]
    with pytest.raises(SystemExit):
        run(checkpoint, tmp_path / "out", "--num-classes", "0")


def test_again_is_free_and_another_model_is_kept(checkpoint, tmp_path, capsys):
    out = tmp_path / "out"
    run(checkpoint, out)
    before = (out / model_file.FILE_NAME).stat()
    run(checkpoint, out)
    assert "as it was already" in capsys.readouterr().out
    assert (out / model_file.FILE_NAME).stat().st_mtime_ns == before.st_mtime_ns
    other = attnsleep()
    other["fc.bias"] = other["fc.bias"] + 1
    with pytest.raises(UserError, match="holds another model: expected a new folder"):
        run(save(state_dict(other), tmp_path / "other.pth"), out)
    with pytest.raises(UserError, match="holds another model"):
        run(checkpoint, out, "--num-classes", "3")
    assert (out / model_file.FILE_NAME).stat().st_ino == before.st_ino


def test_the_model_of_a_run_is_not_hidden(checkpoint, tmp_path):
    """`model_file.load` looks into the folder before its `model`."""
    model = model_file.Model("mlp", 5, {}, {"params": {"a": np.ones(2, np.float32)}})
    model_file.save(tmp_path / "run" / "model", model)
    with pytest.raises(UserError, match="holds another model"):
        run(checkpoint, tmp_path / "run")


def test_nothing_is_left_by_a_failure(checkpoint, tmp_path, monkeypatch):
    out = tmp_path / "out"
    broken = attnsleep()
    del broken["fc.weight"], broken["tce.norm.a_2"]
    with pytest.raises(UserError, match=r"missing: tce\.norm\.a_2"):
        run(save(state_dict(broken), tmp_path / "broken.pth"), out, "--num-classes", "5")
    assert not out.exists()

    def full(path, content):
        with open(path, "wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(OSError, match="no space left on device"):
        run(checkpoint, out)
    assert list(out.iterdir()) == []


def test_a_file_in_the_way_is_refused(checkpoint, tmp_path):
    with pytest.raises(UserError, match="is a file, expected a folder"):
        run(checkpoint, checkpoint)


def test_one_line_and_no_traceback(tmp_path, run_python):
    path = tmp_path / "old.pth"
    path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
    arguments = ("--architecture", "r3d_18", "--checkpoint", str(path), "--out", str(tmp_path))
    result = run_python("sacd_jax.convert", *arguments, check=False)
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "old-style PyTorch" in line
