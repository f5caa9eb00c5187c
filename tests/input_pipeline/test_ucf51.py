"""UCF51: the benchmark's classes and split, videos stored frame by frame, windows of 16 frames."""

import itertools
import shutil
import tarfile

import numpy as np
import pytest
import tensorflow_datasets as tfds

from input_pipeline.datasets import DatasetSettings, prepare
from input_pipeline.datasets.jpeg import JpegFrames
from input_pipeline.datasets.ucf51 import Ucf51Settings, class_names, read_archive
from input_pipeline.errors import UserError
from input_pipeline.loader import Loader
from input_pipeline.sampling import Sampling
from input_pipeline.source import open_split

from .fake_ucf51 import (
    CLASSES,
    HEIGHT,
    WIDTH,
    add,
    embedding,
    frame_count,
    npy,
    video_id,
    write_archive,
    write_avi,
    write_videos,
)

CONSECUTIVE = Sampling(moments=16, mode="consecutive")

# Class, videos, of them in the train and the test split: counted in the published archive.
PUBLISHED = """
ApplyEyeMakeup 145 101 44, ApplyLipstick 114 82 32, Archery 145 104 41, BabyCrawling 132 97 35,
BalanceBeam 108 77 31, BandMarching 155 112 43, BasketballDunk 127 90 37, BlowDryHair 131 93 38,
BlowingCandles 109 76 33, BodyWeightSquats 112 82 30, Bowling 155 112 43,
BoxingPunchingBag 163 114 49, BoxingSpeedBag 134 97 37, BrushingTeeth 131 95 36,
CliffDiving 138 99 39, CricketBowling 139 103 36, CricketShot 167 118 49,
CuttingInKitchen 110 77 33, FieldHockeyPenalty 126 86 40, FloorGymnastics 125 89 36,
FrisbeeCatch 126 89 37, FrontCrawl 137 100 37, Haircut 130 97 33, HammerThrow 150 105 45,
Hammering 140 107 33, HandstandPushups 124 96 28, HandstandWalking 111 77 34,
HeadMassage 147 106 41, IceDancing 158 112 46, Knitting 123 89 34, LongJump 131 92 39,
MoppingFloor 110 76 34, ParallelBars 114 77 37, PlayingCello 164 120 44, PlayingDaf 151 110 41,
PlayingDhol 164 115 49, PlayingFlute 155 107 48, PlayingSitar 157 113 44, Rafting 111 83 28,
ShavingBeard 161 118 43, Shotput 144 98 46, SkyDiving 110 79 31, SoccerPenalty 137 96 41,
StillRings 112 80 32, SumoWrestling 116 82 34, Surfing 126 93 33, TableTennisShot 140 101 39,
Typing 136 93 43, UnevenBars 104 76 28, WallPushups 130 95 35, WritingOnBoard 152 107 45
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Folder with `features.tar.gz` and `videos`."""
    folder = tmp_path_factory.mktemp("ucf51")
    write_archive(folder / "features.tar.gz")
    write_videos(folder / "videos")
    return folder


def settings(raw, videos=True, **options) -> DatasetSettings:
    own = Ucf51Settings(
        raw / "features.tar.gz", raw / "videos" if videos else None, HEIGHT, WIDTH, **options
    )
    return DatasetSettings("ucf51", ucf51=own)


@pytest.fixture(scope="module")
def dataset(raw, tmp_path_factory):
    return prepare(settings(raw), tmp_path_factory.mktemp("built"), jobs=1)


def test_published_archive_has_the_published_classes_and_split(shared_data):
    archive = shared_data / "ucf51-cnn14-embeddings" / "audiocnn14embed512_features.tar.gz"
    videos = read_archive(archive)
    found = {name: [0, 0, 0] for name in class_names(videos)}
    for video in videos:
        found[video.class_name][0] += 1
        found[video.class_name][1 if video.split == "train" else 2] += 1
    rows = [row.split() for row in PUBLISHED.split(",")]
    assert list(found.items()) == [(name, [int(n) for n in counts]) for name, *counts in rows]
    assert np.sum(list(found.values()), axis=0).tolist() == [6837, 4893, 1944]
    capital = [video for video in videos if "HandStand" in video.video_id]
    assert len(capital) == 124 and {video.class_name for video in capital} == {"HandstandPushups"}
    vectors = np.stack([video.embedding for video in videos])
    assert vectors.min() == 0 and vectors.max() == pytest.approx(11.7136, abs=1e-4)
    norms = np.linalg.norm(vectors, axis=1)
    assert norms.mean() == pytest.approx(16.05, abs=0.005) and norms.min() > 0


def test_labels_come_from_folders_and_splits_from_groups(dataset):
    for split, groups in (("train", (8, 25)), ("test", (1, 7)), ("validation", (1, 7))):
        source = open_split(dataset, split)
        assert source.info.classes == CLASSES
        expected = [(video_id(name, group), name) for name in CLASSES for group in groups]
        found = [CLASSES[label] for label in source.table.stage]
        assert list(zip(source.table.night_id.tolist(), found, strict=True)) == sorted(expected)
        for row in range(len(source)):
            group = int(source.table.subject_id[row][-2:])
            np.testing.assert_array_equal(
                source[row]["audio_embedding"], embedding(found[row], group)
            )
            assert source[row]["stage"] == source.table.stage[row]


def test_every_frame_is_stored_in_its_place(dataset):
    source = open_split(dataset, "train")
    for row in range(len(source)):
        video = source[row]["video"]
        name = CLASSES[source.table.stage[row]]
        count = frame_count(name, int(source.table.subject_id[row][-2:]))
        assert len(video) == source.table.frames[row] == count
        frames = np.empty((count, HEIGHT, WIDTH, 3), np.uint8)
        video.take(np.arange(count), frames)
        left = frames[:, :, : WIDTH // 2 - 4].mean((1, 2))
        # Grey levels of television range, through two codecs of 8 bits.
        np.testing.assert_allclose(left, 5 * np.arange(count)[:, None] * np.ones(3), atol=6)
        right = frames[:, :, WIDTH // 2 + 4 :].mean((0, 1, 2))
        np.testing.assert_allclose(right, (200, 20, 20), atol=12)


def test_tfds_reads_the_same(dataset):
    official = tfds.builder_from_directory(dataset).as_data_source("test")
    for one, other in zip(open_split(dataset, "test"), official, strict=True):
        assert one["stage"] == other["stage"]
        np.testing.assert_array_equal(one["audio_embedding"], other["audio_embedding"])
        frames = np.zeros((2, 3, HEIGHT, WIDTH, 3), np.uint8)
        one["video"].take(np.array([0, 5, 5]), frames[0])
        JpegFrames(memoryview(other["jpeg"]), other["frame_ends"]).take(
            np.array([0, 5, 5]), frames[1]
        )
        np.testing.assert_array_equal(frames[0], frames[1])
        assert frames.any()


def test_training_clips_are_16_frames_in_a_row(dataset):
    source = open_split(dataset, "train")
    keys = ("video", "audio_embedding")
    batches = Loader(source, CONSECUTIVE, keys).train(4, seed=0)
    starts = set()
    with batches:
        for batch in itertools.islice(batches, 30):
            assert batch["video"].shape == (4, 16, HEIGHT, WIDTH, 3)
            assert batch["audio_embedding"].shape == (4, 512)
            grey = batch["video"][:, :, :, : WIDTH // 2 - 4].mean((2, 3, 4)) / 5
            numbers = np.rint(grey).astype(int)
            for row, taken in zip(batch["index"], numbers, strict=True):
                frames = int(source.table.frames[row])
                assert np.abs(taken - (taken[0] + np.arange(16))).max() <= 1
                assert taken[0] <= max(frames - 17, 0) + 1
                starts.add((int(row), int(taken[0])))
    assert len(starts) > 2 * len(source)


@pytest.mark.parametrize("processes", [1, 2])
def test_every_window_of_every_video_once(dataset, processes):
    source = open_split(dataset, "test")
    parts = []
    for process in range(processes):
        arguments = {"process_index": process, "process_count": processes}
        with Loader(source, CONSECUTIVE, ("video",), **arguments).evaluate(4) as batches:
            parts += list(batches)
    rows = np.concatenate([batch["index"][batch["mask"]] for batch in parts])
    expected = -(-source.table.frames // 16)
    np.testing.assert_array_equal(np.bincount(rows), expected)
    with Loader(source, CONSECUTIVE, ("audio_embedding",)).evaluate(4) as all_:
        rows = np.concatenate([batch["index"][batch["mask"]] for batch in all_])
    np.testing.assert_array_equal(rows, np.arange(len(source)))  # no frames, no windows


def test_embeddings_alone_are_a_data_set(raw, tmp_path):
    dataset = prepare(settings(raw, videos=False), tmp_path)
    source = open_split(dataset, "train")
    assert source.info.inputs == ("audio_embedding",) and len(source) == 6
    with pytest.raises(UserError, match="batch key 'video': clips hold audio_embedding"):
        Loader(source, CONSECUTIVE, ("video",))
    other = prepare(settings(raw, videos=False, quality=50), tmp_path)
    assert other == dataset  # frames are not stored, so their form does not matter


def test_spread_frames_need_clips_of_one_length(dataset):
    source = open_split(dataset, "train")
    with pytest.raises(UserError, match="clips differ in length; expected 'consecutive'"):
        Loader(source, Sampling(), ("video",))


def test_another_shape_is_covered_and_cut(tmp_path):
    write_archive(tmp_path / "features.tar.gz")
    write_videos(tmp_path / "videos")
    odd = tmp_path / "videos" / "Typing" / f"{video_id('Typing', 8)}.avi"
    write_avi(odd, 20, height=HEIGHT, width=2 * WIDTH)
    source = open_split(prepare(settings(tmp_path), tmp_path / "data", jobs=1), "train")
    row = source.table.night_id.tolist().index(video_id("Typing", 8))
    frames = np.empty((1, HEIGHT, WIDTH, 3), np.uint8)
    source[row]["video"].take(np.array([10]), frames)
    red = frames[0].mean(0)[:, 0] > 125
    np.testing.assert_array_equal(red[[2, -3]], [False, True])  # the middle: grey left, red right
    assert abs(int(np.argmax(red)) - WIDTH // 2) <= 2


def test_a_video_that_cannot_be_used_is_named_and_the_others_are_kept(raw, tmp_path):
    shutil.copytree(raw, tmp_path / "raw")
    broken = tmp_path / "raw" / "videos" / "Typing" / f"{video_id('Typing', 8)}.avi"
    content = broken.read_bytes()
    broken.write_bytes(b"no video")
    with pytest.raises(UserError, match=r"1 of 12 videos cannot be used: video v_Typing_g08_c01"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data", jobs=1)
    assert len(list((tmp_path / "data" / ".jpeg").iterdir())) == 11
    broken.write_bytes(content)
    prepare(settings(tmp_path / "raw"), tmp_path / "data", jobs=1)
    assert not (tmp_path / "data" / ".jpeg").exists()
    broken.unlink()
    with pytest.raises(UserError, match="1 of 12 videos are missing, the first is v_Typing_g08"):
        prepare(settings(tmp_path / "raw"), tmp_path / "data", jobs=1)


GOOD = npy(np.ones(512, np.float32))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("f/A/v_A_g01_c01.npy", npy(np.array([{}], object)), "no NumPy array"),
        ("f/A/v_A_g01_c01.npy", GOOD[:-8], "no NumPy array"),
        ("f/A/v_A_g01_c01.npy", npy(np.ones(5, np.float32)), r"float32 \[5\]; expected 512"),
        ("f/A/v_A_g01_c01.npy", npy(np.full(512, np.nan)), "expected 512 finite numbers"),
        ("f/A/v_A_g01_c01.npy", bytes(1 << 17), "has 131072 bytes, no vector"),
        ("f/A/archery.npy", GOOD, "video 'archery': expected a name like"),
        ("readme.txt", b"", "holds no embeddings"),
    ],
)
def test_what_is_wrong_in_the_archive_is_one_line(tmp_path, name, content, words):
    path = tmp_path / "features.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        add(archive, name, content)
    with pytest.raises(UserError, match=words):
        read_archive(path)


def test_names_that_lead_elsewhere_write_nothing(tmp_path):
    path = tmp_path / "inner" / "features.tar.gz"
    path.parent.mkdir()
    with tarfile.open(path, "w:gz") as archive:
        add(archive, "../../escaped/v_Escaped_g01_c01.npy", GOOD)
        link = tarfile.TarInfo("f/Archery/v_Archery_g01_c02.npy")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    (video,) = read_archive(path)
    assert video.class_name == "escaped" and sorted(tmp_path.rglob("*")) == [path.parent, path]


def test_no_archive_and_a_cut_one_are_one_line(raw, tmp_path):
    with pytest.raises(UserError, match="no such file"):
        read_archive(tmp_path / "missing.tar.gz")
    cut = tmp_path / "cut.tar.gz"
    cut.write_bytes((raw / "features.tar.gz").read_bytes()[:3000])
    with pytest.raises(UserError, match="cannot be read"):
        read_archive(cut)
