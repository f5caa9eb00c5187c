"""Imports are light: no TensorFlow anywhere, and no device is touched before a command asks."""

import ast
import graphlib
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

OF_ANOTHER_INTERPRETER = ("sacd_jax.benchmarks.torch_step", "sacd_jax.benchmarks.torch_input")
"""Run as files by an environment with PyTorch; in this one nothing may import them."""


def modules(package: str) -> dict[str, Path]:
    """Name and file of every module of a package, found on disk without importing any."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]
    found = {name.removesuffix(".__init__"): file for name, file in zip(names, files, strict=True)}
    return {name: file for name, file in found.items() if name not in OF_ANOTHER_INTERPRETER}


IMPORT_ALL = """
import importlib, sys
for name in {names!r}:
    importlib.import_module(name)
assert "tensorflow" not in sys.modules, "TensorFlow was imported"
if {package!r} == "input_pipeline":
    assert "sacd_jax" not in sys.modules, "input_pipeline imported sacd_jax"
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized(), "an import started a JAX backend"
"""


@pytest.mark.parametrize("package", ["sacd_jax", "input_pipeline"])
def test_importing_every_module_is_light(run_python, package: str) -> None:
    names = list(modules(package))
    assert len(names) > 5
    run_python(IMPORT_ALL.format(names=names, package=package))


def imported(file: Path) -> set[str]:
    """Top-level packages that a file imports, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def arrows() -> dict[str, set[str]]:
    """Module of the two packages -> modules of them that it imports, inside functions too."""
    files = modules("sacd_jax") | modules("input_pipeline")
    found: dict[str, set[str]] = {}
    for name, file in files.items():
        named = set()
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                named |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                named |= (inner & set(files)) or {node.module}
        found[name] = named & set(files)
    return found


def test_no_module_comes_back_to_itself_through_its_imports() -> None:
    list(graphlib.TopologicalSorter(arrows()).static_order())


ROOMS = {
    "schema": set(),
    "registry": set(),
    "config": {"schema"},
    "command_line": {"config", "schema"},
    "metrics": set(),
    "calibration": set(),
    "parallel": {"peers"},
    "peers": set(),
    "models": {"registry"},
    "objectives": {"models", "registry"},
    "runs": {"calibration", "config", "metrics", "models"},
    "tasks": {"config", "models", "objectives", "parallel", "runs"},
    "training": {"config", "metrics", "models", "objectives", "parallel", "peers", "runs", "tasks"},
    "report": {"calibration", "config", "metrics", "runs"},
    "analysis": {"metrics", "report", "runs"},
    "staging": {"config", "metrics", "models", "report", "runs", "tasks"},
    "exporting": {"models", "staging"},
    "sweeps": {"config", "metrics", "report", "runs", "schema", "training"},
    "pretrained": {"models", "runs"},
    "benchmarks": {
        "command_line",
        "config",
        "models",
        "objectives",
        "parallel",
        "report",
        "runs",
        "staging",
        "sweeps",
        "tasks",
        "training",
    },
}
"""Room of `sacd_jax` -> other rooms whose modules its own may import."""


def commands() -> set[str]:
    """Modules that are run by name."""
    files = modules("sacd_jax") | modules("input_pipeline")
    return {name for name, file in files.items() if "def main(" in file.read_text()}


def test_arrows_between_rooms_go_one_way() -> None:
    wrong = []
    for module, others in arrows().items():
        package, _, room = module.partition(".")
        room = room.partition(".")[0]
        if package != "sacd_jax" or not room or module in commands():
            continue
        reached = {name.split(".")[1] for name in others if name.startswith("sacd_jax.")}
        wrong += [f"{module} -> {name}" for name in reached - ROOMS[room] - {room}]
    assert wrong == []


def test_no_module_imports_a_command() -> None:
    known = commands()
    assert {"sacd_jax.train", "sacd_jax.sweep", "input_pipeline.build"} <= known
    wrong = {module: others & known for module, others in arrows().items()}
    assert {module: others for module, others in wrong.items() if others} == {}


def test_the_schema_of_configs_loads_no_library_of_the_data_or_the_training(run_python) -> None:
    found = run_python("import sys, sacd_jax.config; print(*sys.modules)").stdout.split()
    assert set(found) & {"grain", "orbax", "scipy", "jax", "tensorflow_datasets"} == set()


SLOW = {
    *("scipy", "sklearn", "matplotlib", "pandas", "mne", "av", "PIL", "tensorboardX"),
    *("tensorflow_datasets", "jraph", "torch"),
    "input_pipeline.simulation.nights",
    "input_pipeline.simulation.ceiling",
    "sacd_jax.report.comparison",
    "sacd_jax.report.plots",
    "sacd_jax.pretrained",
}
"""What a training imports where it is used: half the runs of a sweep never do."""


def test_the_training_command_imports_nothing_slow_that_it_may_not_need(run_python) -> None:
    found = run_python("import sys, sacd_jax.train; print(*sys.modules)").stdout.split()
    assert set(found) & SLOW == set()


def test_staging_loads_no_library_of_the_training_or_of_pictures(run_python) -> None:
    """They would take a third of its memory. Those of the page come when the video is closed."""
    found = run_python("import sys, sacd_jax.predict; print(*sys.modules)").stdout.split()
    heavy = {"grain", "orbax", "optax", "tensorstore", "matplotlib", "scipy.stats", "sklearn"}
    heavy |= {"PIL", "edfio", "array_record"}
    assert set(found) & heavy == set()


@pytest.mark.parametrize("package", ["sacd_jax", "input_pipeline", "configs"])
def test_no_module_imports_what_its_room_may_not(package: str) -> None:
    forbidden = {"tensorflow", "torch", "pickle"}
    if package == "input_pipeline":
        forbidden |= {"sacd_jax", "jax", "flax"}
    wrong = {name: imported(file) & forbidden for name, file in modules(package).items()}
    assert {name: found for name, found in wrong.items() if found} == {}


@pytest.mark.parametrize("module", OF_ANOTHER_INTERPRETER)
def test_nothing_imports_what_another_interpreter_runs(module: str) -> None:
    name = module.rpartition(".")[2]
    files = [file for part in ("sacd_jax", "configs") for file in modules(part).values()]
    assert [file for file in files if f"import {name}" in file.read_text()] == []


def test_tensorflow_is_not_installed() -> None:
    """No requirement brings it: every test that passes here passes without it."""
    assert importlib.util.find_spec("tensorflow") is None
