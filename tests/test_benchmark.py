"""The benchmark commands measure what they say; figures are not tested."""

import json
import os
import sys
from pathlib import Path

import pytest

from input_pipeline.errors import UserError
from sacd_jax import benchmark
from sacd_jax.benchmarks import timing
from sacd_jax.benchmarks.timing import Measured, Timed
from sacd_jax.benchmarks.torch_child import STEP, TorchChild

TINY = ["--batch", "2", "--frames", "4", "--size", "32", "--rounds", "2"]


@pytest.mark.slow
def test_step_prints_a_table_and_writes_every_figure(tmp_path: Path, capsys) -> None:
    file = tmp_path / "step.json"
    forms = ["--form", "matmul,direct"]
    benchmark.main(["step", "--model", "r2plus1d_small", *forms, *TINY, "--json", str(file)])
    printed = capsys.readouterr().out
    for words in ("r2plus1d_small, matmul", "r2plus1d_small, direct", "clips/s", "ratio", "cores"):
        assert words in printed
    written = json.loads(file.read_text())
    assert written["machine"]["cores"] >= 1 and written["machine"]["jax"]
    assert written["settings"]["batch"] == 2
    first, second = written["results"]
    assert [r["name"] for r in (first, second)] == [
        "r2plus1d_small, matmul",
        "r2plus1d_small, direct",
    ]
    for result in (first, second):
        assert len(result["wall_seconds"]) == len(result["cpu_seconds"]) == 2
        assert result["clips_per_second"] == pytest.approx(2 / result["median_wall_seconds"])
        # Compiling takes longer than a step of so small a network.
        assert result["warm_up_seconds"] > result["median_wall_seconds"] > 0
    assert first["ratio"] == 1
    assert second["ratio"] == pytest.approx(
        second["median_wall_seconds"] / first["median_wall_seconds"]
    )


class Recorder:
    def __init__(self, name: str, calls: list[str], walls: list[float]):
        self.name, self.group, self._calls, self._walls = name, name[0], calls, walls

    def run(self) -> Measured:
        self._calls.append(self.name)
        return Measured(self._walls.pop(0), 1.0)


def test_contestants_take_turns_and_warm_up_is_apart() -> None:
    calls: list[str] = []
    contestants = [
        Recorder("a1", calls, [100, 2, 4, 3]),
        Recorder("a2", calls, [50, 6, 6, 7]),
        Recorder("b1", calls, [50, 5, 5, 5]),
    ]
    timed = timing.take_turns(contestants, rounds=3)
    assert calls == ["a1", "a2", "b1"] * 4
    assert [result.median for result in timed] == [3, 6, 5]
    assert timing.ratios(timed) == [1, 2, 1]  # within a group
    table = timing.table("", timed, 12, ())
    cells = [cell.text for cell in table.rows[0]]
    assert cells == ["a1", "3", "2", "4", "1", "4", "12", "1", "100"]


def test_no_rounds_no_median() -> None:
    with pytest.raises(ValueError, match="median"):
        _ = Timed("a", "a", Measured(1, 1)).median


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--model", "r3d_19"], "encoder 'r3d_19' is not known: did you mean 'r3d_18'"),
        (["--model", "attnsleep", "--form", "direct"], "encoder 'attnsleep' does not take these"),
        (["--model", "mlp", "--batch", "0"], "--batch is 0, expected at least 1"),
        (["--model", "mlp", "--torch-python", "no/python"], "--torch-python no/python: No such"),
    ],
)
def test_what_cannot_be_measured_is_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        benchmark.main(["step", *TINY, *arguments])


def test_an_interpreter_without_pytorch_is_named() -> None:
    with pytest.raises(UserError, match="PyTorch, r3d_18: ModuleNotFoundError: No module named"):
        TorchChild(sys.executable, STEP, "PyTorch", "r3d_18", model="r3d_18")


@pytest.fixture
def torch_python() -> str:
    """Interpreter of an environment with PyTorch."""
    path = os.environ.get("SACD_JAX_TORCH_PYTHON")
    if not path:
        pytest.skip("no PyTorch here: set SACD_JAX_TORCH_PYTHON to an interpreter that has it")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", ["r3d_18", "r2plus1d_18", "torchvision_r3d_18", "torchvision_r2plus1d_18"]
)
def test_pytorch_has_the_equal_network(torch_python: str, tmp_path: Path, model: str) -> None:
    """Sizes are compared by the command itself."""
    file = tmp_path / "step.json"
    tiny = ["--batch", "2", "--frames", "4", "--size", "32", "--rounds", "1"]
    options = ["--torch-python", torch_python, "--json", str(file)]
    benchmark.main(["step", "--model", model, *tiny, *options])
    written = json.loads(file.read_text())
    assert [r["name"] for r in written["results"]] == [f"{model}, PyTorch", f"{model}, auto"]
    assert written["results"][0]["cpu_seconds"][0] > 0 and written["machine"]["torch"]


def test_pytorch_reads_the_clips_beside(torch_python: str, tmp_path: Path) -> None:
    file = tmp_path / "input.json"
    sizes = ["--clips", "6", "--batch", "3", "--batches", "2", "--height", "4", "--width", "6"]
    options = ["--rounds", "1", "--torch-python", torch_python, "--json", str(file)]
    benchmark.main(["input", *sizes, *options])
    written = json.loads(file.read_text())
    assert written["results"][-1]["name"] == "PyTorch's DataLoader, the mapped file"
    assert written["results"][-1]["cpu_seconds"][0] > 0 and written["machine"]["torch"]


def test_a_network_without_an_equal_is_named(torch_python: str) -> None:
    with pytest.raises(UserError, match="no PyTorch equal of 'mlp'"):
        benchmark.main(["step", "--model", "mlp", *TINY, "--torch-python", torch_python])
