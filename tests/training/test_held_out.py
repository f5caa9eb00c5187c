"""What terms know on validation clips stands in the log, and changes nothing else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from sacd_jax import objectives
from sacd_jax.runs import log
from sacd_jax.training.held_out import HeldOut
from sacd_jax.training.loop import train
from tests.input_pipeline.fake_nights import fake_dataset
from tests.training.test_teacher_outputs import TEACHER, distilling


@pytest.fixture(scope="module")
def experiment(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("experiment")
    dataset = fake_dataset(folder)
    train(replace(TEACHER, passes=0.5), folder / "runs" / "teacher", dataset)
    return dataset, folder / "runs"


@pytest.mark.slow
def test_terms_are_measured_beside_the_validation_figures(experiment):
    dataset, runs = experiment
    run = replace(distilling("sacd", True), passes=0.5)
    for name, measured in (("plain", False), ("measured", True)):
        train(replace(run, measure_terms=measured), runs / name, dataset)
    plain, measured = (log.read(runs / name).lines for name in ("plain", "measured"))
    held_out = [line for line in measured if line["split"] == "held_out"]
    figures = [line for line in measured if line["split"] == "validation"]
    assert [line["step"] for line in held_out] == [line["step"] for line in figures]
    assert set(held_out[0]) - {"step", "split"} == {
        "contrast", "jsd", "contrast_wins", "contrast_wins_other_stages", "contrast_wins_bank",
        "jsd_wins", "jsd_wins_other_stages",
    }  # fmt: skip
    assert all(0 <= held_out[0][name] <= 1 for name in held_out[0] if "wins" in name)
    others = [line for line in measured if line["split"] != "held_out"]
    clock = {"clips_per_second", "data_wait", "compile_seconds", "host_peak_gb", "goodput"}
    for one, other in zip(plain, others, strict=True):
        assert {k: one[k] for k in one if k not in clock} == {
            k: other[k] for k in other if k not in clock
        }


def test_a_split_smaller_than_a_batch_is_refused(experiment):
    dataset, _ = experiment
    validation = open_split(dataset, "validation")
    arrays = {f"teacher_{name}": np.zeros((len(validation), 5)) for name in ("embedding", "logits")}
    with pytest.raises(UserError, match="validation split has .* clips, expected a batch of 999"):
        HeldOut(objectives.create("kd"), validation, arrays, 999)
