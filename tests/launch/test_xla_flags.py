"""What the launchers settle before they start Python."""

import os
import subprocess
from pathlib import Path

import pytest

FLAG = "--xla_gpu_force_conv_nhwc=true"


@pytest.mark.parametrize(
    ("nvidia", "before", "after"),
    [
        (False, "", ""),
        (True, "", FLAG),
        (True, "--xla_dump_to=x", f"--xla_dump_to=x {FLAG}"),
        (True, "--xla_gpu_force_conv_nhwc=false", "--xla_gpu_force_conv_nhwc=false"),
    ],
)
def test_flags_of_xla(root: Path, tmp_path: Path, nvidia: bool, before: str, after: str) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\nexit {0 if nvidia else 1}\n", encoding="utf-8")
    tool.chmod(0o755)
    script = 'set -euo pipefail; source launch/xla_flags.sh; echo "${XLA_FLAGS:-}"'
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "XLA_FLAGS": before}
    found = subprocess.run(
        ["bash", "-c", script],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert found.stdout.strip() == after
