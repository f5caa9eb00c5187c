"""Retrieval among graphs: what the figures mean, which groups are drawn, which runs are refused."""

import json

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling
from sacd_jax import graph_retrieval as command
from sacd_jax.config import EncoderConfig, ObjectiveConfig, OptimizerConfig, RunConfig
from sacd_jax.models.structure_graph import StructureGraph
from sacd_jax.objectives.sacd import Sacd
from sacd_jax.runs import run_folder
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.training import graph_retrieval
from sacd_jax.training.graph_retrieval import draw, retrieval
from sacd_jax.training.loop import train
from tests.input_pipeline.fake_nights import SETTINGS, fake_clips, fake_manifest

GRAPH = {
    "input_dim": 6,
    "node_dim": 8,
    "edge_dim": 4,
    "message_dim": 8,
    "update_dim": 8,
    "graph_dim": 12,
}


def table(stages: list[int]) -> ClipTable:
    """Two nights of as many clips each, all in a row."""
    count = len(stages)
    nights = np.repeat(["a", "b"], count)
    clips = np.tile(np.arange(count), 2)
    return ClipTable.of_columns(nights, nights, clips, [*stages, *stages], [1.0] * 2 * count)


def test_nearest_to_themselves_is_right_every_time():
    vectors = np.random.default_rng(0).normal(size=(16, 3))
    distance = ((vectors[:, None] - vectors[None]) ** 2).sum(-1)
    found = retrieval(distance)
    assert found["video_to_eeg"] == found["eeg_to_video"] == found["mean_rank"] == 1.0
    assert found["distance_own"] == 0.0
    assert found["distance_other"] == pytest.approx(distance.sum() / (16 * 15))


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_strangers_find_each_other_at_chance(size, seed):
    distance = np.random.default_rng(seed).random((size, size))
    shifted = [retrieval(np.roll(distance, shift, axis=1)) for shift in range(size)]
    for name, chance in (
        ("video_to_eeg", 1 / size),
        ("eeg_to_video", 1 / size),
        ("mean_rank", (size + 1) / 2),
    ):
        assert np.mean([one[name] for one in shifted]) == pytest.approx(chance)


@pytest.mark.parametrize("size", [2, 16])
def test_graphs_that_are_all_alike_are_at_chance(size):
    found = retrieval(np.full((size, size), 0.41))
    assert found["video_to_eeg"] == found["eeg_to_video"] == pytest.approx(1 / size)
    assert found["mean_rank"] == (size + 1) / 2


def test_the_two_directions_are_told_apart():
    # Every video graph has its own nearest; two EEG graphs have the third video graph nearest.
    distance = np.array([[2.0, 3.0, 9.0], [9.0, 2.0, 9.0], [1.5, 1.0, 0.5]])
    found = retrieval(distance)
    assert found["video_to_eeg"] == 1.0 and found["eeg_to_video"] == pytest.approx(1 / 3)
    assert found["mean_rank"] == pytest.approx((3 * 1 + 2 + 2 + 1) / 6)


def test_groups_are_of_labelled_clips_and_disjoint_or_neighbours():
    clips = table([0, 1, 2, -1, *range(5), *range(5), 0, 1])
    shuffled = draw(np.random.default_rng(0), clips, "shuffled", 7, 4)
    assert shuffled.shape == (7, 4) and len(np.unique(shuffled)) == 28
    assert (clips.stage[shuffled] >= 0).all()
    contiguous = draw(np.random.default_rng(0), clips, "contiguous", 6, 4)
    assert (np.diff(clips.clip_index[contiguous]) == 1).all()
    assert (clips.night_id[contiguous] == clips.night_id[contiguous][:, :1]).all()
    assert (clips.stage[contiguous] >= 0).all()
    with pytest.raises(UserError, match=r"has 7 shuffled groups of 4 clips, expected 8: lower"):
        draw(np.random.default_rng(0), clips, "shuffled", 8, 4)


def embedded(student: np.ndarray, teacher: np.ndarray) -> graph_retrieval.Embedded:
    """Both graph networks are the same, the embeddings are given."""
    network = StructureGraph(**GRAPH)
    params = network.init(jax.random.key(0), np.zeros((1, 4, student.shape[-1])))["params"]
    logits = np.zeros((len(student), 5))
    return graph_retrieval.Embedded(
        "shuffled",
        Sacd(clips_per_graph=4, graph=GRAPH),
        {"student_graph": params, "teacher_graph": params},
        1,
        table([*range(5)] * 6),
        {"embedding": student, "logits": logits},
        {"embedding": teacher, "logits": logits},
    )


def test_same_embeddings_find_each_other_and_others_do_not():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 60, 3)).astype(np.float32)
    same = graph_retrieval.measure(embedded(one, one), 8, 4, 20, 0)
    strangers = graph_retrieval.measure(embedded(one, other), 8, 4, 20, 0)
    for mode in graph_retrieval.MODES:
        graphs = same[mode]["graphs"]
        assert graphs["video_to_eeg"] == graphs["eeg_to_video"] == 1.0
        assert graphs["distance_own"] == pytest.approx(0.0, abs=1e-5)
        assert graphs["distance_other"] > 1e-3
        # No stage is predicted above another: all groups look alike.
        assert same[mode]["stages"]["video_to_eeg"] == pytest.approx(1 / 8)
        assert strangers[mode]["graphs"]["video_to_eeg"] < 0.3


COMMON = {
    "sampling": Sampling(moments=4),
    "batch_size": 16,
    "passes": 1.0,
    "optimizer": OptimizerConfig(learning_rate=0.01),
}
TEACHER = RunConfig("classify", EncoderConfig("mlp", {"width": 8, "embedding_dim": 10}), **COMMON)


def distilling(name: str, options: dict, weights: dict | None = None, **more) -> RunConfig:
    student = EncoderConfig("mlp", {"input_key": "video", "width": 8, "embedding_dim": 12})
    teacher = EncoderConfig("mlp", pretrained="teacher")
    method = ObjectiveConfig(name, options, weights or {})
    return RunConfig("distill", student, teacher, method, **COMMON, **more)


SACD = {"clips_per_graph": 4, "bank_size": 24, "hardest": 8, "graph": GRAPH}
FINISHED = {
    "sacd": distilling("sacd", SACD, teacher_trainable=True),
    "cached": distilling("sacd", {**SACD, "graph_learning_rate": 1e-3}, teacher_cache=True),
}
BEGUN = {
    "begun": distilling("sacd", SACD),
    "no_graph": distilling("sacd", SACD, {"graph": 0.0}),
    "ifd": distilling("ifd", {}),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folder of runs: two finished ones of SACD, others that are refused before their end."""
    folder = tmp_path_factory.mktemp("experiment")
    manifest, _ = fake_manifest(folder, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
        dataset = prepare(settings, folder / "data", jobs=1)
    for name, run in {"teacher": TEACHER, **FINISHED}.items():
        train(run, folder / "runs" / name, dataset)
    for name, run in BEGUN.items():
        run_folder.claim(folder / "runs" / name, run, dataset)
    return folder / "runs"


@pytest.mark.parametrize("name", ["sacd", "cached"])
def test_command_measures_a_finished_run(runs, name, capsys):
    arguments = ["--workdir", str(runs / name), "--split", "train", "--groups", "3", "--draws=4"]
    command.main([*arguments, "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert facts["chance"] == pytest.approx(1 / 3) and facts["clips_per_graph"] == 4
    for mode in graph_retrieval.MODES:
        for one in facts[mode].values():
            assert 0 <= one["video_to_eeg"] <= 1 and 1 <= one["mean_rank"] <= 3
        assert 0 < facts[mode]["graphs"]["distance_own"] < 4
    command.main([*arguments, "--clips_per_graph=3"])
    printed = capsys.readouterr().out
    assert "4 draws of 3 groups of 3 clips" in printed and "chance 0.333" in printed
    assert printed.count("graphs") == 2


def test_both_networks_are_those_of_the_last_step(runs):
    trained, frozen = (graph_retrieval.embed(runs / name, "train") for name in ("sacd", "cached"))
    assert trained.step == frozen.step == 4
    folder = RunFolder(runs / "teacher").teacher_cache("train")
    lent = np.load(folder / "teacher_embedding.npy")
    np.testing.assert_allclose(frozen.teacher["embedding"], lent, rtol=1e-4, atol=1e-5)
    assert np.abs(trained.teacher["embedding"] - lent).max() > 1e-3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("teacher", "holds a run of task classify, expected objective sacd"),
        ("ifd", "holds a run of ifd, expected objective sacd"),
        ("no_graph", r"weights.graph is 0"),
        ("begun", "has no checkpoint: expected a finished run"),
        ("nothing", r"no config.json in"),
    ],
)
def test_other_runs_are_refused(runs, name, words):
    with pytest.raises(UserError, match=words):
        command.main(["--workdir", str(runs / name)])


def test_a_single_candidate_is_refused(runs):
    with pytest.raises(UserError, match="--groups is 1, expected at least 2"):
        command.main(["--workdir", str(runs / "sacd"), "--groups", "1"])
