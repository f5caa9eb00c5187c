"""Calibration on test subjects: each with its weight, before and after a given temperature."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss

from sacd_jax import calibration
from sacd_jax.report import statistics
from sacd_jax.report.reliability import reliability
from sacd_jax.report.runs import read_run
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.runs.temperature import Temperature, store
from tests.report.conftest import Night, write_run


def test_figures_of_the_scored_clips_with_intervals(runs, night) -> None:
    said = read_run("baseline", runs["video baseline"]).predictions
    draws = statistics.resample_subjects(8, 400)
    found = reliability(said, Temperature(4.0, 100, 3), draws)
    scored = night.stage >= 0
    for believed, temperature in ((found.plain, 1.0), (found.scaled, 4.0)):
        assert believed is not None
        shares = calibration.softmax(said.logits[scored], temperature)
        brier = brier_score_loss(night.stage[scored], shares)
        assert believed.figures["brier"].value == pytest.approx(brier, rel=1e-6)
        binned = calibration.confidence_bins(shares, night.stage[scored])
        error = believed.figures["calibration_error"]
        assert error.value == pytest.approx(calibration.calibration_error(binned))
        assert error.low < error.high and believed.bins[:, 0].sum() == scored.sum()
    plain, scaled = found.plain.figures, found.scaled.figures  # half are wrong with p > .99
    assert scaled["brier"].value < plain["brier"].value
    assert scaled["calibration_error"].high < plain["calibration_error"].low


def test_one_subject_without_a_temperature(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", Night(subjects=1), 0.7, 0)
    read = read_run("run", run)
    found = reliability(read.predictions, read.temperature, statistics.resample_subjects(1, 9))
    assert found.temperature is None and found.scaled is None
    assert np.isnan(found.plain.figures["brier"].low)
    store(RunFolder(run), read.predictions.logits, read.predictions.stage, np.repeat("v", 100))
    fitted = read_run("run", run).temperature
    assert fitted is not None and fitted.value > 1
