"""The teacher cache: all rows or nothing, and never that of another teacher."""

import json

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.fingerprints import array_fingerprint, fingerprint
from input_pipeline.teacher_cache import read_cache, write_cache

DATA, WEIGHTS = fingerprint("some data"), fingerprint("some weights")
ROWS = 10


def arrays_of(rows: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "teacher_embedding": rows[:, None] * np.ones(3, np.float32),
        "teacher_logits": rows[:, None].astype(np.float16),
    }


def write(folder, rows=ROWS):
    with write_cache(folder, rows=ROWS, data=DATA, weights=WEIGHTS) as cache:
        for part in np.array_split(np.random.default_rng(0).permutation(rows), 3):
            padded = np.append(part, [ROWS, ROWS])  # the loader's padding
            cache.write(padded, arrays_of(padded))


def test_rows_come_back_in_the_order_of_the_split(tmp_path):
    write(tmp_path / "cache")
    found = read_cache(tmp_path / "cache", data=DATA, weights=WEIGHTS)
    expected = arrays_of(np.arange(ROWS))
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("key", ["data", "weights"])
def test_a_stale_cache_is_refused(tmp_path, key):
    write(tmp_path / "cache")
    asked = {"data": DATA, "weights": WEIGHTS, key: fingerprint("changed")}
    with pytest.raises(UserError, match=f"made from other {key} .*compute it again"):
        read_cache(tmp_path / "cache", **asked)


def test_a_cache_that_lacks_rows_never_stands(tmp_path):
    with pytest.raises(ValueError, match="1 of 10 rows"):
        write(tmp_path / "cache", rows=ROWS - 1)
    with (
        pytest.raises(KeyboardInterrupt),
        write_cache(tmp_path / "cache", rows=2, data="", weights=""),
    ):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="not there"):
        read_cache(tmp_path / "cache", data=DATA, weights=WEIGHTS)


def test_nothing_is_overwritten(tmp_path):
    write(tmp_path / "cache")
    with pytest.raises(UserError, match="exists already"):
        write(tmp_path / "cache")


def test_damage_is_named(tmp_path):
    write(tmp_path / "cache")
    path = tmp_path / "cache" / "teacher_logits.npy"
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(UserError, match="teacher_logits.npy is missing or cut"):
        read_cache(tmp_path / "cache", data=DATA, weights=WEIGHTS)
    (tmp_path / "cache" / "cache.json").write_text(json.dumps({})[:1])
    with pytest.raises(UserError, match="cache.json is damaged"):
        read_cache(tmp_path / "cache", data=DATA, weights=WEIGHTS)


def test_weights_that_differ_in_a_bit_a_name_or_a_shape_differ():
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    one_bit = kernel.copy()
    one_bit.view(np.uint32)[1, 2] ^= 1
    variants = [
        {"a": kernel, "b": kernel},
        {"a": kernel, "b": one_bit},
        {"a": kernel, "c": kernel},
        {"a": kernel, "b": kernel.T},
        {"a": kernel, "b": kernel.reshape(3, 2)},
        {"a": kernel, "b": kernel.view(np.int32)},
        {"a": kernel, "b": np.zeros((0, 3), np.float32)},
    ]
    assert len({array_fingerprint(variant) for variant in variants}) == len(variants)
    again = [("b", np.asfortranarray(kernel)), ("a", kernel[::-1][::-1])]
    assert array_fingerprint(again) == array_fingerprint(variants[0])
    assert (
        fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1})
    )
