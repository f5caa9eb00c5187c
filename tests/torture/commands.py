"""Whole commands on nights with a patient in every field and name: what they say and write.

python -m tests.torture --commands --fuzz 3000
"""

import contextlib
import gzip
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from array_record.python.array_record_module import ArrayRecordReader
from PIL import Image

from input_pipeline import align, build, inspect
from input_pipeline.errors import UserError
from sacd_jax import predict
from tests.input_pipeline.made_edf import Channel
from tests.input_pipeline.recordings import START, write_video
from tests.torture.fuzz import Target
from tests.torture.planted import WORDS, leaks
from tests.torture.recorded import planted_recording
from tests.torture.state import make_models

NAME, SURNAME, STREET, ISO_DATE, DATE, EDF_DATE, PATIENT_ID, PHONE = WORDS

EPOCHS = 24
"""Of a night; its video has a frame a second."""


def write_night(folder: Path, number: int) -> dict[str, str]:
    """PSG, hypnogram and video of a night; returns its cells of a manifest."""
    rng = np.random.default_rng(number)
    stem = f"{SURNAME}_{NAME}_{PATIENT_ID}_{number}"
    stages = [("W", "N1", "N2", "N3", "R")[k] for k in rng.integers(0, 5, EPOCHS)]
    recording = planted_recording(stages=stages)
    eeg = rng.normal(0, 300, EPOCHS * 3000).astype(int)
    channels = [Channel("EEG C3-A2", eeg), *recording.channels[1:]]
    (folder / f"{stem}.edf").write_bytes(replace(recording, channels=channels).bytes())
    scoring = f"# {NAME} {SURNAME}, born {DATE}, {STREET}\nonset,duration,stage\n"
    scoring += "".join(f"{30 * k},30,{stage}\n" for k, stage in enumerate(stages))
    (folder / f"{stem}_{EDF_DATE}.csv").write_text(scoring)
    told = {"title": f"{NAME} {SURNAME}", "comment": f"{number} {DATE} {PHONE}"}
    write_video(
        folder / f"{stem}.mkv",
        [float(k) for k in range(30 * EPOCHS + 1)],
        first=number,
        metadata=told,
        options={"preset": "ultrafast"},
    )
    return {
        "night_id": f"n{number:02d}",
        "subject_id": f"s{number:02d}",
        "psg": f"{stem}.edf",
        "video": f"{stem}.mkv",
        "hypnogram": "" if number % 2 else f"{stem}_{EDF_DATE}.csv",
        "ahi": str((2, 10, 20, 40)[number % 4]),
        "video_start": START.isoformat(),
    }


def write_study(folder: Path, nights: int) -> Path:
    """A manifest of nights; some take their stages from the PSG. Returns its path."""
    rows = [write_night(folder, number) for number in range(nights)]
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    (folder / "nights.csv").write_text("\n".join(lines) + "\n")
    return folder / "nights.csv"


def run(main: Callable[[list[str]], Any], *arguments: object) -> list[str]:
    """Runs a command in this process; returns the lines that it printed."""
    # A real file: what prints stacks writes past Python.
    with (
        tempfile.TemporaryFile("w+") as printed,
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(printed),
    ):
        try:
            main([str(argument) for argument in arguments])
        except UserError as error:
            print(f"error: {error}", file=printed)
        printed.seek(0)
        return printed.read().splitlines()


def leaking_files(folder: Path) -> dict[str, list[str]]:
    """Files below a folder whose name or content shows the patient -> what they show."""
    found = {}
    for path in sorted(folder.rglob("*")):
        texts = [path.relative_to(folder).as_posix()]
        if path.is_file():
            texts += [part.decode("latin-1") for part in _parts(path)]
        if pieces := sorted({piece for text in texts for piece in leaks(text, 8)}):
            found[path.name] = pieces
    return found


def _parts(path: Path) -> list[bytes]:
    """A file's content, unpacked."""
    content = path.read_bytes()
    parts = [content]
    if content[:2] == b"PK":
        with zipfile.ZipFile(path) as archive:
            parts += [archive.read(name) for name in archive.namelist()]
    elif content[:2] == b"\x1f\x8b":
        parts.append(gzip.decompress(content))
    elif path.suffix == ".png":
        with Image.open(path) as picture:
            parts.append(repr(picture.info).encode())
    elif ".array_record" in path.name:
        reader = ArrayRecordReader(str(path))
        parts += reader.read_all()
        reader.close()
    return parts


_SIZE = ("--height", 4, "--width", 6, "--frame-rate", 0.4, "--ahi-groups", 1, "--jobs", 1)


def run_command(name: str, folder: Path, out: Path) -> list[str]:
    """Runs a command on the study of a folder; returns its lines, and one on files that leak."""
    manifest = ("--manifest", folder / "nights.csv")
    if name == "inspect":
        said = run(inspect.main, *manifest, "--full", "--frame-rate", 0.4, "--jobs", 1)
    elif name == "align":
        said = run(align.main, *manifest, "--out", out, "--jobs", 1)
        # A copy of the user's own manifest, beside it.
        (folder / "nights.aligned.csv").unlink(missing_ok=True)
    elif name == "build":
        said = run(build.main, *manifest, "--out", out, *_SIZE)
    else:
        said = run(predict.main, *manifest, "--model", folder, "--out", out, "--threads", 1)
    shown = leaking_files(out)
    return [*said, *([f"files show {shown}"] if shown else [])]


def _make_study(folder: Path) -> Sequence[Path]:
    make_models(folder)
    write_study(folder, 3)
    return [path for path in sorted(folder.iterdir()) if path.suffix in (".edf", ".csv", ".mkv")]


def _read(name: str, path: Path) -> tuple[Sequence[str], Any]:
    with tempfile.TemporaryDirectory(dir=path.parent.parent) as out:
        return run_command(name, path.parent, Path(out)), None


TARGETS = tuple(
    Target(name, _make_study, partial(_read, name), share=share)
    for name, share in (("inspect", 4), ("build", 4), ("predict", 1), ("align", 1))
)
