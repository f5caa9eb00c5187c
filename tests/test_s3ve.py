"""Recorded nights: every teacher trains, and a student of each family from it, by config names."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from input_pipeline.files import only_one
from sacd_jax.runs import model_file

TEACHERS = {
    "attnsleep": ("teacher.batch_size=40",),
    "deepsleepnet": (
        "teacher_features.passes=0.2",
        "teacher_features.batch_size=20",
        "teacher.batch_size=50",
        "teacher.student.options.hidden=8",
    ),
    "sen": ("teacher.batch_size=40",),
}
"""Teacher -> what its recipe needs to fit twelve short nights."""


def command(root: Path, module: str, *arguments: str) -> str:
    """Runs a command as a user would, on one CPU device."""
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    call = [sys.executable, "-m", module, *arguments]
    result = subprocess.run(
        call, cwd=root, env=environment, capture_output=True, text=True, timeout=2400
    )
    assert result.returncode == 0, result.stderr[-3000:]
    return result.stdout


@pytest.fixture(scope="session")
def nights(root: Path, tmp_path_factory) -> Path:
    """A folder with twelve simulated recordings of a quarter of an hour, made once."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "s3ve"
    with only_one(folder / "lock", "another process simulates the nights"):
        if not (folder / "nights" / "nights.csv").exists():
            size = ("--nights=12", "--hours=0.25", "--height=32", "--width=40", "--jobs=1")
            command(root, "input_pipeline.simulate", f"--out={folder / 'nights'}", *size)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("student", "teacher"),
    [("r2plus1d_18", "deepsleepnet"), ("r3d_18", "sen"), ("torchvision_r2plus1d_18", "attnsleep")],
)
def test_a_student_learns_from_a_teacher_by_their_names(
    student: str, teacher: str, nights: Path, root: Path, tmp_path: Path
) -> None:
    small = (
        *TEACHERS[teacher],
        "teacher.passes=1.0",
        "baseline.passes=0.2",
        "sacd.passes=0.2",
        *(
            f"{run}.{setting}"
            for run in ("baseline", "sacd")
            for setting in (
                "augment.crop=(24,24)",
                "student.options.width=0.0625",
                "student.options.depth=0.5",
            )
        ),
    )
    printed = command(
        root,
        "sacd_jax.train",
        f"--config=configs/s3ve_distill.py:student={student},teacher={teacher}",
        f"--workdir={tmp_path}",
        f"--data_dir={nights / 'data'}",
        f"--config.dataset.manifest={nights / 'nights' / 'nights.csv'}",
        "--config.dataset.clips.height=32",
        "--config.dataset.clips.width=40",
        *(f"--config.runs.{setting}" for setting in small),
    )
    assert "sacd − baseline" in printed
    model = model_file.load(tmp_path / "sacd" / "model")
    assert (model.encoder, model.options["width"]) == (student, 0.0625)
    assert model_file.load(tmp_path / "teacher" / "model").encoder == teacher
