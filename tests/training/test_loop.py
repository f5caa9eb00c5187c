"""Runs from their config alone: two stages, two heads, a teacher that trains, frozen parts."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.errors import UserError
from input_pipeline.files import mine_alone
from input_pipeline.sampling import Sampling
from input_pipeline.source import open_split
from sacd_jax import parallel
from sacd_jax.config import EncoderConfig, ObjectiveConfig, OptimizerConfig, RunConfig
from sacd_jax.runs import goodput, log, model_file
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.tasks.by_name import TASKS
from sacd_jax.training import loop, teacher_outputs
from sacd_jax.training.evaluator import evaluate_run
from sacd_jax.training.meters import CLOCK
from sacd_jax.training.profile import Steps
from tests.input_pipeline.fake_nights import SETTINGS, fake_clips, fake_manifest
from tests.objectives.two_layers import OPTIONS

COMMON = {
    "sampling": Sampling(moments=4),
    "batch_size": 16,
    "passes": 2.0,
    "log_every_steps": 1,
    "optimizer": OptimizerConfig(learning_rate=0.01),
}
EEG = EncoderConfig("mlp", {"width": 8, "embedding_dim": 12})
VIDEO = EncoderConfig("mlp", {"input_key": "video", "width": 8, "embedding_dim": 12})
SMALL = {"hidden": 8, "bottleneck": 4}
SEQUENCES = RunConfig(
    "classify",
    EncoderConfig("deepsleepnet", SMALL, parts={"features": "features"}),
    **{**COMMON, "batch_size": 12, "passes": 1.0},
    batch_mode="sequences",
    consecutive_clips=3,
    eval_batch_size=32,
)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[Path, Path]:
    """A built data set, and a folder with a finished network of each modality."""
    folder = tmp_path_factory.mktemp("experiment")
    manifest, _ = fake_manifest(folder, 12)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
        dataset = prepare(settings, folder / "data", jobs=1)
    for name, network in (("eeg", EEG), ("video", VIDEO)):
        loop.train(RunConfig("classify", network, **COMMON), folder / "runs" / name, dataset)
    return dataset, folder / "runs"


def variables(run: Path) -> dict[str, np.ndarray]:
    return flatten_dict(model_file.load(run).variables, sep="/")


def test_frozen_parts_stay_as_they_were_trained_alone(experiment):
    """Experiment A: only the fully connected layer moves, weight decay or not."""
    dataset, runs = experiment
    spec = {"name": "mlp", "options": EEG.options}, {"name": "mlp", "options": VIDEO.options}
    fusion = EncoderConfig(
        "fusion",
        {"second": spec[0], "first": spec[1], "frozen": True},
        parts={"first": "video", "second": "eeg"},
    )
    frozen = OptimizerConfig(learning_rate=1e-5, factors={"first": 0.0, "second": 0.0})
    run = RunConfig("classify", fusion, **{**COMMON, "optimizer": frozen})
    loop.train(run, runs / "a", dataset)
    fused = variables(runs / "a")
    for part, name in (("first", "video"), ("second", "eeg")):
        for key, value in variables(runs / name).items():
            collection, _, rest = key.partition("/")
            np.testing.assert_array_equal(fused[f"{collection}/{part}/{rest}"], value)
    losses = [line["loss"] for line in log.read(runs / "a").lines if line["split"] == "train"]
    assert losses[-1] < losses[0]


def test_a_known_device_gives_mfu_and_steps_can_be_traced(experiment, monkeypatch, capsys):
    dataset, runs = experiment
    monkeypatch.setattr(loop.device_figures, "peak_flops", lambda kind: 1e9)
    loop.train(RunConfig("classify", EEG, **COMMON), runs / "known", dataset, Steps(2, 1))
    lines = [line for line in log.read(runs / "known").lines if line["split"] == "train"]
    # EEG [16, 3750] to 8, 12 and 5 features, with two gradients each; of the input there is none.
    flops = 2 * 16 * (2 * 3750 * 8 + 3 * (8 * 12 + 12 * 5))
    for line in lines:
        assert line["mfu"] == pytest.approx(flops * line["clips_per_second"] / 16 / 1e9)
    assert list(RunFolder(runs / "known").profile.rglob("*.xplane.pb"))
    said = capsys.readouterr().err
    for words in ("compile known: ", "profile known: steps 2 to 2", "time known: ", "training "):
        assert words in said
    (start,) = goodput.read(runs / "known")
    assert start.last_step == lines[-1]["step"] and all(v >= 0 for v in start.seconds.values())


def test_experiments_e_and_f_from_their_configs(experiment):
    dataset, runs = experiment
    sacd = ObjectiveConfig("sacd", {"clips_per_graph": 4, "bank_size": 24}, {"graph": 0.0})
    teacher = replace(VIDEO, pretrained="video")
    frozen = RunConfig("distill", EEG, teacher, sacd, **COMMON)
    trained = replace(frozen, student=replace(EEG, pretrained="eeg"), teacher_trainable=True)
    for name, run in (("e", frozen), ("f", trained)):
        loop.train(run, runs / name, dataset)
        lines = [line for line in log.read(runs / name).lines if line["split"] == "train"]
        assert ("teacher_cross_entropy" in lines[0]) == (name == "f")
        assert model_file.load(runs / name).variables["params"].keys() == (
            model_file.load(runs / "eeg").variables["params"].keys()
        )


def test_a_run_without_any_label_and_one_with_some(experiment):
    """No label at all distils; labels of half the subjects alone make shorter passes."""
    dataset, runs = experiment
    sacd = ObjectiveConfig("sacd", {"clips_per_graph": 4, "bank_size": 24}, {"graph": 0.0})
    teacher = replace(VIDEO, pretrained="video")
    run = RunConfig("distill", EEG, teacher, sacd, **COMMON, label_fraction=0.0)
    with pytest.raises(UserError, match="has 0 groups of 1 labelled clips"):
        loop.train(run, runs / "no labels", dataset)
    loop.train(replace(run, unlabelled="distill", accumulate=2), runs / "distilled", dataset)
    lines = [line for line in log.read(runs / "distilled").lines if line["split"] == "train"]
    assert all(line["cross_entropy"] == line["accuracy"] == 0 < line["jsd"] for line in lines)
    loop.train(RunConfig("classify", EEG, **COMMON, label_fraction=0.5), runs / "half", dataset)
    steps = [log.read(runs / name).lines[-1]["step"] for name in ("half", "eeg", "distilled")]
    assert steps == sorted(set(steps))


@pytest.mark.slow
def test_deepsleepnet_in_two_stages_and_modified_sen(experiment):
    dataset, runs = experiment
    features = RunConfig(
        "classify", EncoderConfig("deepsleepnet_features", {"bottleneck": 4}), **COMMON
    )
    loop.train(replace(features, batch_mode="balanced", passes=1.0), runs / "features", dataset)
    still = OptimizerConfig(learning_rate=0.01, factors={"features": 0.0})
    loop.train(replace(SEQUENCES, optimizer=still), runs / "sequences", dataset)
    first, second = variables(runs / "features"), variables(runs / "sequences")
    taken = [key for key in second if key.startswith("params/features/")]
    assert len(taken) > 20
    for key in taken:
        np.testing.assert_array_equal(first[key], second[key])
    sen = EncoderConfig("sen", {"domains": "subjects", "filters": 4, "bottleneck": 4})
    loop.train(RunConfig("classify", sen, **COMMON), runs / "sen", dataset)
    subjects = set(open_split(dataset, "train").table.subject_id.tolist())
    assert model_file.load(runs / "sen").options["domains"] == len(subjects)
    assert {"domain", "penalty"} <= log.read(runs / "sen").lines[0].keys()


def test_banks_are_dealt_out_and_states_of_sequences_too(experiment):
    dataset, runs = experiment
    source, mesh = open_split(dataset, "train"), parallel.make_mesh()
    crd = ObjectiveConfig("crd", {"negatives": 8, "dim": 4, "bank_sharding": "rows"})
    run = RunConfig("distill", VIDEO, replace(EEG, pretrained="eeg"), crd, **COMMON)
    state = TASKS[run.task].make(run, source, mesh, 4, runs).init(0)
    rows = parallel.sharded(mesh)
    for name, buffer in state.buffers.items():
        assert buffer.sharding == (rows if name.endswith("bank") else parallel.replicated(mesh))
    fresh = replace(SEQUENCES, student=EncoderConfig("deepsleepnet", SMALL))
    carry = TASKS[fresh.task].make(fresh, source, mesh, 4, runs).init(0).carry
    assert {leaf.shape for leaf in jax.tree.leaves(carry)} == {(4, 8)}
    assert all(leaf.sharding == rows for leaf in jax.tree.leaves(carry))


@contextlib.contextmanager
def stopped(step: int):
    """In place of `stop_request`: asks for the stop at a step; the loop looks once in each."""

    class Stop:
        by = None
        looks = 0

        @property
        def requested(self) -> bool:
            self.looks += 1
            return self.looks >= step

    yield Stop()


def test_a_resumed_run_keeps_a_better_network_whose_line_of_the_log_is_lost(
    experiment, monkeypatch, capsys
):
    dataset, runs = experiment
    run, workdir = RunConfig("classify", EEG, **COMMON), runs / "resumed"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "stop_request", lambda: stopped(5))
        loop.train(run, workdir, dataset)
    said = capsys.readouterr().err
    assert "train resumed: 1 x cpu, " in said
    assert " parameters, float32, batch 16 (shuffled), steps 1 to 8" in said
    folder = RunFolder(workdir)
    for split in ("validation", "test"):  # with predictions it would count as finished
        with pytest.raises(UserError, match="resumed: its training stopped at step 5 of 8"):
            evaluate_run(workdir, split)
    best = replace(model_file.load(workdir), accuracy=1.5)  # no later one reaches it
    model_file.save(folder.model, best)
    lines = [
        line if '"validation"' not in line else line[:20]
        for line in folder.metrics.read_text().splitlines()
    ]
    folder.metrics.write_text("\n".join(lines) + "\n")
    loop.train(run, workdir, dataset)
    assert "1 line damaged, the others are kept" in capsys.readouterr().err
    assert folder.finished and model_file.load(workdir).accuracy == 1.5
    steps = [line["step"] for line in log.read(workdir).lines if line["split"] == "train"]
    assert steps == list(range(1, 9))


def test_a_run_that_was_killed_while_it_wrote_its_first_network_goes_on(experiment, monkeypatch):
    dataset, runs = experiment
    run, workdir = RunConfig("classify", EEG, **COMMON), runs / "killed"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "stop_request", lambda: stopped(1))
        loop.train(run, workdir, dataset)
    folder = RunFolder(workdir)
    folder.model.mkdir()
    loop.train(run, workdir, dataset)
    assert folder.finished


def test_a_run_does_not_go_on_with_another_teacher(experiment, monkeypatch):
    dataset, runs = experiment
    shutil.copytree(runs / "eeg", runs / "retrained")
    teacher = replace(EEG, pretrained="retrained")
    run = RunConfig("distill", VIDEO, teacher, ObjectiveConfig("pkt"), **COMMON)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "stop_request", lambda: stopped(3))
        loop.train(run, runs / "taught", dataset)
    stored = model_file.load(runs / "retrained")
    other = jax.tree.map(lambda x: x + np.float32(0.01), stored.variables)
    model_file.save(RunFolder(runs / "retrained").model, replace(stored, variables=other))
    with pytest.raises(UserError, match=r"step 3: teacher is \w+, expected \w+; put back what it"):
        loop.train(run, runs / "taught", dataset)
    model_file.save(RunFolder(runs / "retrained").model, stored)
    loop.train(run, runs / "taught", dataset)
    assert RunFolder(runs / "taught").finished


def test_what_a_run_learns_from_is_known_by_every_network(experiment):
    dataset, runs = experiment
    source = open_split(dataset, "train")
    run = RunConfig("distill", VIDEO, replace(EEG, pretrained="eeg"), ObjectiveConfig("pkt"))
    folded = replace(run, teacher_cache=True, teacher_folds=2)
    place = RunFolder(runs / "eeg")
    folders = [place.without_fold(fold, 2) for fold in range(2)]
    for folder in folders:
        shutil.copytree(place.model, folder.model)
    known = {teacher_outputs.identity(each, source, runs) for each in (run, folded)}
    stored = model_file.load(folders[1].path)
    other = jax.tree.map(lambda x: x + np.float32(0.01), stored.variables)
    model_file.save(folders[1].model, replace(stored, variables=other))
    known |= {teacher_outputs.identity(each, source, runs) for each in (run, folded)}
    assert len(known) == 3
    assert teacher_outputs.identity(RunConfig("classify", VIDEO), source, runs) is None


@pytest.mark.slow
@pytest.mark.parametrize("method", OPTIONS)
def test_every_method_goes_on_bit_for_bit_after_a_stop(experiment, method, monkeypatch):
    """Heads, banks, normalisers and schedules come back from the checkpoint."""
    dataset, runs = experiment
    objective = ObjectiveConfig(method, OPTIONS[method])
    run = RunConfig("distill", VIDEO, replace(EEG, pretrained="eeg"), objective, **COMMON)
    whole, parted = runs / f"{method}-whole", runs / f"{method}-parted"
    loop.train(run, whole, dataset)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(loop, "stop_request", lambda: stopped(3))
        loop.train(run, parted, dataset)
    assert (
        log.read(parted).lines[-1]["step"] == 3 and not (parted / "predictions_test.npz").exists()
    )
    loop.train(run, parted, dataset)
    last = [
        {k: v for k, v in log.read(folder).lines[-1].items() if k not in CLOCK}
        for folder in (whole, parted)
    ]
    assert last[0] == last[1] and last[0]["step"] > 3
    one, other = variables(whole), variables(parted)
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"student": EncoderConfig("deepsleepnet", SMALL, parts={"feature": "features"})},
            "there is no 'feature', expected some of",
        ),
        (
            {"student": EncoderConfig("deepsleepnet", SMALL, parts={"features": "eeg"})},
            "part 'features': the stored .* is not there, expected shape",
        ),
        (
            {"student": EncoderConfig("deepsleepnet", SMALL, pretrained="eeg")},
            "student.pretrained holds a mlp, expected student.name deepsleepnet",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(experiment, changes, words):
    dataset, runs = experiment
    source, mesh = open_split(dataset, "train"), parallel.make_mesh()
    with pytest.raises(UserError, match=words):
        run = replace(SEQUENCES, **changes)
        TASKS[run.task].make(run, source, mesh, 4, runs).init(0)


def test_a_video_teacher_sees_as_many_frames_a_moment_as_the_run_samples(experiment, tmp_path):
    dataset, _ = experiment
    three = {"video_input": "differences", "lags": 3}
    weights = {"params": {"w": np.zeros(1, np.float32)}}
    model_file.save(tmp_path, model_file.Model("r2plus1d_small", 5, three, weights))
    teacher = EncoderConfig("r2plus1d_small", pretrained=str(tmp_path))
    run = RunConfig("distill", EEG, teacher, ObjectiveConfig("pkt"), **COMMON)
    source, mesh = open_split(dataset, "train"), parallel.make_mesh()
    with pytest.raises(UserError, match="trained on 3 frames a moment, sampling.lags_s has 1"):
        TASKS[run.task].make(run, source, mesh, 4, tmp_path)


def test_a_second_run_in_the_same_folder_is_refused(experiment):
    dataset, runs = experiment
    with (
        mine_alone(RunFolder(runs / "two").lock, "the first"),
        pytest.raises(UserError, match=r"two is in use by process \d+ on "),
    ):
        loop.train(RunConfig("classify", EEG, **COMMON), runs / "two", dataset)
    assert [path.name for path in (runs / "two").iterdir()] == [".lock"]
