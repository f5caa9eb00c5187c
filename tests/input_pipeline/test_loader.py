"""Batches: the position is the step, whatever the number of processes."""

import itertools
import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from input_pipeline.groups import (
    labelled_clips,
    neighbours,
    share_bounds,
    shuffled_groups,
    steps_per_pass,
)
from input_pipeline.loader import Loader
from input_pipeline.sampling import Sampling
from input_pipeline.source import ClipSource, open_split

from .fake_nights import fake_clip

SAMPLING = Sampling(moments=4, lags_s=(0, 2.5))


@pytest.fixture(scope="session")
def train(small_dataset) -> ClipSource:
    return open_split(small_dataset, "train")


INPUTS = ("video", "eeg")


def loader(source, keys=INPUTS, **arguments) -> Loader:
    return Loader(source, SAMPLING, keys, **arguments)


def take(batches, count):
    with batches:
        return list(itertools.islice(batches, count))


def joined(parts):
    """The global batches from the batches of each process."""
    return [
        {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
        for batches in zip(*parts, strict=True)
    ]


def assert_equal(some, others):
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one.keys() == other.keys()
        for key in one:
            assert one[key].dtype == other[key].dtype
            np.testing.assert_array_equal(one[key], other[key])


def test_padding_has_the_forms_of_a_batch_and_reads_nothing(train, monkeypatch):
    extra = {"teacher_logits": np.ones((len(train), 5), np.float32)}
    keys = (*INPUTS, "teacher_logits")
    (batch,) = take(loader(train, keys, extra=extra).train(1, seed=0), 1)
    monkeypatch.setattr(ClipSource, "read", None)
    padding = loader(train, keys, extra=extra).padding()
    forms = [
        {key: (value.shape, value.dtype) for key, value in each.items()}
        for each in (batch, padding)
    ]
    assert forms[0] == forms[1] and not padding["mask"].any()


def test_a_batch_holds_the_clips_it_names(train):
    (batch,) = take(loader(train).train(8, seed=0), 1)
    assert set(batch) == {"video", "eeg", "stage", "index", "mask"}
    assert batch["video"].dtype == np.uint8 and batch["video"].shape == (8, 8, 4, 6, 1)
    assert batch["eeg"].dtype == np.float32 and batch["eeg"].shape == (8, 3750)
    assert batch["stage"].dtype == batch["index"].dtype == np.int32
    assert batch["mask"].dtype == bool and batch["mask"].all()
    possible = [SAMPLING.indices(12, 0.4, offset) for offset in np.linspace(0, 0.999, 50)]
    for row in range(8):
        index = batch["index"][row]
        made = fake_clip(str(train.table.night_id[index]), int(train.table.clip_index[index]))
        np.testing.assert_array_equal(batch["eeg"][row], made["eeg"])
        assert batch["stage"][row] == made["stage"] >= 0
        assert any(
            np.array_equal(batch["video"][row], made["video"][frames]) for frames in possible
        )


def test_only_what_is_asked_for_is_there(train):
    (batch,) = take(loader(train, keys=("eeg",)).train(8, seed=0), 1)
    assert set(batch) == {"eeg", "stage", "index", "mask"}
    with pytest.raises(UserError, match="batch key 'sound'"):
        loader(train, keys=("sound",))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_every_labelled_clip_exactly_once_a_pass(train, processes):
    labelled = np.flatnonzero(train.table.stage >= 0)
    assert len(labelled) < len(train)  # some clips have no stage
    steps = -(-3 * len(labelled) // 8)
    parts = [
        take(
            loader(train, keys=("eeg",), process_index=process, process_count=processes).train(
                8, seed=7
            ),
            steps,
        )
        for process in range(processes)
    ]
    rows = np.concatenate([batch["index"] for batch in joined(parts)])
    passes = [rows[n * len(labelled) : (n + 1) * len(labelled)] for n in range(3)]
    for one in passes:
        np.testing.assert_array_equal(np.sort(one), labelled)
    assert len({one.tobytes() for one in passes}) == 3


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**31 - 1), start=st.integers(0, 200), processes=st.sampled_from([2, 4]))
@pytest.mark.parametrize("shares", [1, 4])
@pytest.mark.parametrize("mode", ["shuffled", "contiguous"])
def test_any_number_of_processes_from_any_step_reads_the_same(
    train, mode, shares, seed, start, processes
):
    def batches(start, **arguments):
        return loader(train, **arguments).train(
            8, seed, start_step=start, batch_mode=mode, consecutive_clips=2, shares=shares
        )

    whole = take(batches(start), 4)
    parts = [
        take(batches(start, process_index=process, process_count=processes), 4)
        for process in range(processes)
    ]
    assert_equal(joined(parts), whole)
    restarted = take(batches(start + 2, read_threads=0), 2)
    assert_equal(restarted, whole[2:])


@pytest.mark.parametrize("mode", ["shuffled", "contiguous"])
def test_a_process_reads_every_clip_of_its_share_and_no_other(train, mode):
    bounds = share_bounds(len(train), 2)
    for process, (first, end) in enumerate(itertools.pairwise(bounds.tolist())):
        part = train.table.part(first, end)
        groups = first + shuffled_groups(part, mode, 2)
        batches = loader(train, process_index=process, process_count=2).train(
            8, seed=3, batch_mode=mode, consecutive_clips=2, shares=2
        )
        steps = -(-groups.size // 4)
        rows = np.concatenate([batch["index"] for batch in take(batches, steps)])
        one_pass = rows[: groups.size].reshape(groups.shape)
        np.testing.assert_array_equal(np.sort(one_pass, axis=0), np.sort(groups, axis=0))
        assert rows.min() >= first and rows.max() < end and one_pass.tolist() != groups.tolist()


def test_another_seed_another_order_and_other_frames(train):
    one, other = (take(loader(train).train(8, seed=s), 1)[0] for s in (0, 1))
    assert one["index"].tolist() != other["index"].tolist()


def test_frames_of_a_clip_change_from_pass_to_pass(train):
    labelled = int(np.sum(train.table.stage >= 0))
    seen: dict[int, set[bytes]] = {}
    for batch in take(loader(train).train(8, seed=0), labelled):
        for index, video in zip(batch["index"].tolist(), batch["video"], strict=True):
            seen.setdefault(index, set()).add(video.tobytes())
    # 8 passes over clips that have 2 or 3 distinct choices of frames.
    assert all(len(videos) >= 2 for videos in seen.values())


def test_contiguous_groups_are_neighbours_of_one_night(train):
    steps = 30
    batches = take(
        loader(train).train(12, seed=0, batch_mode="contiguous", consecutive_clips=3),
        steps,
    )
    groups = np.concatenate([batch["index"] for batch in batches]).reshape(-1, 3)
    for group in groups:
        assert len(set(train.table.night_id[group].tolist())) == 1
        np.testing.assert_array_equal(np.diff(train.table.clip_index[group]), 1)
        assert train.table.stage[group].min() >= 0
    assert len(set(map(tuple, groups.tolist()))) > 8


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_evaluation_reads_every_row_once_in_order(small_dataset, processes):
    source = open_split(small_dataset, "test")
    assert len(source) % 16 and source.table.stage.min() == -1
    parts = [
        take(
            loader(source, process_index=process, process_count=processes).evaluate(16),
            None,
        )
        for process in range(processes)
    ]
    batches = joined(parts)
    assert len(batches) == -(-len(source) // 16)
    assert all(batch["index"].shape == (16,) for batch in batches)
    whole = {key: np.concatenate([batch[key] for batch in batches]) for key in batches[0]}
    mask = whole["mask"]
    np.testing.assert_array_equal(whole["index"][mask], np.arange(len(source)))
    np.testing.assert_array_equal(whole["stage"][mask], source.table.stage)
    assert np.all(mask == (np.arange(len(mask)) < len(source)))
    assert set(whole["index"][~mask]) == {len(source)} and set(whole["stage"][~mask]) == {-1}
    assert not whole["video"][~mask].any() and not whole["eeg"][~mask].any()
    centred = SAMPLING.indices(12, 0.4)
    for row, clip in enumerate(source):
        np.testing.assert_array_equal(whole["video"][row], clip["video"][centred])


def test_extra_arrays_come_along_by_row(train):
    cache = {"teacher_logits": np.arange(5 * len(train), dtype=np.float32).reshape(-1, 5)}
    made = loader(train, keys=(), extra=cache)
    for batches in (made.train(8, seed=0), made.evaluate(64), made.sequences(3, 4, seed=0)):
        for batch in take(batches, 5):
            rows, mask = batch["index"], batch["mask"]
            expected = cache["teacher_logits"][np.where(mask, rows, 0)] * mask[..., None]
            np.testing.assert_array_equal(batch["teacher_logits"], expected)
    short = {"teacher_logits": cache["teacher_logits"][1:]}
    with pytest.raises(UserError, match="teacher_logits: .* rows for a split of"):
        loader(train, extra=short)


@pytest.mark.parametrize("seed", [None, 5])
@pytest.mark.parametrize("processes", [2, 4])
def test_sequences_are_the_same_for_any_number_of_processes(train, seed, processes):
    def batches(start=0, **arguments):
        return loader(train, **arguments).sequences(3, 4, seed, start_step=start)

    whole = take(batches(), 12)
    assert whole[0]["video"].shape == (4, 3, 8, 4, 6, 1) and whole[0]["is_first"].shape == (4,)
    assert whole[0]["is_first"].all()
    parts = [
        take(batches(process_index=process, process_count=processes), 12)
        for process in range(processes)
    ]
    assert_equal(joined(parts), whole)
    assert_equal(take(batches(5), 7), whole[5:])


def test_sequences_go_on_where_the_lane_was(train):
    """Carrying the last clip of a lane over must lead to its next clip, unless `is_first`."""
    last = np.full(4, -1)
    resets = 0
    for batch in take(loader(train, keys=()).sequences(3, 4, seed=1), 60):
        for lane in range(4):
            rows = batch["index"][lane][batch["mask"][lane]]
            np.testing.assert_array_equal(np.diff(train.table.clip_index[rows]), 1)
            assert len(set(train.table.night_id[rows].tolist())) == 1
            if not batch["is_first"][lane]:
                assert rows[0] == last[lane] + 1
                assert train.table.night_id[rows[0]] == train.table.night_id[last[lane]]
            resets += int(batch["is_first"][lane])
            last[lane] = rows[-1]
    assert resets > 8


def test_sequences_are_a_mode_of_training_batches(train):
    mode = {"batch_mode": "sequences", "consecutive_clips": 3}
    made = loader(train, keys=("eeg",))
    assert_equal(take(made.train(12, seed=1, **mode), 4), take(made.sequences(3, 4, seed=1), 4))
    with pytest.raises(UserError, match="multiple of consecutive_clips 3"):
        made.train(8, seed=1, **mode)


@pytest.mark.parametrize("mode", ["shuffled", "balanced", "contiguous", "sequences"])
def test_a_pass_is_what_has_every_clip(train, mode):
    steps = steps_per_pass(train.table, 4, mode, 2)
    batches = loader(train, keys=()).train(4, seed=0, batch_mode=mode, consecutive_clips=2)
    seen = take(batches, int(np.ceil(steps)) + 1)
    rows = {row for batch in seen for row in batch["index"][batch["mask"]].tolist()}
    grouped = neighbours(train.table, 2) if mode == "contiguous" else labelled_clips(train.table)
    expected = set(grouped.ravel().tolist())
    share = 0.9 if mode == "sequences" else 1.0  # lanes of sequences do not end together
    assert len(rows & expected) >= share * len(expected)


def test_a_pass_of_sequences_holds_every_row_once(train):
    counts: Counter[int] = Counter()
    for batch in take(loader(train, keys=()).sequences(4, 3), None):
        counts.update(batch["index"][batch["mask"]].tolist())
    assert counts == Counter(range(len(train)))


def test_batches_go_through_to_device_ahead_of_time_and_in_order(train):
    threads = set()

    def to_device(batch):
        threads.add(threading.current_thread().name)
        return batch["index"] + 1000

    def batches(**arguments):
        return loader(train, keys=(), **arguments).train(8, seed=0)

    moved = take(batches(to_device=to_device), 10)
    np.testing.assert_array_equal(moved, [batch["index"] + 1000 for batch in take(batches(), 10)])
    assert threading.main_thread().name not in threads


def test_an_error_reaches_the_reader_and_closing_ends_the_threads(train):
    before = set(threading.enumerate())

    def to_device(batch):
        raise ZeroDivisionError("device")

    batches = loader(train, to_device=to_device).train(8, seed=0)
    with pytest.raises(ZeroDivisionError, match="device"):
        next(batches)
    batches.close()
    batches.close()
    with loader(train).train(8, seed=0) as batches:
        next(batches)
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not set(threading.enumerate()) - before


@pytest.mark.parametrize(
    ("own", "arguments", "match"),
    [
        ({}, {"batch_size": 10_000}, "expected at least one batch of 10000 clips"),
        ({"process_count": 3}, {}, "cannot be divided evenly among 3 processes"),
        ({}, {"batch_mode": "random"}, "batch_mode 'random'"),
        ({}, {"batch_mode": "contiguous"}, "multiple of consecutive_clips 16"),
        (
            {},
            {"batch_size": 16, "batch_mode": "contiguous"},
            "0 groups of 16 labelled clips",
        ),
        ({"sampling": Sampling(16)}, {}, "moments 16"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(train, own, arguments, match):
    with pytest.raises(UserError, match=match):
        made = Loader(**({"source": train, "sampling": SAMPLING, "keys": INPUTS} | own))
        made.train(**({"batch_size": 8, "seed": 0} | arguments))
