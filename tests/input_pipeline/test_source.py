"""The fast reader sees what TFDS sees."""

import shutil

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_datasets.proto import tf_example_pb2

from input_pipeline.errors import UserError
from input_pipeline.source import open_split, parse_example
from input_pipeline.splits import SPLITS

from .fake_nights import fake_clip

INT64 = st.integers(-(2**63), 2**63 - 1)


@given(
    features=st.dictionaries(st.text(max_size=40), INT64 | st.binary(max_size=400), max_size=6),
    packed=st.booleans(),
)
def test_the_wire_format_walk_equals_protobuf(features, packed):
    example = tf_example_pb2.Example()
    for name, value in features.items():
        if isinstance(value, bytes):
            example.features.feature[name].bytes_list.value.append(value)
        else:
            example.features.feature[name].int64_list.value.append(value)
    found = parse_example(example.SerializeToString())
    plain = {
        key: bytes(value) if isinstance(value, memoryview) else value
        for key, value in found.items()
    }
    assert plain == features


def test_a_message_that_is_cut_is_not_taken():
    example = tf_example_pb2.Example()
    example.features.feature["eeg"].bytes_list.value.append(bytes(300))
    record = example.SerializeToString()
    for length in range(1, len(record)):
        with pytest.raises((ValueError, IndexError)):
            parse_example(record[:length])


@pytest.mark.parametrize("split", SPLITS)
def test_fast_and_tfds_readers_are_equal_element_by_element(small_dataset, split):
    fast, official = (
        open_split(small_dataset, split),
        open_split(small_dataset, split, reader="tfds"),
    )
    assert len(fast) == len(official) > 0
    for one, other in zip(fast, official, strict=True):
        assert one.keys() == other.keys() == {"video", "eeg", "stage", "index"}
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
        assert one["video"].dtype == other["video"].dtype == np.uint8
        assert one["eeg"].dtype == other["eeg"].dtype == np.float32


def test_rows_of_the_table_describe_the_records(small_dataset):
    for split in SPLITS:
        source = open_split(small_dataset, split)
        table = source.table
        for row, clip in enumerate(source):
            made = fake_clip(str(table.night_id[row]), int(table.clip_index[row]))
            np.testing.assert_array_equal(clip["video"], made["video"])
            np.testing.assert_array_equal(clip["eeg"], made["eeg"])
            assert clip["stage"] == table.stage[row] == made["stage"]
            assert clip["index"] == row


def test_rows_count_like_those_of_a_list(small_dataset):
    source = open_split(small_dataset, "test")
    assert source[-1]["index"] == len(source) - 1
    for index in (len(source), -len(source) - 1):
        with pytest.raises(IndexError):
            source[index]


def test_fingerprints_tell_splits_apart(small_dataset):
    assert len({open_split(small_dataset, split).fingerprint for split in SPLITS}) == 3


def test_what_is_no_dataset_is_refused(small_dataset, tmp_path):
    with pytest.raises(UserError, match="expected the folder of a built dataset"):
        open_split(tmp_path, "train")
    with pytest.raises(UserError, match="'tset': expected one of train, validation, test"):
        open_split(small_dataset, "tset")
    with pytest.raises(UserError, match="reader 'slow'"):
        open_split(small_dataset, "test", reader="slow")


@pytest.mark.parametrize("reader", ["fast", "tfds"])
def test_damage_is_seen_when_a_split_is_opened(small_dataset, tmp_path, reader):
    folder = tmp_path / "data"
    shutil.copytree(small_dataset, folder)
    (shard,) = folder.glob("*-test.array_record-*")
    with open(shard, "rb+") as file:
        file.truncate(shard.stat().st_size // 2)
    with pytest.raises(UserError, match="split test is damaged"):
        open_split(folder, "test", reader)
    assert len(open_split(folder, "train", reader)) > 0
    shard.unlink()
    with pytest.raises(UserError, match="split test is damaged"):
        open_split(folder, "test", reader)
    table = folder / "train.csv"
    table.write_text("".join(table.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(UserError, match="split train is damaged"):
        open_split(folder, "train", reader)
    (folder / "dataset.json").write_text("{}")
    with pytest.raises(UserError, match="not a dataset description"):
        open_split(folder, "train", reader)
