"""Estimates for TPUs that are not here; the figures themselves are XLA's."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from sacd_jax import benchmark
from sacd_jax.benchmarks import hlo, topology
from sacd_jax.benchmarks.topology import Estimate
from sacd_jax.report.tables import plain

TINY = ["--model", "r2plus1d_small", "--batch", "2", "--frames", "4", "--size", "32"]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (extra tpu)"
)


def test_without_libtpu_the_user_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"libtpu is not installed.*pip install -e '\.\[tpu\]'"):
        benchmark.main(["topology", *TINY])


def test_counts_are_checked_before_anything_is_compiled() -> None:
    with pytest.raises(UserError, match="--batch is 0, expected at least 1"):
        benchmark.main(["topology", *TINY, "--batch", "0"])


def test_the_table_says_that_nothing_ran() -> None:
    program = hlo.Program(
        cycles=1503000,
        unpriced=Counter({"copy-start": 3}),
        collectives=Counter({"all-reduce": 2}),
        collective_bytes=5_000_000,
    )
    half = hlo.Program(cycles=751500)
    estimates = [
        Estimate("net, direct", "net", 1.0, 2e12, 3e9, 4_000_000_000, program, 5.0),
        Estimate("net, folded", "net", 0.5, 2e12, 3e9, 4_000_000_000, half, 5.0),
    ]
    settings = {"topology": "v5e:2x4", "devices": 8}
    printed = plain(topology.table(settings, "TPU v5 lite", "0.0", estimates))
    assert "Nothing ran" in printed and "1.5 GHz" in printed and "copy-start" in printed
    rows = {line[:11]: line.split()[2:] for line in printed.splitlines() if line[:4] == "net,"}
    assert rows["net, direct"] == ["1.0", "1.00", "2", "3", "4.00", "2", "5.0", "0", "5"]
    assert rows["net, folded"][:2] == ["0.5", "0.50"]


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize("name", ["v5e:3x5", "v7q:2x2", "nonsense"])
def test_an_unknown_topology_is_one_line(run_python, name: str) -> None:
    found = run_python("sacd_jax.benchmark", "topology", *TINY, "--topology", name, check=False)
    assert found.returncode != 0 and "Traceback" not in found.stderr
    assert f"--topology {name}: expected chips as KIND:AxB, such as v5e:2x4" in found.stderr


@needs_libtpu
@pytest.mark.slow
def test_a_step_is_compiled_for_eight_chips(run_python, tmp_path: Path) -> None:
    file = tmp_path / "estimates.json"
    forms = ["--form", "direct,folded", "--json", str(file)]
    printed = run_python("sacd_jax.benchmark", "topology", *TINY, *forms).stdout
    assert "Nothing ran" in printed
    written = json.loads(file.read_text())
    assert written["measured"] is False and written["chip"] == "TPU v5 lite"
    assert written["settings"]["devices"] == 8 and written["libtpu"]
    for name, result in zip(("direct", "folded"), written["results"], strict=True):
        assert result["name"] == f"r2plus1d_small, {name}"
        assert result["milliseconds"] > 0 and result["flops"] > 1e6
        # Parameters and their momentum, in float32, lie on every chip.
        assert result["peak_bytes"] > 2 * 4 * 261_797
        # Gradients of all parameters are summed over the chips, in bfloat16 at least.
        assert result["program"]["collectives"]["all-reduce"] > 1
        assert result["program"]["collective_bytes"] > 2 * 261_797
        assert result["program"]["in_loops"] == 0
