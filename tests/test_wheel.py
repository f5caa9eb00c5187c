"""The wheel carries both packages and the configs, and works without the repository."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PARTS = ("sacd_jax", "input_pipeline", "configs")

WHERE = """
import importlib
for part in ("sacd_jax", "input_pipeline", "configs"):
    print(importlib.import_module(part).__file__)
"""


def pip(*arguments: str, cwd: Path) -> None:
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    subprocess.run(command, cwd=cwd, check=True, timeout=1500)


@pytest.mark.slow
def test_a_wheel_installs_and_imports(root: Path, tmp_path: Path, run_python) -> None:
    source, site = tmp_path / "source", tmp_path / "site"
    source.mkdir()
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / file, source)
    unwanted = shutil.ignore_patterns("__pycache__")
    for part in PARTS:
        shutil.copytree(root / part, source / part, ignore=unwanted)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", ".", ".", cwd=source)
    wheel = next(source.glob("sacd_jax-*.whl"))
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel), cwd=tmp_path)

    for part in PARTS:
        in_repository = {file.relative_to(root) for file in (root / part).rglob("*.py")}
        installed = {file.relative_to(site) for file in (site / part).rglob("*.py")}
        assert installed == in_repository
    where = run_python(WHERE, env={"PYTHONPATH": str(site)}, cwd=tmp_path).stdout.splitlines()
    assert where == [str(site / part / "__init__.py") for part in PARTS]
