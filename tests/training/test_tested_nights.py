"""Networks that have learned from the test nights of a run are not lent to it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.datasets import DatasetSettings, decode, prepare
from input_pipeline.datasets.dataset_files import SPLITS_FILE, ClipTable, read_info, read_table
from input_pipeline.errors import UserError
from input_pipeline.splits import SplitSettings
from sacd_jax.config import EncoderConfig, ObjectiveConfig, RunConfig
from sacd_jax.runs.run_folder import RunFolder, claim
from sacd_jax.training import loop
from sacd_jax.training.tested_nights import check, shared_nights
from tests.input_pipeline.fake_nights import SETTINGS, fake_clips, fake_manifest

EEG = EncoderConfig("attnsleep")
PLAIN = RunConfig("classify", EEG)


@pytest.fixture(scope="module")
def sets(tmp_path_factory) -> tuple[Path, Path, Path]:
    """Two splits of one study, and the second's by the first one's file."""
    folder = tmp_path_factory.mktemp("sets")
    manifest, _ = fake_manifest(folder, 12)
    settings = DatasetSettings("s3ve", manifest=manifest, clips=SETTINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "clips", fake_clips)
        made = [
            prepare(replace(settings, split=SplitSettings(seed=seed)), folder / "data", jobs=1)
            for seed in (0, 1)
        ]
        by_file = replace(settings, split_file=made[0] / SPLITS_FILE, frame_storage="records")
        return *made, prepare(by_file, folder / "data", jobs=1)


def test_a_network_of_another_split_of_the_study_is_refused(sets, tmp_path) -> None:
    one, other, same_split = sets
    claim(tmp_path / "teacher", PLAIN, one)
    begun = replace(PLAIN, student=replace(EEG, parts={"head": "teacher"}))
    claim(tmp_path / "between", begun, one)
    (tmp_path / "weights").mkdir()  # converted: nobody says what they were trained on
    distilled = RunConfig(
        "distill",
        EncoderConfig("r3d_18", pretrained="weights"),
        teacher=replace(EEG, pretrained="teacher"),
        objective=ObjectiveConfig("kd"),
    )
    indirect = replace(PLAIN, student=replace(EEG, pretrained=str(tmp_path / "between")))
    model = str(RunFolder(tmp_path / "teacher").model)
    by_folder = replace(PLAIN, student=replace(EEG, pretrained=model))
    for run in (distilled, indirect, by_folder):
        with pytest.raises(UserError, match="^(teacher|between), .* from . of the . nights"):
            check(run, tmp_path, other)
        check(run, tmp_path, one)
        check(run, tmp_path, same_split)
    check(PLAIN, tmp_path, other)
    with pytest.raises(UserError, match="split_file"):
        loop.train(distilled, tmp_path / "student", other)


def test_names_may_be_shared_by_chance(sets) -> None:
    one, other, _ = sets
    learned, tested = (read_table(s, read_info(s), p) for s, p in ((one, "train"), (other, "test")))
    expected = set(learned.night_id) & set(tested.night_id)
    assert shared_nights(learned, tested) == expected and expected
    corrected = np.where(np.arange(len(tested)) % 20 == 0, (tested.stage + 1) % 5, tested.stage)
    assert shared_nights(learned, replace(tested, stage=corrected)) == expected
    another: ClipTable = replace(tested, stage=(tested.stage + 1) % 5)
    assert shared_nights(learned, another) == set()
