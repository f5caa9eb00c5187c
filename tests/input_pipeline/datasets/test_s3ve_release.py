"""S3VE as its authors hand it out: a tree made in that layout comes out clip by clip."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.signal import resample_poly

from input_pipeline import build
from input_pipeline.clips import ClipSettings
from input_pipeline.datasets.release_labels import read_labels
from input_pipeline.datasets.s3ve_release import ReleaseClips, ReleaseSettings, release_nights
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS

SIZE = ClipSettings(frame_rate=0.4, height=4, width=6, eeg_rate=128.0)  # 12 frames a clip
FRAMES = 24  # in a folder: each second one is taken
NIGHTS = ("20210413", "20210414", "20210415", "20210416")
WHOLE = "20210416"  # its EEG is one file
CLIPS = 6
LABELS = ("W", "N1", "N2", "N3", "R")
ALPHABET = ["N1", "N2", "N3", "R", "W"]
NUMBER = {"N3": 0, "W": 1, "R": 2, "N1": 3, "N2": 4}  # of y in the file of the whole night


def label_of(night, place):
    return LABELS[(NIGHTS.index(night) + place) % 5]


def clip_id(night, place):
    return f"{night}_{place}_{label_of(night, place)}"


def volts(night):
    """EEG [clips, 3840] of the size of an EEG in volts."""
    rng = np.random.default_rng(NIGHTS.index(night))
    return (rng.normal(0, 3e-5, (CLIPS, 3840))).astype(np.float32)


def grey(night, place, number):
    return 40 * NIGHTS.index(night) + 5 * place + number


def write_night(folder, eeg, y):
    x = np.zeros((len(eeg), 13, 3840), np.float32)
    x[:, 1], x[:, 2] = -eeg, eeg
    np.savez(folder / "outputeeg" / "test" / f"{WHOLE}.npz", x=x, y=y, fs=128)


@pytest.fixture
def release(tmp_path):
    folder = tmp_path / "S3VE"
    (folder / "outputeeg" / "test").mkdir(parents=True)
    database = {}
    for night in NIGHTS:
        for place, eeg in enumerate(volts(night)):
            name, label = clip_id(night, place), label_of(night, place)
            annotation = {"label": label, "segment": [1, FRAMES + 1]}
            database[name] = {"subset": "training", "annotations": annotation}
            if night != WHOLE:
                file = folder / "EEG_Clip_C4" / night / f"EEG_{name}.npy"
                file.parent.mkdir(parents=True, exist_ok=True)
                np.save(file, eeg if place else eeg[None])
            images = folder / "LD-Data" / "fc_rs_image" / label / name
            images.mkdir(parents=True)
            for number in range(FRAMES):
                image = Image.new("RGB", (12, 8), (grey(night, place, number),) * 3)
                image.save(images / f"image_{number + 1:05d}.jpg", quality=95)
    write_night(folder, volts(WHOLE), [NUMBER[label_of(WHOLE, place)] for place in range(CLIPS)])
    annotations = {"labels": ALPHABET, "database": database}
    (folder / "ucf51_01.json").write_text(json.dumps(annotations))
    return folder


def clips_of(folder, night, settings=SIZE, **options):
    nights = {each.night_id: each for each in release_nights(ReleaseSettings(folder, **options))}
    return ReleaseClips(nights[night], settings)


@pytest.mark.parametrize("night", [NIGHTS[1], WHOLE])
def test_every_clip_comes_out_as_it_was_put_in(release, night):
    """Also where a Mac has left a file beside each, and the labels do not count the frames."""
    annotations = release / "ucf51_01.json"
    names = json.loads(annotations.read_text())["database"]
    annotations.unlink()
    annotations.with_name(f"._{annotations.name}").write_bytes(b"no file of the release")
    numbered = {label: k for k, label in enumerate(LABELS, 1)}
    rows = [(name.split("_")[-1], name) for name in names]
    listed = "".join(f"{label}/{name}.mp4 {numbered[label]}\n" for label, name in rows)
    (release / "trainlist01.txt").write_text(listed)
    (release / "classInd.txt").write_text("".join(f"{k} {n}\n" for n, k in numbered.items()))
    for file in [path for path in release.rglob("*") if path.is_file() and night in str(path)]:
        file.with_name(f"._{file.name}").write_bytes(b"no file of the release")
    read = clips_of(release, night)
    clips = list(read)
    assert [clip["clip_index"] for clip in clips] == list(range(CLIPS))
    assert read.counts == {"kept": CLIPS} and "the EEG's numbers are taken for V" in read.notes
    for place, (clip, eeg) in enumerate(zip(clips, volts(night), strict=True)):
        np.testing.assert_array_equal(clip["eeg"], eeg * np.float32(1e6))
        assert clip["stage"] == LABELS.index(label_of(night, place))
        expected = [grey(night, place, number) for number in range(0, FRAMES, 2)]
        np.testing.assert_allclose(clip["video"].mean((1, 2, 3)), expected, atol=1)
        assert clip["video"].shape == (12, 4, 6, 1)


def test_other_channels_units_and_rates(release):
    (first, *_) = clips_of(release, WHOLE, channel="C3-M2")
    np.testing.assert_array_equal(first["eeg"], -volts(WHOLE)[0] * np.float32(1e6))
    (first, *_) = clips_of(release, NIGHTS[0], unit="mV")
    np.testing.assert_array_equal(first["eeg"], volts(NIGHTS[0])[0] * np.float32(1e3))
    whole = resample_poly(volts(NIGHTS[0]).reshape(-1).astype(np.float64) * 1e6, 125, 128)
    clips = list(clips_of(release, NIGHTS[0], replace(SIZE, eeg_rate=125.0)))
    found = np.concatenate([clip["eeg"] for clip in clips])
    inner = slice(100, -100)  # outside the night the filters see different things
    np.testing.assert_allclose(found[inner], whole[inner], atol=1e-3)


def test_what_is_missing_is_counted_and_its_neighbours_stay(release):
    night = NIGHTS[0]
    (release / "EEG_Clip_C4" / night / f"EEG_{clip_id(night, 1)}.npy").unlink()
    images = release / "LD-Data" / "fc_rs_image"
    one = images / label_of(night, 2) / clip_id(night, 2)
    (one / "image_00003.jpg").unlink()  # the second that is taken: the first shows in its place
    lost = images / label_of(night, 3) / clip_id(night, 3)
    for number in (1, 3, 5, 7):
        (lost / f"image_{number:05d}.jpg").unlink()
    gone = images / label_of(night, 4) / clip_id(night, 4)
    gone.rename(release / "elsewhere")
    read = clips_of(release, night)
    clips = {clip["clip_index"]: clip for clip in read}
    assert read.counts == {"kept": 3, "no EEG": 1, "missing frames": 1, "no frames": 1}
    assert sorted(clips) == [0, 2, 5]
    np.testing.assert_array_equal(clips[5]["eeg"], volts(night)[5] * np.float32(1e6))
    np.testing.assert_array_equal(clips[2]["video"][1], clips[2]["video"][0])


def test_the_order_of_classes_is_the_files(release, tmp_path):
    annotations = release / "ucf51_01.json"
    assert read_labels([annotations]).classes == tuple(ALPHABET)
    value = json.loads(annotations.read_text())
    lists = {
        "classInd.txt": [f"{number} {label}" for number, label in enumerate(LABELS, 1)],
        "trainlist01.txt": [
            f"{entry['annotations']['label']}/{name}.mp4 "
            f"{LABELS.index(entry['annotations']['label']) + 1}"
            for name, entry in value["database"].items()
        ],
    }
    for name, lines in lists.items():
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    labels = read_labels([tmp_path / name for name in lists])
    assert labels.classes == LABELS
    by_json = read_labels([annotations]).clips
    assert [clip.label for clip in labels.clips] == [clip.label for clip in by_json]
    (tmp_path / "classInd.txt").write_text("\n".join(f"{i} {n}" for i, n in enumerate(ALPHABET, 1)))
    with pytest.raises(UserError, match=r"trainlist01.txt: line 1: class number and label differ"):
        read_labels([tmp_path / name for name in lists])


def change(key, value):
    def damage(folder):
        path = folder / "ucf51_01.json"
        content = json.loads(path.read_text())
        entry = content["database"][clip_id(NIGHTS[0], 0)]
        target = content if key in content else entry["annotations"]
        target[key] = value
        path.write_text(json.dumps(content))

    return damage


def short_eeg(folder):
    name = f"EEG_{clip_id(NIGHTS[0], 0)}.npy"
    np.save(folder / "EEG_Clip_C4" / NIGHTS[0] / name, np.zeros(3000, np.float32))


def pickled_eeg(folder):
    name = f"EEG_{clip_id(NIGHTS[0], 0)}.npy"
    np.save(folder / "EEG_Clip_C4" / NIGHTS[0] / name, np.array([{}], object), allow_pickle=True)


def broken_image(folder):
    name = clip_id(NIGHTS[0], 0)
    path = folder / "LD-Data" / "fc_rs_image" / label_of(NIGHTS[0], 0) / name / "image_00001.jpg"
    path.write_bytes(path.read_bytes()[:200])


def wrong_y(folder):
    write_night(folder, volts(WHOLE), np.arange(CLIPS) % 4)


def two_files(folder):
    (folder / f"{WHOLE}_again.npz").write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "night", "said"),
    [
        (change("labels", ["W", "N1", "N2", "N3"]), NIGHTS[0], "4 names; expected each stage once"),
        (change("labels", (*LABELS[:4], "W")), NIGHTS[0], "5 names; expected each stage once"),
        (change("database", {}), NIGHTS[0], "no database"),
        (change("database", {"John Doe": {}}), NIGHTS[0], "entry 1: no annotations"),
        (change("label", "N2"), NIGHTS[0], "entry 1: the clip's name says another stage"),
        (change("segment", [1, "x"]), NIGHTS[0], r"entry 1: expected a segment \[1"),
        (short_eeg, NIGHTS[0], r"EEG of clip 0: float32 \(3000,\); expected float \(3840,\)"),
        (pickled_eeg, NIGHTS[0], "EEG of clip 0: no NumPy array"),
        (broken_image, NIGHTS[0], "clip 0: image_00001.jpg is no whole JPEG image"),
        (wrong_y, WHOLE, "another stage by y|several numbers for one stage"),
        (two_files, WHOLE, "EEG in 2 files of nights and 0 of clips"),
        (lambda folder: (folder / "ucf51_01.json").unlink(), WHOLE, "0 label files in JSON"),
    ],
)
def test_what_is_wrong_is_one_line(release, damage, night, said):
    damage(release)
    with pytest.raises(UserError, match=said) as caught:
        list(clips_of(release, night))
    assert "\n" not in str(caught.value) and "Doe" not in str(caught.value)


def test_it_is_built_like_any_other_data_set(release, tmp_path, capsys):
    out = ["--out", str(tmp_path / "data"), "--jobs", "1"]
    size = ["--height", "4", "--width", "6", "--frame-rate", "0.4"]
    arguments = ["--dataset", "s3ve_release", "--release", str(release), *size, *out]
    build.main(arguments)
    *_, folder = capsys.readouterr().out.splitlines()
    clips = {}
    for split in SPLITS:
        source = open_split(folder, split)
        assert (source.info.eeg_rate, source.info.samples) == (128, 3840)
        for row in range(len(source)):
            clip = source[row]
            clips[str(source.table.night_id[row]), int(source.table.clip_index[row])] = clip
    assert len(clips) == CLIPS * len(NIGHTS)
    for (night, place), clip in clips.items():
        np.testing.assert_array_equal(clip["eeg"], volts(night)[place] * np.float32(1e6))
        assert clip["stage"] == LABELS.index(label_of(night, place))
    short_eeg(release)
    with pytest.raises(UserError, match="1 of 4 nights cannot be used"):
        build.main(arguments)


def test_its_options_are_its_own(tmp_path, capsys):
    for arguments in (["--release", "x"], ["--dataset", "s3ve_release"]):
        with pytest.raises(SystemExit, match="2"):
            build.main([*arguments, "--out", str(tmp_path)])
        assert "--release" in capsys.readouterr().err
