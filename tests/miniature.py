"""The demo at toy size, trained by the command as a user would."""

import os
import subprocess
import sys
from pathlib import Path

TOY = ("--config", "configs/demo.py:miniature")


def train(root: Path, workdir: Path, *arguments: str, check: bool = True, **options):
    """Runs the command as a user would, on one device."""
    command = [sys.executable, "-m", "sacd_jax.train", *TOY, "--workdir", str(workdir), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(root)}  # with JAX_PLATFORMS
    result = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=1500, **options
    )
    if check:
        assert result.returncode == 0, result.stderr[-3000:]
    return result
