"""Checkpoints: bit for bit, on other devices too, and never another run's or a half one."""

import errno
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import parallel
from sacd_jax.training.checkpoints import Checkpoints


def state(value: float = 0.0):
    mesh = parallel.make_mesh()
    rng = np.random.default_rng(0)
    tree = {
        "step": jnp.int32(3),
        "params": {"w": rng.normal(size=(4, 3)).astype(np.float32) + np.float32(value)},
        "mask": np.array([True, False]),
        "labels": np.array([-1, 3], np.int32),
    }
    return parallel.replicate(tree, mesh)


def test_round_trip_is_bit_for_bit(tmp_path):
    writer = Checkpoints(tmp_path / "c", {"data": "a"})
    assert writer.latest() is None
    for step in (1, 2, 3):
        writer.save(state(step), step)
    writer.wait()
    writer.close()
    reader = Checkpoints(tmp_path / "c", {"data": "a"})
    assert reader.latest() == 3
    back = reader.restore(state())
    jax.tree.map(np.testing.assert_array_equal, back, state(3))
    assert back["labels"].dtype == jnp.int32
    reader.close()


def test_other_data_and_other_networks_are_refused(tmp_path):
    writer = Checkpoints(tmp_path / "c", {"data": "a"})
    writer.save(state(), 7)
    writer.wait()
    writer.close()
    other = Checkpoints(tmp_path / "c", {"data": "b"})
    with pytest.raises(UserError, match="checkpoint of step 7: data is a, expected b"):
        other.restore(state())
    other.close()
    same = Checkpoints(tmp_path / "c", {"data": "a"})
    wrong = state()
    wrong["params"]["w"] = jnp.zeros((5, 3))
    with pytest.raises(UserError, match=r"\['w'\] is float32\[4,3\], expected float32\[5,3\]"):
        same.restore(wrong)
    same.close()


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
    writer = Checkpoints(tmp_path / "c", {})
    writer.save(state(), 1)
    writer.wait()
    writer.close()
    (tmp_path / "c" / "2.orbax-checkpoint-tmp-7").mkdir()
    reader = Checkpoints(tmp_path / "c", {})
    assert reader.latest() == 1
    reader.close()


def test_a_full_disk_is_called_so(tmp_path, monkeypatch):
    writer = Checkpoints(tmp_path / "c", {})

    def full(*_args, **_options):
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device")

    monkeypatch.setattr(writer._manager, "save", full)
    with pytest.raises(OSError, match="no space left") as raised:
        writer.save(state(), 1)
    assert raised.value.errno == errno.ENOSPC
    writer.close()


def test_a_checkpoint_that_would_not_fit_is_not_begun(tmp_path, monkeypatch):
    writer = Checkpoints(tmp_path / "c", {})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=50))
    with pytest.raises(OSError, match="no space left"):
        writer.save(state(), 1)
    assert writer.latest() is None and list((tmp_path / "c").iterdir()) == []
    writer.close()


ACROSS_DEVICES = """
import sys, jax, numpy as np
from sacd_jax import parallel
from sacd_jax.training.checkpoints import Checkpoints
folder, what = sys.argv[1:]
mesh = parallel.make_mesh()
from pathlib import Path
state = parallel.replicate({"w": np.arange(12, dtype=np.float32)}, mesh)
checkpoints = Checkpoints(Path(folder), {})
if what == "save":
    checkpoints.save(state, 1)
    checkpoints.wait()
else:
    zeros = jax.tree.map(jax.numpy.zeros_like, state)
    back = checkpoints.restore(parallel.replicate(zeros, mesh))
    assert np.array_equal(back["w"], state["w"]), back
    assert len(back["w"].sharding.device_set) == int(what)
checkpoints.close()
"""


def test_saved_on_8_devices_restored_on_2_and_1(tmp_path, run_python):
    run_python(ACROSS_DEVICES, str(tmp_path / "c"), "save", devices=8)
    for devices in (2, 1):
        run_python(ACROSS_DEVICES, str(tmp_path / "c"), str(devices), devices=devices)
