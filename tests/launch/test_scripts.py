"""Every shell script can be read by bash, and ShellCheck has nothing to say."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = [
    ".ci/run",
    *(str(file.relative_to(ROOT)) for file in sorted(ROOT.glob("launch/**/*.sh"))),
    "launch/slurm.sbatch",
]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("script", SCRIPTS)
def test_bash_can_read_it(script: str) -> None:
    result = run("bash", "-n", script)
    assert (result.returncode, result.stderr) == (0, "")


def test_shellcheck_has_nothing_to_say() -> None:
    # In the environment's own folder: the launchers do not activate it.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    shellcheck = shutil.which("shellcheck", path=path)
    if shellcheck is None:
        pytest.skip("no ShellCheck here: its package has no wheel for this machine")
    result = run(shellcheck, "--external-sources", *SCRIPTS)
    assert (result.returncode, result.stdout) == (0, "")
