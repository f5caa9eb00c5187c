"""Teachers of folds: none saw a subject it speaks of, recorded from the clips that were read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.loader import Loader
from input_pipeline.source import open_split
from input_pipeline.subject_folds import fold_of_rows
from sacd_jax import cache_teacher, models, parallel
from sacd_jax.config import EncoderConfig, ObjectiveConfig
from sacd_jax.models.encoder import forward
from sacd_jax.runs import model_file, run_folder
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.training import loop, teacher_folds, teacher_outputs
from tests.input_pipeline.fake_nights import fake_dataset
from tests.training.test_teacher_outputs import TEACHER, distilling

FOLDS = 2
STUDENT = replace(distilling("ifd", True), objective=ObjectiveConfig("kd", {}), teacher_folds=FOLDS)


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[Path, Path, dict[tuple[int, ...], set[str]]]:
    """Data, runs, and for each training's `without_fold` the subjects whose EEG it read."""
    folder = tmp_path_factory.mktemp("experiment")
    dataset, read = fake_dataset(folder), dict[tuple[int, ...], set[str]]()
    source = open_split(dataset, "train")
    subject = {
        source[row]["eeg"].tobytes(): str(source.table.subject_id[row])
        for row in range(len(source))
    }
    really_train, really_read, now = loop._train, Loader._read, list[tuple[int, ...]]()

    def train(run, *others):
        now[:] = [run.without_fold]
        really_train(run, *others)

    def reading(self, groups):
        batch = really_read(self, groups)
        found = {subject.get(eeg.tobytes()) for eeg in batch.get("eeg", ())}
        read.setdefault(now[0], set()).update(found - {None})
        return batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "_train", train)
        patch.setattr(Loader, "_read", reading)
        loop.train(replace(TEACHER, passes=1.0), folder / "runs" / "teacher", dataset)
        loop.train_folds(folder / "runs" / "teacher", FOLDS, dataset)
    return dataset, folder / "runs", read


def test_no_clip_is_spoken_of_by_a_network_that_saw_its_subject(experiment):
    dataset, runs, read = experiment
    source = open_split(dataset, "train")
    stored = teacher_outputs.outputs(STUDENT, source, parallel.make_mesh(), runs)
    assert set(stored) == {"teacher_embedding", "teacher_logits", "teacher_stage_0"}
    spoke = np.load(RunFolder(runs / "teacher").teacher_cache("train", FOLDS) / "teacher_fold.npy")
    np.testing.assert_array_equal(spoke, fold_of_rows(source.table, FOLDS, TEACHER.seed))
    everybody = set(source.table.subject_id.tolist())
    assert read[()] == everybody
    for row, fold in enumerate(spoke.tolist()):
        assert source.table.subject_id[row] not in read[fold, FOLDS, 0]
    assert [read[fold, FOLDS, 0] < everybody for fold in range(FOLDS)] == [True] * FOLDS
    assert set().union(*(read[fold, FOLDS, 0] for fold in range(FOLDS))) == everybody

    eeg = np.stack([source[row]["eeg"] for row in range(len(source))])
    for fold in range(FOLDS):
        model = model_file.load(runs / f"teacher-without-{fold}-of-{FOLDS}")
        encoder = models.create(model.encoder, model.num_classes, **model.options)
        output, _ = forward(encoder, model.variables, {"eeg": eeg}, train=False)
        own = spoke == fold
        np.testing.assert_allclose(
            stored["teacher_logits"][own], np.asarray(output.logits)[own], rtol=1e-4, atol=1e-5
        )
        vectors, turned = np.asarray(output.embedding)[own], stored["teacher_embedding"][own]
        np.testing.assert_allclose(turned @ turned.T, vectors @ vectors.T, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_a_student_trains_on_them_and_the_parts_never_trained_on_keep_the_whole_teacher(
    experiment,
):
    dataset, runs, read = experiment
    before = dict(read)
    loop.train(replace(STUDENT, passes=0.5), runs / "student", dataset)
    assert read == before  # trained folds are kept, and the student reads no EEG
    test, mesh = open_split(dataset, "test"), parallel.make_mesh()
    folds = teacher_outputs.outputs(STUDENT, test, mesh, runs)
    whole = teacher_outputs.outputs(replace(STUDENT, teacher_folds=0), test, mesh, runs)
    np.testing.assert_array_equal(folds["teacher_logits"], whole["teacher_logits"])


def test_the_command_fills_and_keeps_them(experiment, capsys):
    _, runs, _ = experiment
    arguments = ["--workdir", str(runs / "teacher"), "--split", "train", "--folds", str(FOLDS)]
    cache_teacher.main(arguments)
    capsys.readouterr()
    cache_teacher.main(arguments)
    assert f"train-of-{FOLDS}-folds: kept" in capsys.readouterr().err
    with pytest.raises(UserError, match="--folds 1: expected 2 or more"):
        cache_teacher.main([*arguments[:-1], "1"])


def test_what_lends_weights_is_trained_without_the_fold_too(experiment, tmp_path):
    dataset, _, _ = experiment
    student = replace(TEACHER.student, pretrained="first")
    for name, run in (("first", TEACHER), ("teacher", replace(TEACHER, student=student, seed=3))):
        run_folder.claim(tmp_path / name, run, dataset)
    found = teacher_folds.trainings(tmp_path / "teacher", 2, dataset)
    assert [folder.name for folder in found] == [
        f"{name}-without-{fold}-of-2" for fold in (0, 1) for name in ("first", "teacher")
    ]
    runs = list(found.values())
    assert [run.without_fold for run in runs] == [(0, 2, 3)] * 2 + [(1, 2, 3)] * 2
    assert runs[1].student.pretrained == "first-without-0-of-2"

    with pytest.raises(UserError, match="teacher was trained on another data set, which may hold"):
        teacher_folds.trainings(tmp_path / "teacher", 2, tmp_path)
    inside = replace(TEACHER, student=EncoderConfig("mlp", {}, pretrained="first/model"))
    (tmp_path / "first" / "model").mkdir()
    run_folder.claim(tmp_path / "inside", inside, dataset)
    with pytest.raises(UserError, match="inside began with a file within a run; expected the fol"):
        teacher_folds.trainings(tmp_path / "inside", 2, dataset)


def test_networks_trained_apart_are_turned_onto_the_whole_one():
    rng = np.random.default_rng(0)
    whole = rng.normal(size=(40, 6)).astype(np.float32)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    out = rng.random(40) < 0.3
    order = rng.permutation(40)
    batches = [
        {"index": rows, "vectors": whole[rows] @ turn, "teacher_logits": whole[rows] @ turn}
        for rows in np.split(order, 4)
    ]
    given = {"vectors": whole, "teacher_logits": whole}
    index, found = teacher_folds.out_of_fold(batches, out, given)
    assert sorted(index) == np.flatnonzero(out).tolist()
    np.testing.assert_allclose(found["vectors"], whole[index], atol=1e-5)
    np.testing.assert_allclose(found["teacher_logits"], whole[index] @ turn, atol=1e-6)
