"""What is left of a build that failed, was killed or met a full disk, and how it goes on."""

import errno
import json
import multiprocessing
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from input_pipeline.datasets import building, decode, prepare
from input_pipeline.errors import UserError
from input_pipeline.night import write_manifest
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS, SplitSettings

from ..fake_nights import BUILD, SETTINGS, FakeClips, clip_indices, fake_manifest, settings_of


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


@pytest.mark.parametrize("stop_at", ["n04", "write clips"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_build_goes_on_where_it_was(tmp_path, root, decoded, stop_at, how):
    manifest, _ = fake_manifest(tmp_path, 12)
    data = tmp_path / "data"
    command = [sys.executable, "-c", BUILD, str(manifest), str(data), stop_at]
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
    code = BUILD.replace(
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
