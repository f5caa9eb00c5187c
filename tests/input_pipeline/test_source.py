"""The fast reader sees what TFDS sees."""

import itertools
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_datasets.proto import tf_example_pb2

from input_pipeline.datasets.dataset_files import read_info
from input_pipeline.errors import UserError
from input_pipeline.loader import Loader
from input_pipeline.sampling import Sampling
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
def test_tfds_reads_the_same_element_by_element(recorded_dataset, split):
    source = open_split(recorded_dataset, split)
    official = tfds.builder_from_directory(recorded_dataset).as_data_source(split)
    assert len(source) == len(official) > 0
    for row, (one, other) in enumerate(zip(source, official, strict=True)):
        assert one.keys() == {"video", "eeg", "stage", "index"} and one["index"] == row
        for key in ("video", "eeg", "stage"):
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


@pytest.mark.parametrize("split", SPLITS)
def test_frames_in_files_and_in_records_are_the_same(small_dataset, recorded_dataset, split):
    apart, whole = open_split(small_dataset, split), open_split(recorded_dataset, split)
    assert len(apart) == len(whole) > 0
    for one, other in zip(apart, whole, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])
    taken = np.array([7, 0, 11, 7])
    for source in (apart, whole):
        out = {"video": np.empty((4, 4, 6, 1), np.uint8), "eeg": np.empty(3750, np.float32)}
        source.read(3, out, taken)
        np.testing.assert_array_equal(out["video"], whole[3]["video"][taken])
        np.testing.assert_array_equal(out["eeg"], whole[3]["eeg"])
    stored = [
        set(tfds.builder_from_directory(folder).info.features)
        for folder in (small_dataset, recorded_dataset)
    ]
    assert stored[1] - stored[0] == {"video"}


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


@pytest.fixture
def copy(small_dataset, tmp_path):
    """A copy of the data set that a test may damage."""
    return Path(shutil.copytree(small_dataset, tmp_path / "data"))


def shard_of(folder, split):
    (shard,) = folder.glob(f"*-{split}.array_record-*")
    return shard


def test_damage_is_seen_when_a_split_is_opened(copy):
    shard = shard_of(copy, "test")
    shard.with_name(f"._{shard.name}").write_bytes(b"what a Mac keeps beside a file")
    assert len(open_split(copy, "test")) > 0
    with open(shard, "rb+") as file:
        file.truncate(shard.stat().st_size // 2)
    with pytest.raises(UserError, match="the shards of split test are damaged"):
        open_split(copy, "test")
    assert len(open_split(copy, "train")) > 0
    shard.unlink()
    with pytest.raises(UserError, match="the shards of split test are damaged; delete the folder"):
        open_split(copy, "test")


@pytest.mark.parametrize("name", ["train.csv", "dataset.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_tables_and_description_are_not_believed_unchecked(copy, name, damage):
    """As somebody would change them: one subject, AHI and stage for another."""
    text = (copy / name).read_text()
    if damage == "gone":
        (copy / name).unlink()
    else:
        changed = re.sub(r"\b(s0\d|subject|10)\b", "s11", text, count=1)
        assert changed != text
        (copy / name).write_text(changed if damage == "changed" else text[:-20])
    with pytest.raises(UserError, match=name) as raised:
        open_split(copy, "train")
    assert "\n" not in str(raised.value)


def test_a_record_is_compared_with_its_row(copy):
    """A shard of other nights with as many records stands in place of the right one."""
    info, table = read_info(copy), open_split(copy, "test").table
    stage = np.where(np.arange(len(table)) == 3, (table.stage + 2) % 5, table.stage)
    replace(table, stage=stage).write(copy / "test.csv")
    info.write(copy)
    source = open_split(copy, "test")
    assert source[2]["stage"] == stage[2]
    with pytest.raises(UserError, match=r"shard s3ve-test\S+: record 3 is damaged .has another"):
        source[3]


@pytest.mark.parametrize("damage", ["bit", "cut", "longer", "gone"])
def test_no_frame_is_believed_unchecked(copy, damage):
    path, sums = copy / "test.frames-00000", copy / "test.frame_sums.npy"
    whole = path.read_bytes()
    frame = 4 * 6
    flipped = bytearray(whole)
    flipped[12 * frame * 5 + 3 * frame + 1] ^= 16  # frame 3 of row 5
    path.write_bytes({"bit": flipped, "cut": whole[:-1], "longer": whole + b"0"}.get(damage, whole))
    if damage == "gone":
        path.unlink()
    if damage != "bit":
        with pytest.raises(UserError, match="the shards of split test are damaged"):
            open_split(copy, "test")
        return
    source, out = open_split(copy, "test"), {"video": np.empty((1, 4, 6, 1), np.uint8)}
    source.read(5, out, np.array([2]))
    with pytest.raises(UserError, match=r"test.frames-00000: frame 3 of row 5 is damaged .*build"):
        source.read(5, out, np.array([3]))
    sums.write_bytes(sums.read_bytes()[:-8] + bytes(8))
    with pytest.raises(UserError, match=r"checksums .*frame_sums.npy: is damaged"):
        open_split(copy, "test")


def test_a_file_that_shrinks_while_it_is_read_is_one_line(copy):
    source = open_split(copy, "test")
    with open(copy / "test.frames-00000", "rb+") as file:
        file.truncate(40)
    with pytest.raises(UserError, match=r"frame 2 of row 0 is damaged"):
        source.read(0, {"video": np.empty((1, 4, 6, 1), np.uint8)}, np.array([2]))


def read_all(folder):
    source = open_split(folder, "test")
    return [(clip["stage"], bytes(clip["video"]), bytes(clip["eeg"])) for clip in source]


def test_a_flipped_bit_in_a_shard_gives_the_right_clips_or_one_line(copy):
    """Anywhere in the file: some bits are padding, none may change a clip."""
    shard = shard_of(copy, "test")
    whole, expected = shard.read_bytes(), read_all(copy)
    refused = 0
    places = np.random.default_rng(0).integers(0, 8 * len(whole), 60).tolist()
    for place in [*places, *range(0, 512, 24), *range(8 * len(whole) - 512, 8 * len(whole), 24)]:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        shard.write_bytes(damaged)
        try:
            assert read_all(copy) == expected
        except UserError as error:
            assert "damaged" in str(error) and "input_pipeline.build" in str(error)
            assert "\n" not in str(error)
            refused += 1
    assert refused >= 40


@pytest.mark.parametrize("training", [True, False])
def test_reading_threads_hand_the_line_on(copy, training):
    shard = shard_of(copy, "test")
    damaged = bytearray(shard.read_bytes())
    for place in range(len(damaged) // 4, len(damaged) // 2, 15_000):  # a record has 15 kB
        damaged[place] ^= 1
    shard.write_bytes(damaged)
    loader = Loader(open_split(copy, "test"), Sampling(4), ("video", "eeg"), to_device=dict)
    with (
        loader.train(8, seed=0) if training else loader.evaluate(8) as batches,
        pytest.raises(UserError, match=r"^shard s3ve-test\S+: record \d+ is damaged .*build"),
    ):
        list(itertools.islice(batches, 20))
