"""The temperature of a run's probabilities, fitted on the validation split and stored beside it."""

import math
from dataclasses import asdict, dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

from input_pipeline.digests import read_verified_json, write_verified_json
from input_pipeline.errors import UserError
from sacd_jax.calibration import LEAST, MOST, fit_temperature
from sacd_jax.runs.run_folder import RunFolder

_MEND = "evaluate the run on its validation split again"


@dataclass(frozen=True)
class Temperature:
    """What a network's scores are divided by, and what it was fitted on.

    Attributes:
        value: the divisor.
        clips: how many scored ones it was fitted on.
        subjects: how many they are of.
        weights: identity of the network, see `model_file.identity`; "" for what is none.
    """

    value: float
    clips: int
    subjects: int
    weights: str = ""


def store(
    folder: RunFolder,
    logits: Float[np.ndarray, "clips classes"],
    stage: Int[np.ndarray, " clips"],
    subject_id: Shaped[np.ndarray, " clips"],
    weights: str = "",
) -> Temperature:
    """Fits the temperature on what a run said of its validation split, and writes it.

    Args:
        folder: of the run.
        logits: its scores.
        stage: the truth; -1 where nobody scored.
        subject_id: whose clips they are.
        weights: identity of the network.
    """
    scored = stage >= 0
    people = len(np.unique(subject_id[scored]))
    found = Temperature(fit_temperature(logits, stage), int(scored.sum()), people, weights)
    write_verified_json(folder.temperature, asdict(found))
    return found


def read(folder: RunFolder, weights: str) -> Temperature | None:
    """What `store` wrote; None where no validation split was predicted.

    Args:
        folder: of the run.
        weights: identity of the network whose scores are to be divided.

    Raises:
        UserError: the file is damaged or was changed, or was fitted on another network.
    """
    path = folder.temperature
    if not path.is_file():
        return None
    facts = read_verified_json(path, what="temperature", mend=_MEND)
    value = facts.get("value")
    counts = (facts.get("clips"), facts.get("subjects"))
    number = isinstance(value, float) and math.isfinite(value) and LEAST <= value <= MOST
    if not number or not all(type(count) is int for count in counts):
        raise UserError(f"temperature {path}: not what was written; {_MEND}")
    if facts.get("weights") != weights:
        raise UserError(f"temperature {path}: was fitted on another network; {_MEND}")
    return Temperature(value, *counts, weights)
