"""Counts of the compiled step of SACD, as goldens: what a careless change would make worse.

Compilers differ from version to version, so a golden is of one and is skipped elsewhere.
"""

import importlib.metadata
from dataclasses import replace
from types import SimpleNamespace

import pytest

from sacd_jax.benchmarks import absent_devices, hlo
from sacd_jax.benchmarks.absent_step import classify_step, distill_steps

SMALL = SimpleNamespace(frames=4, size=32, colours=1)
FULL = SimpleNamespace(frames=16, size=112, colours=1)
TPU, GPU = ("libtpu", "0.0.50.1"), ("jax-cuda13-plugin", "0.12.0.1")


def program(
    topology: str, model: str, variant: str = "sacd, key_encoder=student"
) -> tuple[hlo.Program, str]:
    """16 clips a device, stored teacher."""
    mesh = absent_devices.make_mesh(topology)
    dtype = "float32" if model == "mlp" else "bfloat16"
    sizes = FULL if model == "r2plus1d_18" else SMALL
    methods = [variant.partition(",")[0]]
    steps = distill_steps(model, "auto", dtype, sizes, "attnsleep", True, methods, 102_519)
    (step,) = (step for step in steps if step.name == f"{model}, auto, {variant}, attnsleep stored")
    text = step.compile(16, mesh).as_text()
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
        (GPU, "h100", "r2plus1d_small", 567, 75),
    ],
    indirect=["of_version"],
)
def test_operations_and_transposes(
    of_version: None, topology: str, model: str, operations: int, transposes: int
) -> None:
    found, _ = program(topology, model)
    assert (found.operations.total(), found.transposes) == (operations, transposes)


NEAR = {"all-gather": 3, "all-to-all": 1}
FAR = {"all-gather": 6, "all-to-all": 1, "reduce-scatter": 1}


@pytest.mark.slow
@pytest.mark.parametrize("of_version", [TPU], indirect=True)
@pytest.mark.parametrize(
    ("topology", "model", "kinds", "put_in", "gathered"),
    [
        # A student that has next to nothing to exchange; 16 MB are the graph networks' gradients.
        ("v5e:2x4", "mlp", NEAR | {"all-reduce": 5}, 18_135_984, None),
        ("v5e:16x16", "mlp", FAR | {"all-reduce": 6}, 19_753_872, 9_732_096),
        ("v5e:2x4", "r2plus1d_18", NEAR | {"all-reduce": 73}, 83_617_912, None),
        ("v5e:16x16", "r2plus1d_18", FAR | {"all-reduce": 74}, 85_235_800, 9_732_096),
    ],
)
def test_collectives_hardly_grow_with_the_devices(
    of_version: None, topology: str, model: str, kinds: dict, put_in: int, gathered: int | None
) -> None:
    found, text = program(topology, model)
    assert found.collectives == kinds
    assert found.collective_bytes == put_in
    assert found.in_loops == 0 and "callback" not in text
    # Embeddings and graphs of all devices; parameters, 4.5 million and more, would show.
    assert gathered in (None, found.exchanged["all-gather"])


@pytest.mark.slow
@pytest.mark.parametrize("of_version", [TPU], indirect=True)
@pytest.mark.parametrize(
    ("dtype", "sums", "put_in"), [("float32", 2, 1_106_996), ("bfloat16", 3, 631_956)]
)
def test_statistics_of_replicas_take_no_sum_of_their_own(
    of_version: None, dtype: str, sums: int, put_in: int
) -> None:
    """How many clips count; gradients and running statistics, those in bfloat16 by themselves."""
    step = classify_step("r2plus1d_small", "auto", dtype, SMALL)
    student = step.task.student.clone(replicas=8)
    step = replace(step, task=replace(step.task, student=student))
    text = step.compile(16, absent_devices.make_mesh("v5e:2x4")).as_text()
    found = hlo.read(text or "")
    assert found.collectives == {"all-reduce": sums}
    assert found.collective_bytes == put_in


@pytest.mark.slow
@pytest.mark.parametrize("of_version", [TPU], indirect=True)
@pytest.mark.parametrize(
    ("topology", "gathers", "put_in", "gathered"),
    [("v5e:2x4", 4, 21_774_656, 196_608), ("v5e:16x16", 8, 30_264_128, 6_488_064)],
)
def test_spread_banks_stay_where_they_are(
    of_version: None, topology: str, gathers: int, put_in: int, gathered: int
) -> None:
    """Whole, the two banks are 106 MB."""
    found, _ = program(topology, "mlp", "crd, bank_sharding=rows")
    kinds = {"all-gather": gathers, "all-reduce": 5, "all-to-all": 4, "reduce-scatter": 4}
    assert found.collectives == kinds
    assert found.collective_bytes == put_in
    assert found.exchanged["all-gather"] == gathered
