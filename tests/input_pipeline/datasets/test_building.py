"""Building a dataset: what is in it, what it is called, and what is left of a broken build."""

import errno
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from input_pipeline.datasets import (
    ClipTable,
    DatasetSettings,
    building,
    data_card,
    decode,
    prepare,
    simulated_nights,
)
from input_pipeline.datasets.dataset_files import read_info
from input_pipeline.errors import UserError
from input_pipeline.night import read_manifest, write_manifest
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS, SplitSettings, read_splits
from input_pipeline.stages import STAGES

from ..fake_nights import (
    AHIS,
    SETTINGS,
    FakeClips,
    clip_indices,
    fake_clip,
    fake_clips,
    fake_manifest,
    fake_night,
)


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Puts made-up clips in place of the readers; the list grows by each night that is decoded."""
    nights = []

    def clips(night, settings):
        nights.append(night.night_id)
        return fake_clips(night, settings)

    monkeypatch.setattr(decode, "clips", clips)
    return nights


def settings_of(manifest: Path, **changes) -> DatasetSettings:
    return DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS, **changes)


def test_every_clip_is_in_one_split_in_the_order_of_the_nights(small_dataset):
    found = []
    for split in SPLITS:
        table = open_split(small_dataset, split).table
        rows = list(zip(table.night_id.tolist(), table.clip_index.tolist(), strict=True))
        assert rows == sorted(rows)
        found += rows
    nights = [f"n{number:02d}" for number in range(12)]
    assert sorted(found) == [(night, index) for night in nights for index in clip_indices(night)]


def test_description_counts_what_the_tables_hold(small_dataset):
    split = read_splits(small_dataset / "splits.json")
    for part in SPLITS:
        source = open_split(small_dataset, part)
        count = source.info.counts[part]
        assert set(source.table.subject_id.tolist()) == set(getattr(split, part))
        assert count["clips"] == len(source) and count["subjects"] == len(getattr(split, part))
        stages = Counter(source.table.stage.tolist())
        assert list(count["stages"].values()) == [stages[stage] for stage in range(5)]
        for night, ahi in zip(source.table.night_id, source.table.ahi, strict=True):
            assert ahi == AHIS[int(night[1:]) % 4]
        assert set(source.table.sex.tolist()) <= {"M", "F"} and (source.table.age > 20).all()
    assert not source.info.simulated and source.info.split_mode == "subject"
    assert source.info.frame_rate == 0.4 and source[0]["video"].shape == (12, 4, 6, 1)
    assert (source.info.eeg_rate, source.info.samples) == (125, 3750)


@pytest.mark.parametrize("people", [{}, {"age": [float("nan"), 61.5], "sex": ["F", ""]}])
@pytest.mark.parametrize("frames", [None, [60, 7]])
def test_a_table_survives_its_file(tmp_path, frames, people):
    columns = (["a", "b"], ["s", 't,"u"'], [3, 4], [-1, 2], [float("nan"), 12.5], frames)
    table = ClipTable.of_columns(*columns, **people)
    table.write(tmp_path / "table.csv")
    # Of nobody anything is known: the file of earlier versions.
    header = (tmp_path / "table.csv").read_text().splitlines()[0].split(",")
    assert ("age" in header, "sex" in header) == (bool(people), bool(people))
    again = ClipTable.read(tmp_path / "table.csv")
    assert (again.frames is None) == (frames is None)
    for name, column in vars(table).items():
        if column is None:
            continue
        assert getattr(again, name).dtype == column.dtype
        assert [str(value) for value in getattr(again, name)] == [str(value) for value in column]


def test_the_card_says_what_is_there_and_what_was_left_out(tmp_path, monkeypatch, decoded):
    manifest, _ = fake_manifest(tmp_path, 13)
    working = decode.clips

    def clips(night, settings):
        if night.night_id == "n07":
            raise UserError("night n07: no channel C3-A2")
        return working(night, settings)

    monkeypatch.setattr(decode, "clips", clips)
    folder = prepare(settings_of(manifest, skip_unusable=True), tmp_path / "data", jobs=1)
    card = data_card.read_card(folder, read_info(folder))
    assert card["left_out"] == {
        "nights": {"n07": "night n07: no channel C3-A2"},
        "clips": {"gap in PSG": 12},
    }
    assert data_card.left_out(card) == "left out: 1 night, 12 clips (gap in PSG)"
    assert card["clock_sources"] == {"manifest": 12}
    tables = [open_split(folder, split).table for split in SPLITS]
    stages = Counter(stage for table in tables for stage in table.stage.tolist())
    assert {"n07"} == set(read_manifest_ids(manifest)) - {
        night for table in tables for night in table.night_id.tolist()
    }
    for counts in (card["splits"], card["ahi_groups"], card["subjects"]):
        assert sum(each["clips"] for each in counts.values()) == sum(map(len, tables))
        for label, name in [*enumerate(STAGES), (-1, "unknown")]:
            assert sum(each["stages"][name] for each in counts.values()) == stages[label]
    assert {name: each["subjects"] for name, each in card["ahi_groups"].items()} == {
        **{"normal": 4, "mild": 3, "moderate": 3, "severe": 2}
    }
    for subject, each in card["subjects"].items():
        assert subject in tables[SPLITS.index(each["split"])].subject_id
    text = (folder / "data_card.md").read_text()
    said = (
        "- left out: night n07: no channel C3-A2",
        "- note: night n03: 1 clip left out (gap in PSG), ",
        "- note: night n03: made up on the spot",
    )
    assert all(each in text for each in said)
    (folder / "data_card.json").write_text("{}")
    with pytest.raises(UserError, match="data card .* was changed"):
        data_card.read_card(folder, read_info(folder))


def read_manifest_ids(manifest):
    return [night.night_id for night in read_manifest(manifest)]


def test_a_data_set_in_place_of_the_folder_above_it(tmp_path, decoded):
    """It is used where it is the one that is asked for, and never built into."""
    manifest, nights = fake_manifest(tmp_path, 12)
    folder = prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    files = sorted(folder.rglob("*"))
    assert prepare(settings_of(manifest), folder, jobs=1) == folder
    other = replace(settings_of(manifest), clips=replace(SETTINGS, width=8))
    with pytest.raises(UserError, match=r"clips.width is 6, asked for 8\); .* the folder above it"):
        prepare(other, folder, jobs=1)
    nights[5].psg.write_bytes(b"another recording")
    with pytest.raises(UserError, match="made from other nights or files"):
        prepare(settings_of(manifest), folder, jobs=1)
    assert sorted(folder.rglob("*")) == files and len(decoded) == 12


def test_a_built_dataset_is_not_built_again_nor_is_half_a_copy(tmp_path, decoded):
    manifest, _ = fake_manifest(tmp_path, 12)
    folder = prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert len(decoded) == 12
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert prepare(settings_of(manifest), tmp_path / "data", jobs=1) == folder
    assert len(decoded) == 12
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    assert not (tmp_path / "data" / ".decoded").exists()
    (folder / "dataset.json").unlink()
    with pytest.raises(UserError, match=r"no dataset\.json, as a copy that is not finished"):
        prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert len(decoded) == 12


def test_decoded_nights_of_a_build_that_was_killed_at_its_end_are_removed(
    tmp_path, decoded, monkeypatch
):
    manifest, _ = fake_manifest(tmp_path, 12)
    store = tmp_path / "data" / building.DECODED

    def interrupted(folder, **options):
        shutil.rmtree(folder / next(folder.iterdir()))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "shutil", SimpleNamespace(rmtree=interrupted))
        prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert len(list(store.iterdir())) == 11
    prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert not store.exists() and len(decoded) == 12
    other = settings_of(manifest, split=SplitSettings(seed=1))
    prepare(other, tmp_path / "data", jobs=1, keep_decoded=True)
    prepare(other, tmp_path / "data", jobs=1)
    assert len(list(store.iterdir())) == 12


def test_the_fingerprint_is_of_contents_and_not_of_places(tmp_path, decoded):
    manifest, nights = fake_manifest(tmp_path, 12)
    settings = settings_of(manifest)
    name = prepare(settings, tmp_path / "data", jobs=1).name
    for place in ("elsewhere", "again"):
        shutil.copytree(tmp_path, tmp_path.parent / f"{tmp_path.name}-{place}")
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    moved = replace(settings, manifest=elsewhere / "nights.csv")
    assert prepare(moved, elsewhere / "data2", jobs=1).name == name

    def changed_name(changed: DatasetSettings) -> str:
        return prepare(changed, tmp_path / "data", jobs=1).name

    names = {
        name,
        changed_name(replace(settings, clips=replace(SETTINGS, width=8))),
        changed_name(replace(settings, split=SplitSettings(seed=1))),
        changed_name(replace(settings, split=SplitSettings(mode="paper_val"))),
        changed_name(replace(settings, split_file=tmp_path / "data" / name / "splits.json")),
    }
    write_manifest(manifest, [replace(nights[0], sync_offset_s=1.5), *nights[1:]])
    names.add(changed_name(settings))
    # A corrected file of the same size, with the time that it had.
    times = nights[1].psg.stat().st_atime_ns, nights[1].psg.stat().st_mtime_ns
    nights[1].psg.write_bytes(b"xy"[: nights[1].psg.stat().st_size - 2] + b"z" * 2)
    os.utime(nights[1].psg, ns=times)
    names.add(changed_name(settings))
    assert len(names) == 7


def test_a_file_that_may_not_be_read_is_not_named(tmp_path, monkeypatch):
    """Names of recordings may be those of patients."""
    manifest, _ = fake_manifest(tmp_path, 3)

    def forbidden(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("input_pipeline.datasets.settings.file_fingerprint", forbidden)
    with pytest.raises(UserError, match=r"night n00: a file .* \(Permission denied\)$"):
        prepare(DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS), tmp_path / "data")


def test_a_split_file_is_followed(tmp_path, decoded):
    manifest, nights = fake_manifest(tmp_path, 4)
    value = {"settings": {}, "train": ["s01", "s02"], "validation": ["s03"], "test": ["s00"]}
    (tmp_path / "mine.json").write_text(json.dumps(value))
    settings = settings_of(manifest, split_file=tmp_path / "mine.json")
    folder = prepare(settings, tmp_path / "data", jobs=1)
    assert set(open_split(folder, "train").table.subject_id.tolist()) == {"s01", "s02"}
    write_manifest(manifest, [*nights, fake_night(tmp_path, 4)])
    with pytest.raises(UserError, match=r"'s04' \(night n04\) is in no part"):
        prepare(settings, tmp_path / "data", jobs=1)


def test_paper_val_is_carried_with_the_data(tmp_path, decoded):
    manifest, _ = fake_manifest(tmp_path, 12)
    settings = settings_of(manifest, split=SplitSettings(mode="paper_val"))
    folder = prepare(settings, tmp_path / "data", jobs=1)
    train, validation, test = (open_split(folder, split) for split in SPLITS)
    assert train.info.split_mode == "paper_val"
    assert set(validation.table.subject_id) <= set(train.table.subject_id)
    assert not set(test.table.subject_id) & set(train.table.subject_id)


def test_nights_that_fail_are_all_named_and_the_others_kept(tmp_path, monkeypatch, decoded, capfd):
    manifest, nights = fake_manifest(tmp_path, 12)
    working = decode.clips

    def clips(night, settings):
        if night.night_id == "n03":
            raise UserError("video ends at 0 s, expected 540 s")
        if night.night_id == "n07":
            raise UserError("night n07: no channel C3-A2")
        none = night.night_id == "n09"
        return FakeClips(night, settings, []) if none else working(night, settings)

    monkeypatch.setattr(decode, "clips", clips)
    with pytest.raises(UserError, match="3 of 12 nights cannot be used, listed above"):
        prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    lines = capfd.readouterr().err.splitlines()
    assert "night n03: video ends at 0 s, expected 540 s" in lines
    assert "night n07: no channel C3-A2" in lines
    assert any(line.startswith("night n09: no clip") for line in lines)
    assert not list((tmp_path / "data").glob("s3ve-*"))

    # The manifest without them: the nine good nights are there already.
    write_manifest(
        manifest, [night for night in nights if night.night_id not in ("n03", "n07", "n09")]
    )
    assert len(decoded) == 9
    prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert len(decoded) == 9


def test_nights_decoded_otherwise_are_not_taken(tmp_path, monkeypatch, decoded):
    """A build that failed left nights behind; one has a new recording, then all another size."""
    manifest, nights = fake_manifest(tmp_path, 12)
    with pytest.raises(UserError, match="no part of the split"):
        value = {"settings": {}, "train": ["s01"], "validation": ["s02"], "test": ["s00"]}
        (tmp_path / "mine.json").write_text(json.dumps(value))
        settings = settings_of(manifest, split_file=tmp_path / "mine.json")
        prepare(settings, tmp_path / "data", jobs=1)
    assert len(decoded) == 12
    nights[5].psg.write_bytes(b"z" * nights[5].psg.stat().st_size)
    settings = settings_of(manifest)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(building, "_write_shards", _interrupt)
        prepare(settings, tmp_path / "data", jobs=1)
    assert decoded[12:] == ["n05"]
    prepare(replace(settings, clips=replace(SETTINGS, width=8)), tmp_path / "data", jobs=1)
    assert len(decoded) == 12 + 1 + 12


def _interrupt(*arguments) -> None:
    raise KeyboardInterrupt


def test_a_bug_in_a_night_keeps_its_traceback_and_names_the_night(tmp_path, monkeypatch):
    manifest, _ = fake_manifest(tmp_path, 12)
    monkeypatch.setattr(decode, "clips", lambda night, settings: [{}])
    with pytest.raises(KeyError) as caught:
        prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert caught.value.__notes__ == ["while reading night n00"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, decoded):
    manifest, _ = fake_manifest(tmp_path, 12)
    working = decode.clips

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    def clips(night, settings):
        if night.night_id != "n05":
            return working(night, settings)
        return FakeClips(night, settings, clip_indices("n05"), full)

    monkeypatch.setattr(decode, "clips", clips)
    with pytest.raises(OSError, match=r"n05-\w+: no space left .* more than 0.\d MB"):
        prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    left = sorted(path.name[:3] for path in (tmp_path / "data" / ".decoded").iterdir())
    assert left == ["n00", "n01", "n02", "n03", "n04"]
    monkeypatch.setattr(decode, "clips", working)
    folder = prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert sum(len(open_split(folder, split)) for split in SPLITS) == sum(
        len(clip_indices(f"n{number:02d}")) for number in range(12)
    )


_BUILD = """
import os, signal, sys, time
from pathlib import Path
from input_pipeline.datasets import DatasetSettings, building, decode, prepare
from tests.input_pipeline.fake_nights import SETTINGS, FakeClips, clip_indices

signal.signal(signal.SIGINT, signal.default_int_handler)  # shells ignore it in the background
stop_at = sys.argv[3]

def stop():
    os.write(1, b"here\\n")
    time.sleep(60)
    os._exit(0)

def clips(night, settings):
    then = stop if night.night_id == stop_at else int
    return FakeClips(night, settings, clip_indices(night.night_id), then)

def advance(self, count=1, note=None):
    if stop_at == self.description:
        stop()

decode.clips = clips
building.Progress.advance = advance
prepare(DatasetSettings("s3ve", Path(sys.argv[1]), clips=SETTINGS), Path(sys.argv[2]), jobs=1)
"""


@pytest.mark.parametrize("stop_at", ["n04", "write clips"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_goes_on_where_it_was(tmp_path, root, decoded, stop_at, how):
    manifest, _ = fake_manifest(tmp_path, 12)
    data = tmp_path / "data"
    command = [sys.executable, "-c", _BUILD, str(manifest), str(data), stop_at]
    with subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout.readline() == "here\n"
        process.send_signal(how)
        assert process.wait(timeout=600) != 0
    assert not list(data.glob("s3ve-*"))
    if how == signal.SIGINT:
        assert not list(data.rglob(".unfinished-*"))
    folder = prepare(settings_of(manifest), data, jobs=1)
    assert decoded == ([f"n{number:02d}" for number in range(4, 12)] if stop_at == "n04" else [])
    assert len(open_split(folder, "train")) > 0
    assert not list(data.rglob(".unfinished-*"))


def _hold(lock: str, held, release) -> None:
    from input_pipeline.files import only_one

    with only_one(lock, ""):
        held.set()
        release.wait(30)


def test_one_build_at_a_time(tmp_path, decoded, capfd):
    manifest, _ = fake_manifest(tmp_path, 12)
    context = multiprocessing.get_context("spawn")
    held, release = context.Event(), context.Event()
    other = context.Process(
        target=_hold, args=(str(tmp_path / "data" / ".build.lock"), held, release)
    )
    other.start()
    assert held.wait(30)
    timer = multiprocessing.get_context("spawn").Process(target=_release_later, args=(release,))
    timer.start()
    prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert "waiting for another build" in capfd.readouterr().err
    assert release.is_set()
    for process in (other, timer):
        process.join(30)


def _release_later(release) -> None:
    time.sleep(0.3)
    release.set()


def test_a_full_disk_while_shards_are_written(tmp_path, root):
    """The files of the dataset may grow to 20 kB only; decoding is let through before."""
    manifest, _ = fake_manifest(tmp_path, 12)
    code = _BUILD.replace(
        "prepare(",
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "write = building._write_shards\n"
        "def limited(*arguments):\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "    write(*arguments)\n"
        "building._write_shards = limited\n"
        "prepare(",
    )
    command = [sys.executable, "-c", code, str(manifest), str(tmp_path / "data"), "never"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=1200)
    assert "file too large; it needs about" in done.stderr
    assert not list((tmp_path / "data").glob("s3ve-*"))
    assert not list((tmp_path / "data").glob(".unfinished-*"))


def test_settings_that_do_not_fit_are_refused():
    for wrong in ({"name": "s4"}, {"name": "s3ve"}, {"name": "simulated"}):
        with pytest.raises(UserError, match=f"dataset '?{wrong['name']}"):
            DatasetSettings(**wrong)


def test_simulated_nights_go_the_same_way(tmp_path, monkeypatch, decoded):
    asked = []

    def fake_simulation(settings, root, jobs=None):
        asked.append(simulated_nights.nights_folder(settings, root))
        return [fake_night(tmp_path, number) for number in range(12)]

    monkeypatch.setattr(simulated_nights, "simulated_nights", fake_simulation)
    from input_pipeline.simulation import SimulationSettings

    settings = DatasetSettings(
        "simulated", simulation=SimulationSettings(nights=12), clips=SETTINGS
    )
    folder = prepare(settings, tmp_path / "data", jobs=1)
    info = open_split(folder, "train").info
    assert info.simulated and info.name == "simulated" and folder.name.startswith("simulated-")
    assert prepare(settings, tmp_path / "data", jobs=1) == folder and len(asked) == 1
    more = replace(settings, simulation=SimulationSettings(nights=13))
    assert prepare(more, tmp_path / "data", jobs=1) != folder
    assert asked[0] == asked[1]  # the nights that are there can be used again


def test_tensorflow_is_not_needed(tmp_path, root):
    """Nobody imports it while a dataset is built and read."""
    manifest, _ = fake_manifest(tmp_path, 12)
    code = (
        _BUILD.replace("prepare(Data", "folder = prepare(Data")
        + "from input_pipeline.loader import Loader\n"
        "from input_pipeline.sampling import Sampling\n"
        "from input_pipeline.source import open_split\n"
        "source = open_split(folder, 'test')\n"
        "with Loader(source, Sampling(4), ('video', 'eeg')).evaluate(8) as batches:\n"
        "    assert sum(batch['mask'].sum() for batch in batches) == len(source)\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    command = [sys.executable, "-c", code, str(manifest), str(tmp_path / "data"), "never"]
    subprocess.run(command, cwd=root, check=True, timeout=1200)


def test_records_keep_their_order_over_several_shards(tmp_path, monkeypatch, decoded):
    monkeypatch.setattr("input_pipeline.datasets.shards.SHARD_BYTES", 300_000)
    monkeypatch.setattr("input_pipeline.datasets.frame_files.SHARD_BYTES", 5_000)
    manifest, _ = fake_manifest(tmp_path, 12)
    folder = prepare(settings_of(manifest), tmp_path / "data", jobs=1)
    assert len(list(folder.glob("train.frames-*"))) > 3  # 288 bytes a clip
    assert len(list(folder.glob("*-train.array_record-*"))) == 3  # 15 kB a clip
    source = open_split(folder, "train")
    for row, clip in enumerate(source):
        table = source.table
        made = fake_clip(str(table.night_id[row]), int(table.clip_index[row]))
        np.testing.assert_array_equal(clip["video"], made["video"])
        np.testing.assert_array_equal(clip["eeg"], made["eeg"])
