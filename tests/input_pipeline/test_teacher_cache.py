"""The teacher cache: all rows or nothing, and never that of another teacher."""

import itertools
import json
import os

import numpy as np
import pytest

from input_pipeline.digests import write_verified_json
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


def changed(folder, **changes):
    """Changes the description and gives it a digest that fits, as no damage does."""
    path = folder / "cache.json"
    description = json.loads(path.read_text()) | changes
    del description["digest"]
    write_verified_json(path, description)


def flipped(folder):
    path = folder / "teacher_logits.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def of_an_earlier_version(folder):
    names = ["teacher_embedding", "teacher_logits"]
    description = {"rows": ROWS, "data": DATA, "weights": WEIGHTS, "arrays": names}
    (folder / "cache.json").write_text(json.dumps(description))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (flipped, "teacher_logits.npy: is damaged or was changed"),
        (lambda f: (f / "teacher_logits.npy").unlink(), "teacher_logits.npy: cannot be read"),
        (lambda f: os.truncate(f / "teacher_embedding.npy", 100), "embedding.npy: is damaged"),
        (lambda f: os.truncate(f / "cache.json", 1), "cache.json: not a JSON object"),
        (of_an_earlier_version, "cache.json: has no digest"),
        (lambda f: changed(f, rows=ROWS + 1), "expected an array of 11 rows"),
        (lambda f: changed(f, rows="10"), "expected rows and the arrays"),
        (lambda f: changed(f, arrays=["teacher_logits"]), "expected rows and the arrays"),
        (lambda f: changed(f, arrays={"../../secret": "0"}), "expected rows and the arrays"),
        (lambda f: changed(f, data=None), "made from other data"),
    ],
    ids=itertools.count(),
)
def test_damage_is_named(tmp_path, damage, said):
    write(tmp_path / "cache")
    damage(tmp_path / "cache")
    with pytest.raises(UserError, match=f"^teacher cache .*{said}.*; compute it again"):
        read_cache(tmp_path / "cache", data=DATA, weights=WEIGHTS)


def test_values_that_are_not_finite_are_not_stored(tmp_path):
    bad = {"teacher_logits": np.array([[0.0], [np.nan]], np.float32)}
    with (
        pytest.raises(UserError, match="teacher_logits has values that are not finite"),
        write_cache(tmp_path / "cache", rows=2, data="", weights="") as cache,
    ):
        cache.write(np.arange(2), bad)
    assert list(tmp_path.iterdir()) == []


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
