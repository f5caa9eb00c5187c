"""Building a dataset: what is in it and what it is called."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from input_pipeline.datasets import (
    ClipTable,
    DatasetSettings,
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
    BUILD,
    SETTINGS,
    clip_indices,
    fake_clip,
    fake_manifest,
    fake_night,
    settings_of,
)


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
        BUILD.replace("prepare(Data", "folder = prepare(Data")
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
