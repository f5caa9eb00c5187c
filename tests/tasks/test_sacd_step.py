"""The compiled SACD step on 8 devices: no instruction and no collective comes or goes unnoticed."""

import json
import platform

import jax
import pytest


@pytest.mark.slow
def test_instructions_by_opcode(root, run_python) -> None:
    golden = json.loads((root / "tests" / "golden" / "sacd_step.json").read_text(encoding="utf-8"))
    if jax.__version__ != golden["jax"] or platform.machine() != "x86_64":
        pytest.skip(f"counted with jax {golden['jax']} on x86_64")
    counted = json.loads(run_python("tests.tasks.sacd_step", devices=8).stdout)
    assert counted == golden
