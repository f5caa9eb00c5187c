"""A copy of a machine's share of a data set: what is there is right, what is not is refused."""

import shutil

import numpy as np
import pytest

from input_pipeline import copy_share
from input_pipeline.datasets import frame_files
from input_pipeline.datasets.dataset_files import SHARE_FILE
from input_pipeline.errors import UserError
from input_pipeline.groups import share_bounds
from input_pipeline.source import open_split


@pytest.fixture
def data(small_dataset, tmp_path):
    """The data set, its training frames in several files."""
    folder = tmp_path / "shared" / small_dataset.name
    shutil.copytree(small_dataset, folder)
    source = open_split(folder, "train")
    for path in frame_files.frame_paths(folder, "train"):
        path.unlink()
    videos = [open_split(small_dataset, "train")[row]["video"] for row in range(len(source))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(frame_files, "SHARD_BYTES", 5 * videos[0].nbytes)
        frame_files.write_frames(folder, "train", videos)
    assert len(frame_files.frame_paths(folder, "train")) > 2
    return folder


def run(data, out, *more):
    copy_share.main(["--data", str(data.parent), "--out", str(out), *more])


def test_each_machine_holds_its_rows_and_refuses_the_others(data, tmp_path):
    whole = open_split(data, "train")
    bounds = share_bounds(len(whole), 4)
    for machine in (0, 1):
        run(data, tmp_path / "own", "--shares", "4", "--index", str(machine), "--of", "2")
        copy = tmp_path / "own" / data.name
        held = range(bounds[2 * machine], bounds[2 * machine + 2])
        part = open_split(copy, "train")
        assert part.fingerprint == whole.fingerprint and len(part) == len(whole)
        for row in range(len(whole)):
            if row in held:
                np.testing.assert_array_equal(part[row]["video"], whole[row]["video"])
                np.testing.assert_array_equal(part[row]["eeg"], whole[row]["eeg"])
            else:
                with pytest.raises(UserError, match=f"row {row} of split train is not in this"):
                    part[row]
        tests = open_split(copy, "test")
        np.testing.assert_array_equal(tests[0]["video"], open_split(data, "test")[0]["video"])


def test_a_copy_is_kept_until_another_share_is_asked_for(data, tmp_path, capsys):
    for index, expected in (("0", "copied"), ("0", "was there"), ("1", "copied")):
        run(data, tmp_path / "own", "--shares", "2", "--index", index, "--of", "2")
        assert expected in capsys.readouterr().out


def test_damage_is_noticed_and_nothing_half_copied_stays(data, tmp_path):
    path = frame_files.frame_paths(data, "train")[0]
    content = bytearray(path.read_bytes())
    content[7] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="frames-00000: frame 0 of row 0 is damaged"):
        run(data, tmp_path / "own", "--shares", "2", "--index", "0", "--of", "2")
    assert not list((tmp_path / "own").iterdir())


def test_a_damaged_description_of_the_share_is_refused(data, tmp_path):
    run(data, tmp_path / "own", "--shares", "2", "--index", "0", "--of", "2")
    path = tmp_path / "own" / data.name / SHARE_FILE
    path.write_text(path.read_text().replace("[", "[1"))
    with pytest.raises(UserError, match="share .*copy_share"):
        open_split(path.parent, "train")


def test_frames_in_records_cannot_be_shared_out(recorded_dataset, tmp_path):
    with pytest.raises(UserError, match="frames lie in records"):
        copy_share.copy_share(recorded_dataset, tmp_path / "own", 0, 1, 2)


@pytest.mark.parametrize("wrong", [("4", "2", "2"), ("3", "0", "2"), ("0", "0", "1")])
def test_shares_that_do_not_divide_evenly_are_refused(tmp_path, wrong):
    shares, index, of = wrong
    with pytest.raises(SystemExit):
        run(tmp_path / "x", tmp_path, "--shares", shares, "--index", index, "--of", of)
