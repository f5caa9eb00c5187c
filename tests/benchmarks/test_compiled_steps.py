"""Counts of the compiled step of SACD, as goldens: what a careless change would make worse.

Compilers differ from version to version, so a golden is of one and is skipped elsewhere.
"""

import importlib.metadata
from types import SimpleNamespace

import pytest

from sacd_jax.benchmarks import absent_devices, hlo
from sacd_jax.benchmarks.absent_step import distill_steps

SIZES = SimpleNamespace(frames=4, size=32, colours=1)
TPU, GPU = ("libtpu", "0.0.50.1"), ("jax-cuda13-plugin", "0.12.0.1")


def program(topology: str, model: str, dtype: str) -> tuple[hlo.Program, str]:
    """16 clips a device, stored teacher, the student's own keys."""
    mesh = absent_devices.make_mesh(topology)
    steps = distill_steps(model, "auto", dtype, SIZES, "attnsleep", True, ["sacd"], 102_519)
    text = next(steps).compile(16, mesh).as_text()
    assert text is not None
    return hlo.read(text), text


@pytest.fixture
def of_version(request: pytest.FixtureRequest) -> None:
    package, version = request.param
    try:
        found = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    if found != version:
        pytest.skip(f"the golden is of {package} {version}, {found} is installed")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("of_version", "topology", "model", "operations", "transposes"),
    [
        (TPU, "v5e:2x4", "r2plus1d_small", 1380, 20),
        (GPU, "h100", "r2plus1d_small", 673, 75),
    ],
    indirect=["of_version"],
)
def test_operations_and_transposes(
    of_version: None, topology: str, model: str, operations: int, transposes: int
) -> None:
    found, _ = program(topology, model, "bfloat16")
    assert (found.operations.total(), found.transposes) == (operations, transposes)


@pytest.mark.slow
@pytest.mark.parametrize("of_version", [TPU], indirect=True)
def test_collectives_hardly_grow_with_the_devices(of_version: None) -> None:
    """With a student that has next to nothing to exchange itself."""
    eight, _ = program("v5e:2x4", "mlp", "float32")
    assert eight.collectives == {"all-reduce": 5, "all-gather": 3, "all-to-all": 1}
    assert eight.collective_bytes == 18_135_984  # 16 MB are gradients of the graph networks
    many, text = program("v5e:16x16", "mlp", "float32")
    kinds = {"all-reduce": 6, "all-gather": 6, "all-to-all": 1, "reduce-scatter": 1}
    assert many.collectives == kinds
    assert many.collective_bytes == 19_753_872
    assert many.in_loops == 0 and "callback" not in text
    # Embeddings and graphs of all devices; parameters, 4.5 million, would be more by far.
    assert many.exchanged["all-gather"] == 9_732_096
