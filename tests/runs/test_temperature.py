"""The stored temperature of a run: fitted on what it is given, verified when read."""

import json
from pathlib import Path

import numpy as np
import pytest

from input_pipeline.digests import write_verified_json
from input_pipeline.errors import UserError
from sacd_jax.calibration import fit_temperature
from sacd_jax.runs import temperature
from sacd_jax.runs.run_folder import RunFolder
from tests.test_calibration import clips


def test_it_is_read_as_it_was_fitted(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert temperature.read(folder, "one") is None
    logits, truth = clips(300, 2.0)
    truth[:100] = -1
    stored = temperature.store(folder, logits, truth, np.repeat(["a", "b", "c"], 100), "one")
    assert stored == temperature.Temperature(fit_temperature(logits, truth), 200, 2, "one")
    assert temperature.read(folder, "one") == stored
    with pytest.raises(UserError, match="temperature.json: was fitted on another network"):
        temperature.read(folder, "other")


@pytest.mark.parametrize("value", [0.0, -1.0, 1e9, "2", None])
def test_another_number_is_refused(tmp_path: Path, value) -> None:
    folder = RunFolder(tmp_path)
    facts = {"value": value, "clips": 1, "subjects": 1, "weights": ""}
    write_verified_json(folder.temperature, facts)
    with pytest.raises(UserError, match="not what was written; evaluate the run"):
        temperature.read(folder, "")
    facts = json.loads(folder.temperature.read_text()) | {"value": 2.0}
    folder.temperature.write_text(json.dumps(facts))
    with pytest.raises(UserError, match="its digest differs"):
        temperature.read(folder, "")
