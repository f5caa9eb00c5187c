"""Files of PyTorch and safetensors: what was saved is read, and no file does harm."""

import math
import tarfile
import tracemalloc
import zipfile
from collections import Counter, OrderedDict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from safetensors.numpy import save_file

from input_pipeline.errors import UserError
from sacd_jax.pretrained.state_dict import open_state_dict
from tests.pretrained.torch_files import (
    BFLOAT16,
    Call,
    Named,
    Storage,
    Tensor,
    Zip,
    save,
    state_dict,
    tensor,
    torch_zip,
)

# A test's folder is shared by its examples; each writes the same file anew.
same_folder = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)


def read(path: Path) -> dict[str, np.ndarray]:
    with open_state_dict(path) as state:
        return {key: entry.read() for key, entry in state.entries.items()}


def refusal(path: Path) -> str:
    """The message with which a file is refused: one line that names it."""
    with pytest.raises(UserError) as caught, open_state_dict(path) as state:
        for entry in state.entries.values():
            entry.read()
    message = str(caught.value)
    assert message.isprintable()
    assert str(path) in message
    assert len(message) < 1000
    return message


dtypes = st.sampled_from(["<f8", "<f4", "<f2", BFLOAT16])
names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@st.composite
def values(draw):
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4))
    wide = draw(hnp.arrays(np.float32, shape, elements=st.floats(width=16, allow_nan=False)))
    return wide.astype(draw(dtypes))


@st.composite
def tensors(draw):
    """A transposed, sliced or whole view of a storage, and its numbers."""
    value = draw(values())
    base = np.ascontiguousarray(value)
    view = base.transpose(draw(st.permutations(range(base.ndim))))
    if base.ndim:
        view = view[tuple(slice(draw(st.integers(0, 2)), None) for _ in view.shape)]
    offset = view.__array_interface__["data"][0] - base.__array_interface__["data"][0]
    strides = tuple(step // view.itemsize for step in view.strides)
    stored = Tensor(
        Storage(base.reshape(-1)),
        view.shape,
        strides,
        offset // view.itemsize if view.size else 0,
        draw(st.booleans()),
    )
    return stored, view.astype(np.float32)


@same_folder
@given(
    st.dictionaries(names, tensors(), min_size=1, max_size=6),
    st.sampled_from([2, 3, 4, 5]),
    st.sampled_from(["little", "big", None]),
    st.sampled_from([(), ("state_dict",), ("model",), ("model", "state_dict"), ("net",)]),
    st.sampled_from(["", "module.", "_orig_mod.", "module._orig_mod.", "model.module."]),
)
def test_generated_state_dicts_come_back(
    tmp_path, written, protocol, byteorder, containers, prefix
):
    content = OrderedDict((f"{prefix}x.{key}", stored) for key, (stored, _) in written.items())
    for name in reversed(containers):
        content = {"epoch": 3, name: content, "lr": [0.1, 0.01], "arch": "resnet-18"}
    path = save(content, tmp_path / "a.pth", protocol=protocol, byteorder=byteorder)
    with open_state_dict(path) as state:
        assert list(state.entries) == [f"x.{key}" for key in written]
        assert set(state.beside) == ({"epoch", "lr", "arch"} if containers else set())
        for key, (stored, expected) in written.items():
            entry = state.entries[f"x.{key}"]
            assert (entry.shape, entry.dtype) == (expected.shape, stored.storage.data.dtype.name)
            value = entry.read()
            assert value.dtype == np.float32
            assert value.flags.c_contiguous
            np.testing.assert_array_equal(value, expected)


@same_folder
@given(st.dictionaries(names.filter(lambda n: n != "__metadata__"), values(), min_size=1))
def test_safetensors_come_back(tmp_path, written):
    path = tmp_path / "a.safetensors"
    save_file({f"module.x{key}": value for key, value in written.items()}, path)
    back = read(path)
    assert back.keys() == {f"x{key}" for key in written}
    for key, value in written.items():
        np.testing.assert_array_equal(back[f"x{key}"], value.astype(np.float32))


def test_tensors_may_share_a_storage(tmp_path):
    storage = Storage(np.arange(12, dtype=np.float32))
    content = {
        "whole": Tensor(storage, (3, 4), (4, 1)),
        "transposed": Tensor(storage, (4, 3), (1, 4)),
        "column": Tensor(storage, (3,), (4,), offset=1),
    }
    path = save(content, tmp_path / "a.pth")
    with zipfile.ZipFile(path) as archive:
        assert "archive/data/1" not in archive.namelist()
    back = read(path)
    np.testing.assert_array_equal(back["transposed"], back["whole"].T)
    np.testing.assert_array_equal(back["column"], [1, 5, 9])


def test_checkpoints_of_the_networks_repositories(tmp_path):
    """Optimizer, schedule, a settings object with its folder, a NumPy score, version notes."""
    weights = state_dict({"fc.weight": np.ones((2, 3), np.float32)})
    versions = {"_metadata": OrderedDict({"": {"version": 1}})}
    path_object = Call(Named("pathlib", "PosixPath"), ("saved", "run"))
    scalar = Call(
        Named("numpy.core.multiarray", "scalar"),
        (
            Call(
                Named("numpy", "dtype"), ("f8", False, True), (3, "<", None, None, None, -1, -1, 0)
            ),
            Call(Named("_codecs", "encode"), ("abc", "latin1")),
        ),
    )
    content = {
        "arch": "AttnSleep",
        "state_dict": Call(Named("collections", "OrderedDict"), (), versions),
        "optimizer": {
            "state": {0: {"step": 7, "exp_avg": tensor(np.zeros((2, 3), np.float32))}},
            "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0]}],
        },
        "scheduler": {"milestones": Counter({50: 1, 100: 1})},
        "monitor_best": scalar,
        "config": Call(Named("parse_config", "ConfigParser"), (), {"_save_dir": path_object}),
    }
    message = refusal(save(content, tmp_path / "empty.pth"))
    assert "holds no tensors" in message
    content["state_dict"] = weights
    with open_state_dict(save(content, tmp_path / "a.pth")) as state:
        assert list(state.entries) == ["fc.weight"]
        assert state.beside == ("arch", "optimizer", "scheduler", "monitor_best", "config")


def test_one_name_without_the_prefix_keeps_all_prefixes(tmp_path):
    ones = {"module.a": np.ones(1, np.float32), "b": np.ones(1, np.float32)}
    assert read(save(state_dict(ones), tmp_path / "a.pth")).keys() == {"module.a", "b"}


# What is no zip file of torch.save


def test_old_files_are_refused_with_the_way_out(tmp_path):
    legacy = tmp_path / "legacy.pth"
    legacy.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    assert "old-style PyTorch pickle" in refusal(legacy)
    tar = tmp_path / "tar.pth"
    with tarfile.open(tar, "w") as archive:
        archive.add(legacy, "storages")
    assert "tar file" in refusal(tar)
    for path in (legacy, tar):
        assert 'torch.save(torch.load("old.pth"' in refusal(path)


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"hello " * 100])
def test_other_files_are_refused(tmp_path, content):
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    assert "neither a zip file of torch.save nor" in refusal(path)


def test_missing_files_and_folders_are_refused(tmp_path):
    assert "is not a file" in refusal(tmp_path / "absent.pth")
    assert "is not a file" in refusal(tmp_path)


def test_zip_files_of_others_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.ones(3))
    assert "it has no data.pkl" in refusal(tmp_path / "a.npz")
    script = torch_zip({"a": tensor(np.ones(3, np.float32))})
    script.records["archive/constants.pkl"] = b""
    assert "TorchScript" in refusal(script.write(tmp_path / "script.pt"))


@pytest.mark.parametrize("content", [7, [1, 2], "text", {}, {"state_dict": {"epoch": 1}}, {1: 2}])
def test_content_without_tensors_is_refused(tmp_path, content):
    assert "it holds" in refusal(save(content, tmp_path / "a.pth"))


def test_a_whole_module_is_refused_by_its_class(tmp_path):
    content = Call(Named("torchvision.models.video.resnet", "VideoResNet"), ())
    message = refusal(save(content, tmp_path / "a.pth"))
    assert "torchvision.models.video.resnet.VideoResNet" in message
    assert "state_dict() alone" in message


# Hostile files


def test_a_call_is_refused_and_not_made(tmp_path, monkeypatch):
    called = []
    monkeypatch.setattr("os.system", called.append)
    content = {"state_dict": {"a": Call(Named("os", "system"), ("true",))}}
    assert "it asks for os.system" in refusal(save(content, tmp_path / "a.pth"))
    assert called == []


GIB = 1 << 30


def _claims(size: int, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> object:
    return {"a": Tensor(Storage(np.ones(4, np.float32), size), shape, strides, offset)}


HOSTILE = {
    "storage beyond its record": _claims(64 * GIB, (64 * GIB,), (1,)),
    "storage one element too long": _claims(5, (5,), (1,)),
    "negative storage": _claims(-1, (1,), (1,)),
    "storage larger than any integer": _claims(2**200, (1,), (1,)),
    "shape beyond its storage": _claims(4, (64 * GIB,), (1,)),
    "expanded by a stride of zero": _claims(4, (GIB, GIB), (0, 0)),
    "offset beyond": _claims(4, (2,), (1,), 3),
    "negative offset": _claims(4, (2,), (1,), -2),
    "negative stride": _claims(4, (2,), (-1,), 3),
    "negative shape": _claims(4, (-2, -2), (1, 1)),
    "strides beyond": _claims(4, (2, 2), (3, 1)),
    "rank": _claims(4, (1,) * 64, (1,) * 64),
    "shape of texts": _claims(4, ("2",), (1,)),  # type: ignore[arg-type]
    "more strides than axes": _claims(4, (2,), (1, 1)),
    "no storage": {"a": Call(Named("torch._utils", "_rebuild_tensor_v2"), (1, 0, (1,), (1,)))},
    "too few arguments": {"a": Call(Named("torch._utils", "_rebuild_tensor_v2"), (1,))},
    "parameter of nothing": {"a": Call(Named("torch._utils", "_rebuild_parameter"), (1,))},
    "unknown storage": {
        "a": Tensor(
            Storage(np.ones(4, np.float32), kind=Named("torch", "ComplexFloatStorage")), (1,), (1,)
        )
    },
    "storage that is a device": {
        "a": Tensor(Storage(np.ones(4, np.float32), kind=Named("torch", "device")), (1,), (1,))
    },
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_claims_are_held_against_the_file(tmp_path, content):
    path = save(content, tmp_path / "a.pth")
    tracemalloc.start()
    try:
        refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_containers_that_hold_themselves_end(tmp_path):
    loop: dict = {"epoch": 1}
    loop["state_dict"] = loop
    assert "holds no tensors" in refusal(save(loop, tmp_path / "a.pth"))


def whole() -> Zip:
    return torch_zip(state_dict({"a": np.arange(64, dtype=np.float32)}))


@pytest.mark.parametrize("key", ["../../../etc/passwd", "/etc/passwd", "a\nb", ""])
def test_a_record_is_only_looked_for_in_the_archive(tmp_path, key):
    file = whole()
    data = file.records["archive/data.pkl"]
    old = b"X\x01\x00\x00\x000"
    assert data.count(old) == 1
    new = b"X" + len(key).to_bytes(4, "little") + key.encode()
    file.records["archive/data.pkl"] = data.replace(old, new)
    assert "missing" in refusal(file.write(tmp_path / "a.pth"))


def test_a_missing_record_is_named(tmp_path):
    file = whole()
    del file.records["archive/data/0"]
    assert "record 0 is missing" in refusal(file.write(tmp_path / "a.pth"))


def test_compressed_records_are_refused_unread(tmp_path):
    """A zip bomb is a small file; what torch.save writes is never compressed."""
    file = torch_zip({"a": tensor(np.zeros(1 << 22, np.float32))})
    file.compression = zipfile.ZIP_DEFLATED
    path = file.write(tmp_path / "a.pth")
    assert path.stat().st_size < 1 << 16
    tracemalloc.start()
    try:
        assert "compressed" in refusal(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_pickle_that_is_too_long_is_refused_unread(tmp_path):
    file = whole()
    file.records["archive/data.pkl"] += b"N" * (9 << 20)
    assert "record data.pkl has" in refusal(file.write(tmp_path / "a.pth"))


def test_a_long_directory_is_refused_unread(tmp_path):
    file = whole()
    file.records |= {f"archive/{i:0>60000}": b"" for i in range(80)}
    assert "zip directory" in refusal(file.write(tmp_path / "a.pth"))


def test_a_strange_byte_order_is_refused(tmp_path):
    file = whole()
    file.records["archive/byteorder"] = b"middle"
    assert "byteorder" in refusal(file.write(tmp_path / "a.pth"))


def test_a_flipped_bit_in_a_record_is_seen(tmp_path):
    path = whole().write(tmp_path / "a.pth")
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(63).tobytes())] ^= 1
    path.write_bytes(content)
    assert "checksum" in refusal(path)


@pytest.mark.parametrize("position", [0x7FFFFFFF, 0xFFFFFFFE])
def test_a_record_elsewhere_is_refused(tmp_path, position):
    """The first bytes of the directory say where its first record is; a shift may turn negative."""
    path = whole().write(tmp_path / "a.pth")
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")
    content[entry + 42 : entry + 46] = position.to_bytes(4, "little")
    path.write_bytes(content)
    assert "has no header" in refusal(path)
    end = content.index(b"PK\5\6")
    start = int.from_bytes(content[end + 16 : end + 20], "little")
    content[end + 16 : end + 20] = (start + 5).to_bytes(4, "little")
    content[entry + 42 : entry + 46] = bytes(4)
    path.write_bytes(content)
    assert "has no header" in refusal(path)


def test_a_file_cut_anywhere_is_refused(tmp_path):
    content = whole().write(tmp_path / "whole.pth").read_bytes()
    path = tmp_path / "cut.pth"
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        refusal(path)


@same_folder
@given(st.data())
def test_any_change_of_a_file_is_read_or_refused(tmp_path, data):
    content = bytearray(whole().write(tmp_path / "whole.pth").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] = data.draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))
    path = tmp_path / "changed.pth"
    path.write_bytes(content)
    tracemalloc.start()
    try:
        assert all(math.prod(value.shape) <= 64 for value in read(path).values())
    except UserError as error:
        assert str(path) in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8 << 20


@same_folder
@given(st.data())
def test_any_change_of_what_the_pickle_says_is_read_or_refused(tmp_path, data):
    """As above, behind checksums that are right."""
    file = whole()
    content = bytearray(file.records["archive/data.pkl"])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    file.records["archive/data.pkl"] = bytes(content)
    path = file.write(tmp_path / "changed.pth")
    try:
        assert all(math.prod(value.shape) <= 64 for value in read(path).values())
    except UserError as error:
        assert str(path) in str(error)


@same_folder
@given(st.data())
def test_any_change_of_safetensors_is_read_or_refused(tmp_path, data):
    path = tmp_path / "a.safetensors"
    save_file({"a": np.arange(8, dtype=np.float32)}, path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        read(path)
    except UserError as error:
        assert str(path) in str(error)
