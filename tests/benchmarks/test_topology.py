"""Estimates for TPUs and GPUs that are not here; the figures themselves are XLA's."""

import importlib.util
import json
from collections import Counter
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from sacd_jax import benchmark
from sacd_jax.benchmarks import absent_devices, hlo, topology
from sacd_jax.benchmarks.topology import Estimate
from sacd_jax.report.tables import plain

TINY = ["--model", "r2plus1d_small", "--batch", "2", "--frames", "4", "--size", "32"]
needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="libtpu is not installed (extra tpu)"
)

needs_cuda = pytest.mark.skipif(
    not any(importlib.util.find_spec(f"jax_cuda{i}_plugin") for i in (12, 13)),
    reason="JAX's CUDA packages are not installed (extra cuda13)",
)


def test_without_libtpu_the_user_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"libtpu is not installed.*pip install -e '\.\[tpu\]'"):
        benchmark.main(["topology", *TINY])


def test_without_cuda_the_user_is_told_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"CUDA packages.*pip install -e '\.\[cuda13\]'"):
        benchmark.main(["topology", *TINY, "--topology", "h100:1x8"])


@pytest.mark.parametrize("name", ["h100:8", "a100:0x2", "h200:two", "h100:1x8x2"])
def test_an_unknown_grid_of_gpus_is_one_line(name: str) -> None:
    with pytest.raises(UserError, match=f"--topology {name}: expected TPUs as .*h100:1x8"):
        benchmark.main(["topology", *TINY, "--topology", name])


def test_compiler_options() -> None:
    read = topology.compiler_options("xla_gpu_force_conv_nhwc=true,xla_gpu_autotune_level=0")
    assert read == {"xla_gpu_force_conv_nhwc": True, "xla_gpu_autotune_level": "0"}
    with pytest.raises(UserError, match="--xla has 'fast', expected NAME=VALUE"):
        topology.compiler_options("fast")


@pytest.mark.parametrize(
    ("fixed", "a_clip", "from_64", "batch", "most"),
    [
        (10, 10, 0, 16, 96),  # 10 + 10 * 96 = 970
        (10, 10, 2, 16, 80),  # foretold 96 need 10 + 12 * 96
        (0, 40, 0, 32, 16),  # the first does not fit
        (0, 70, 0, 64, 0),  # not even 16
        (0, 10, 1e9, 32, 48),  # the compiler refuses 64 and more
    ],
)
def test_the_largest_batch_is_one_that_was_compiled(fixed, a_clip, from_64, batch, most) -> None:
    def peak(clips: int) -> float:
        asked.append(clips)
        needed = fixed + clips * (a_clip + (from_64 if clips >= 64 else 0))
        return float("inf") if needed > 1e9 else needed

    asked: list[int] = []
    assert topology.largest_batch(peak, 1000, batch, 16) == most
    assert most == 0 or most in asked
    assert len(asked) <= 8 and all(clips % 16 == 0 for clips in asked)


def test_counts_are_checked_before_anything_is_compiled() -> None:
    with pytest.raises(UserError, match="--batch is 0, expected at least 1"):
        benchmark.main(["topology", *TINY, "--batch", "0"])


def test_the_table_says_that_nothing_ran() -> None:
    program = hlo.Program(
        cycles=1503000,
        unpriced=Counter({"copy-start": 3}),
        operations=Counter({"fusion": 10, "copy": 2}),
        transposes=2,
        transposed_bytes=500_000_000,
        collectives=Counter({"all-reduce": 2}),
        collective_bytes=5_000_000,
    )
    half = hlo.Program(cycles=751500)
    sizes = (4_000_000_000,)
    estimates = [
        Estimate("net, direct", "net", 1.0, 3.7, 2e12, 3e9, *sizes, program, 5.0),
        Estimate("net, folded", "net", 0.5, 3.7, 2e12, 3e9, *sizes, half, 5.0, 128),
    ]
    settings = {"topology": "v5e:2x4", "devices": 8}
    versions = {"jax": "0.0", "libtpu": "0.1"}
    printed = plain(topology.table(settings, "TPU v5 lite", versions, estimates))
    assert "Nothing ran" in printed and "libtpu 0.1" in printed and "copy-start" in printed
    rows = {line[:11]: line.split()[2:] for line in printed.splitlines() if line[:4] == "net,"}
    figures = "1.0 1.00 3.7 2 3 12 2 0.5 4.00 2 5.0 0 5 None"
    assert rows["net, direct"] == figures.split()
    assert rows["net, folded"][:2] == ["0.5", "0.50"] and rows["net, folded"][-1] == "128"

    on_gpu = [
        Estimate("net", "net", None, 3.0, None, 3e9, *sizes, program, 5.0),
        Estimate("net, sacd", "net", None, 6.0, None, 6e9, *sizes, program, 5.0),
    ]
    printed = plain(topology.table(settings, "H100", versions, on_gpu))
    assert "gives no time" in printed and "libtpu's" not in printed
    row = next(line for line in printed.splitlines() if line[:9] == "net, sacd")
    assert row.split()[2:6] == ["–", "2.00", "6.0", "–"]


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


@needs_cuda
@pytest.mark.slow
def test_the_step_of_a_method_is_compiled_for_gpus(run_python, tmp_path: Path) -> None:
    file = tmp_path / "estimates.json"
    choices = ["--model", "mlp", "--teacher", "mlp", "--batch", "16", "--method", "none,fitnet,crd"]
    where = ["--topology", "h100:1x2", "--cached", "--rows", "40", "--json", str(file)]
    sizes = ["--frames", "2", "--size", "8", "--dtype", "float32"]
    printed = run_python("sacd_jax.benchmark", "topology", *choices, *where, *sizes).stdout
    assert "gives no time" in printed
    written = json.loads(file.read_text())
    assert written["chip"] == "NVIDIA H100 80GB HBM3" and written["settings"]["devices"] == 2
    alone, fitnet, crd = written["results"]
    assert [result["name"] for result in written["results"]] == [
        "mlp, auto",
        "mlp, auto, fitnet, mlp stored",
        "mlp, auto, crd, mlp stored",
    ]
    assert alone["milliseconds"] is None and alone["bytes_milliseconds"] > 0
    operations = [sum(each["program"]["operations"].values()) for each in (alone, fitnet, crd)]
    assert 5 < operations[0] < operations[1] < operations[2]
    assert all(each["program"]["collectives"]["all-reduce"] for each in written["results"])
    assert crd["peak_bytes"] - alone["peak_bytes"] > 2 * 4 * 40 * 128  # its banks


def test_every_described_gpu_has_numbers() -> None:
    for name, gpu in absent_devices._GPUS.items():
        assert name.upper() in gpu.name and f'"{gpu.name}"' in gpu.description()
