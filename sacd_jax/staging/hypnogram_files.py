"""A staged night in the forms that other programs open.

| file | opened by | rule |
|---|---|---|
| `hypnogram.csv` | spreadsheets, pandas | one row an epoch, all that is known |
| `hypnogram.edf` | EDFbrowser, MNE, Polyman | EDF+ annotations, edfplus.info; "Sleep stage R" |
| `hypnogram_edfbrowser.csv` | EDFbrowser, Tools | onset, duration, description |
| `…_hypnogram.tsv`, `.json` | BIDS tools | BIDS events: onset, duration, trial_type, `n/a` |
| `hypnogram_yasa.json` | YASA's `Hypnogram.from_json` | its own `to_json` |
"""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import edfio
import numpy as np

from input_pipeline.files import whole_file, write_csv, write_json
from input_pipeline.stages import CLIP_SECONDS, STAGES
from sacd_jax.staging import result_files
from sacd_jax.staging.staged_night import StagedNight

NO_CLOCK = datetime(1985, 1, 1)
"""EDF files need a start; this is the date of anonymised files (edfplus.info)."""

_EDF_WORDS = {"REM": "Sleep stage R", **{name: f"Sleep stage {name}" for name in STAGES[:4]}}
_YASA_WORDS = {"W": "WAKE"}


def write_all(night: StagedNight, folder: Path) -> list[Path]:
    """Writes every form into `folder`, each file whole or not at all; returns their paths."""
    files = {
        result_files.TABLE: write_table,
        result_files.EDF: write_edf,
        result_files.EDFBROWSER: write_edfbrowser,
        result_files.BIDS: write_bids,
        result_files.YASA: write_yasa,
    }
    paths = []
    for name, write in files.items():
        write(night, folder / name)
        paths.append(folder / name)
    return [*paths, folder / result_files.BIDS_COLUMNS]


def write_table(night: StagedNight, path: Path) -> None:
    """One row an epoch: onset, clock time, stage, probabilities, movement, breathing, reason."""
    header = ["epoch", "onset_s", "clock_time", "stage", *(f"p_{name}" for name in STAGES)]
    header += ["movement", "breaths_a_minute", "low_confidence", "not_scored_because"]
    rows = []
    low = night.low_confidence
    for epoch, label in enumerate(night.stage.tolist()):
        clock = night.clock_time(epoch)
        rows.append(
            [
                epoch,
                f"{night.onset_s(epoch):g}",
                "" if clock is None else clock.isoformat(sep=" ", timespec="milliseconds"),
                "" if label < 0 else STAGES[label],
                *(_number(value, 4) for value in night.probabilities[epoch]),
                _number(night.movement[epoch], 3),
                _number(night.breaths_a_minute[epoch], 1),
                int(low[epoch]),
                night.reasons[epoch],
            ]
        )
    write_csv(path, header, rows)


def _number(value: float, digits: int) -> str:
    return "" if not np.isfinite(value) else f"{value:.{digits}f}"


def _events(night: StagedNight, unscored: str) -> Iterator[tuple[float, str]]:
    """Onset and stage of each epoch; `unscored` stands for those without one."""
    for epoch, label in enumerate(night.stage.tolist()):
        yield night.onset_s(epoch), STAGES[label] if label >= 0 else unscored


def write_edf(night: StagedNight, path: Path) -> None:
    """EDF+ without signals: one annotation an epoch, "Sleep stage ?" where it is not scored."""
    start = night.start or NO_CLOCK
    if not 1985 <= start.year <= 2084:  # of a camera whose clock was never set; EDF has no others
        start = datetime.combine(NO_CLOCK, start.time())
    annotations = [
        edfio.EdfAnnotation(onset, CLIP_SECONDS, _EDF_WORDS.get(name, "Sleep stage ?"))
        for onset, name in _events(night, "?")
    ]
    edf = edfio.Edf(
        [],
        recording=edfio.Recording(startdate=start.date(), equipment_code="sacd_jax"),
        starttime=start.time(),
        annotations=annotations,
    )
    with whole_file(path) as temporary:
        edf.write(temporary)


def write_edfbrowser(night: StagedNight, path: Path) -> None:
    """Comma-separated onset, duration (s) and description, as EDFbrowser imports annotations."""
    rows = [
        [f"{onset:g}", f"{CLIP_SECONDS:g}", _EDF_WORDS.get(name, "Sleep stage ?")]
        for onset, name in _events(night, "?")
    ]
    write_csv(path, ["Onset", "Duration", "Annotation"], rows)


def write_bids(night: StagedNight, path: Path) -> None:
    """A BIDS events table and, beside it, the JSON that explains its columns."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter="\t", lineterminator="\n")
    writer.writerow(["onset", "duration", "trial_type", "confidence"])
    confidence = night.confidence
    for epoch, (onset, name) in enumerate(_events(night, "n/a")):
        sure = "n/a" if np.isnan(confidence[epoch]) else f"{confidence[epoch]:.4f}"
        writer.writerow([f"{onset:g}", f"{CLIP_SECONDS:g}", name, sure])
    with whole_file(path) as temporary:
        temporary.write_text(buffer.getvalue(), encoding="utf-8")
    levels = {
        "W": "wake",
        "N1": "light sleep",
        "N2": "light sleep with spindles and K-complexes",
        "N3": "deep sleep",
        "REM": "rapid-eye-movement sleep",
    }
    write_json(
        path.with_suffix(".json"),
        {
            "onset": {"Description": "Start of the epoch", "Units": "s"},
            "duration": {"Description": "Length of the epoch", "Units": "s"},
            "trial_type": {
                "Description": "Sleep stage by the AASM's names, told from infrared video alone",
                "Levels": levels,
            },
            "confidence": {"Description": "Probability that the network gives to that stage"},
        },
    )


def write_yasa(night: StagedNight, path: Path) -> None:
    """What `yasa.Hypnogram.from_json` reads (raphaelvallat/yasa: hypno.py, to_json)."""
    values = [_YASA_WORDS.get(name, name) for _, name in _events(night, "UNS")]
    write_json(
        path,
        {
            "values": values,
            "n_stages": 5,
            "freq": f"{CLIP_SECONDS:g}s",
            "start": None if night.start is None else night.start.isoformat(sep=" "),
            "scorer": "sacd_jax",
            "proba": None,
        },
    )
