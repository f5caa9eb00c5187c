"""What every test shares. Tests run on the CPU unless JAX_PLATFORMS says otherwise."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from input_pipeline.files import only_one
from tests import miniature

ROOT = Path(__file__).resolve().parent.parent

# Before anything imports JAX. The numbers in the tests are a CPU's in float32.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

# A busy machine is no error: examples may take as long as they take.
settings.register_profile("tests", deadline=None)
settings.load_profile("tests")


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder with small real recordings that are not part of the repository."""
    named = os.environ.get("SACD_JAX_TEST_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        if named:
            pytest.fail("SACD_JAX_TEST_DATA does not name a folder")
        pytest.skip("no real recordings here: set SACD_JAX_TEST_DATA to their folder")
    return folder


RunPython = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def run_python() -> RunPython:
    """Runs code or a module in a fresh interpreter: `run_python(code_or_module, *arguments, …)`.

    Device counts and XLA flags are settled when a process first uses JAX, so whatever needs others
    than this process has its own. Keyword arguments: `devices` (fake CPU devices), `env` (more
    environment; None as a value removes a variable), `check` (a failure of the child fails the
    test and shows its output), `timeout` in seconds, `cwd` (else the repository). Returns the
    `subprocess.CompletedProcess` with text output.
    """
    return _run_python


def _run_python(
    code_or_module: str,
    *arguments: str,
    devices: int = 8,
    env: Mapping[str, str | None] | None = None,
    check: bool = True,
    timeout: float = 1500.0,
    cwd: Path = ROOT,
) -> subprocess.CompletedProcess[str]:
    is_module = re.fullmatch(r"\w+(\.\w+)+", code_or_module) is not None
    xla_flags = f"--xla_force_host_platform_device_count={devices}"
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {xla_flags}".strip(),
    }
    for key, value in (env or {}).items():
        if value is None:
            environment.pop(key, None)
        else:
            environment[key] = value
    command = [sys.executable, "-m" if is_module else "-c", code_or_module, *arguments]
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout
    )
    if check and result.returncode != 0:
        pytest.fail(
            f"the child ended with {result.returncode}\n"
            f"--- its output\n{result.stdout}\n--- its errors\n{result.stderr}"
        )
    return result


@pytest.fixture(scope="session")
def demo(root, tmp_path_factory) -> tuple[Path, str]:
    """The miniature demo, run once for all processes of the tests: its folder, what it printed."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "miniature"
    workdir, printed = folder / "demo", folder / "printed.txt"
    with only_one(folder / "lock", "another process runs the demo"):
        if not printed.exists():
            printed.write_text(miniature.train(root, workdir).stdout)
    return workdir, printed.read_text()
