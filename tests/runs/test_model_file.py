"""A network as a file: back as it was, or one clear line."""

import json

import numpy as np
import pytest
from safetensors.numpy import save as serialize

from input_pipeline.errors import UserError
from sacd_jax.runs.model_file import (
    FILE_NAME,
    Model,
    fill,
    load,
    refuse_missing,
    replace_part,
    same,
    save,
)

VARIABLES = {
    "params": {"head": {"kernel": np.arange(6, dtype=np.float32).reshape(2, 3)}},
    "batch_stats": {"norm": {"mean": np.zeros(3, np.float32)}},
}
MODEL = Model("mlp", 5, {"width": 3}, VARIABLES, 0.75)


def test_round_trip(tmp_path):
    save(tmp_path / "model", MODEL)
    for folder in (tmp_path, tmp_path / "model"):  # a run's folder lends its model too
        back = load(folder)
        assert (back.encoder, back.num_classes, back.options) == ("mlp", 5, {"width": 3})
        assert back.accuracy == 0.75
        kernel = back.variables["params"]["head"]["kernel"]
        assert np.array_equal(kernel, VARIABLES["params"]["head"]["kernel"])


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(UserError, match=f"no {FILE_NAME} in .*: expected"):
        load(tmp_path)
    path = save(tmp_path, MODEL)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UserError, match="is damaged"):
        load(tmp_path)


def stored(folder, facts, arrays=None):
    """A file with a header of one's own, as no damage makes it."""
    arrays = arrays or {"params/head/kernel": np.ones((2, 3), np.float32)}
    path = folder / FILE_NAME
    folder.mkdir(exist_ok=True)
    path.write_bytes(serialize(arrays, metadata={"sacd_jax": json.dumps(facts)}))


def test_every_flipped_bit_is_seen(tmp_path):
    path = save(tmp_path, MODEL)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for position in rng.choice(8 * len(whole), size=400, replace=False):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        try:
            assert same(load(tmp_path), MODEL)  # white space alone
        except UserError as error:
            assert "is damaged" in str(error) and "\n" not in str(error)


FACTS = {"encoder": "mlp", "num_classes": 5, "options": {}, "accuracy": 0.5}
NAN = {"params/a": np.array([1, np.nan], np.float32)}


@pytest.mark.parametrize(
    ("changes", "arrays", "said"),
    [
        ({"encoder": 3}, None, "encoder is not what"),
        ({"num_classes": "5"}, None, "num_classes is not what"),
        ({"num_classes": True}, None, "num_classes is not what"),
        ({"options": []}, None, "options is not what"),
        ({"accuracy": float("nan")}, None, "accuracy is not what"),
        ({}, NAN, "params/a is not what"),
        ({}, {"a": np.ones(1), "a/b": np.ones(1)}, "no model of sacd_jax"),
    ],
)
def test_a_file_of_an_earlier_version_is_read_but_not_believed(tmp_path, changes, arrays, said):
    stored(tmp_path, FACTS)
    assert load(tmp_path).accuracy == 0.5
    stored(tmp_path, FACTS | changes, arrays)
    with pytest.raises(UserError, match=said):
        load(tmp_path)


def test_foreign_safetensors_are_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, tmp_path / FILE_NAME)
    with pytest.raises(UserError, match="no model of sacd_jax"):
        load(tmp_path)


def test_fill_keeps_fresh_weights_where_shapes_differ():
    fresh = {
        "params": {
            "body": {"kernel": np.zeros((2, 2))},
            "head": {"kernel": np.zeros((2, 5))},
        }
    }
    stored = {
        "params": {
            "body": {"kernel": np.ones((2, 2))},
            "head": {"kernel": np.ones((2, 400))},
        }
    }
    filled, kept = fill(fresh, stored)
    assert kept == ["params/head/kernel"]
    assert filled["params"]["body"]["kernel"].sum() == 4
    assert filled["params"]["head"]["kernel"].shape == (2, 5)
    with pytest.raises(UserError, match="fit no layer"):
        fill(fresh, {"params": {"other": np.ones(3)}})


def test_a_network_without_its_classifier_is_refused():
    whole = {"params": {"body": np.ones(2), "classifier": np.ones(2), "extra": np.ones(2)}}
    refuse_missing(whole, whole)
    words = r"lacks params/classifier \(and 1 more\): expected a trained network"
    with pytest.raises(UserError, match=words):
        refuse_missing({"params": {"body": np.ones(2)}}, whole)


def test_a_part_comes_from_a_network_that_has_it_or_is_it():
    whole = {
        "params": {"body": {"w": np.zeros(2)}, "head": {"w": np.zeros(3)}},
        "batch_stats": {"body": {"mean": np.zeros(2)}},
    }
    has = {"params": {"body": {"w": np.ones(2)}}, "batch_stats": {"body": {"mean": np.ones(2)}}}
    is_it = {"params": {"w": np.ones(2), "more": np.ones(1)}, "batch_stats": {"mean": np.ones(2)}}
    for stored in (has, is_it):
        filled = replace_part(whole, "body", stored)
        assert filled["params"]["body"].keys() == {"w"} and filled["params"]["body"]["w"].all()
        assert filled["batch_stats"]["body"]["mean"].all()
        assert not filled["params"]["head"]["w"].any() and not whole["params"]["body"]["w"].any()
    with pytest.raises(UserError, match=r"part 'body': the stored w is of shape \(5,\), expected"):
        replace_part(whole, "body", {"params": {"w": np.ones(5)}})
    with pytest.raises(UserError, match="part 'body': the stored mean is not there"):
        replace_part(whole, "body", {"params": {"w": np.ones(2)}})
