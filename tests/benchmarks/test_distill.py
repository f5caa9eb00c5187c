"""What `benchmark distill` compares, and what it makes of the times; figures are not tested."""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from input_pipeline.errors import UserError
from sacd_jax import benchmark, objectives
from sacd_jax.benchmarks import distill
from sacd_jax.benchmarks.timing import Measured, Timed
from sacd_jax.objectives.pkt import Pkt

TINY = ["--teacher", "mlp", "--frames", "2", "--size", "24", "--rows", "40", "--rounds", "2"]
slow = pytest.mark.slow
ALONE, TEACHER = "cross-entropy", "cross-entropy + teacher"


@pytest.mark.parametrize("student", ["mlp", pytest.param("r2plus1d_small", marks=slow)])
def test_a_table_and_every_figure(tmp_path: Path, capsys, student: str) -> None:
    file = tmp_path / "distill.json"
    choices = ["--student", student, "--method", "pkt", "--json", str(file)]
    benchmark.main(["distill", *TINY, *choices])
    printed = capsys.readouterr().out
    for words in (TEACHER, "pkt", "wall/a", "CPU/b", f"student {student}", "rows 40"):
        assert words in printed
    written = json.loads(file.read_text())
    assert written["settings"] | {"rows": 40, "cached": False} == written["settings"]
    alone, base, method = written["results"]
    assert [result["name"] for result in (alone, base, method)] == [ALONE, TEACHER, "pkt"]
    for kind, prefix in (("wall", ""), ("cpu", "cpu_")):
        times = [result[f"median_{kind}_seconds"] for result in (alone, base, method)]
        assert all(len(result[f"{kind}_seconds"]) == 2 for result in (alone, base, method))
        assert method[f"{prefix}ratio"] == pytest.approx(times[2] / times[0])
        assert method[f"{prefix}ratio_to_teacher"] == pytest.approx(times[2] / times[1])


def test_ratios_are_to_the_first_two_rows() -> None:
    walls = {ALONE: [4.0, 2, 3], TEACHER: [6.0, 6, 7], "sacd": [9.0, 8, 12]}
    timed = [
        Timed(name, "", Measured(50, 50), [Measured(wall, 2 * wall) for wall in measured])
        for name, measured in walls.items()
    ]
    rows = [[cell.text for cell in row] for row in distill.table("", timed, ()).rows]
    assert rows[0] == [ALONE, "3", "2", "4", "1.000", "0.500", "6", "1.000", "0.500"]
    assert rows[2] == ["sacd", "9", "8", "12", "3.000", "1.500", "18", "3.000", "1.500"]


@dataclass(frozen=True)
class Compared:
    """In place of `TrainingStep`: what it would time."""

    name: str
    group: str
    step: Any
    state: Any
    batch: Mapping[str, Any]

    def flops(self, compiled: bool = False) -> float:
        """Of the program as it is handed to XLA, or as XLA leaves it: without what nobody reads."""
        program = jax.jit(self.step).lower(self.state, self.batch)
        return (program.compile() if compiled else program).cost_analysis()["flops"]

    def loss(self) -> np.ndarray:
        _, metrics = jax.jit(self.step)(self.state, self.batch)
        return np.asarray(metrics["loss"])


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch):
    """Options -> the steps by name."""
    monkeypatch.setattr(distill, "TrainingStep", Compared)

    def steps(*options: str) -> dict[str, Compared]:
        parser = argparse.ArgumentParser()
        distill.add_arguments(parser)
        arguments = parser.parse_args(["--student", "mlp", *TINY, *options])
        return {step.name: step for step in distill.steps(arguments)}

    return steps


def test_all_methods_by_default_and_a_ninth_by_its_name(compared, monkeypatch) -> None:
    monkeypatch.setitem(objectives._REGISTRY, "ninth", f"{Pkt.__module__}:Pkt")
    both = {"sacd": ["sacd, key_encoder=student", "sacd, key_encoder=ema"]}
    methods = objectives.available()
    assert "ninth" in methods
    rows = [row for name in methods for row in both.get(name, [name])]
    assert list(compared()) == [ALONE, TEACHER, *rows]


def test_each_step_does_the_work_that_it_is_named_for(compared) -> None:
    steps = compared("--method", "sacd,crd")
    forward = 2 * 16 * 270_000  # of either network: its parameters, each times 16 clips
    alone, beside = (steps[name].flops(compiled=True) for name in (ALONE, TEACHER))
    assert beside - alone == pytest.approx(forward, rel=0.1)
    whole = {name: step.flops() for name, step in steps.items()}
    ema, student = whole["sacd, key_encoder=ema"], whole["sacd, key_encoder=student"]
    assert forward < ema - student < 1.2 * forward  # and the average of its weights
    assert min(student, whole["crd"]) > whole[TEACHER]
    assert steps["crd"].state.buffers["student_bank"].shape == (40, 128)


def test_stored_outputs_stand_in_for_the_teacher(compared) -> None:
    network, stored = compared("--method", "fitnet"), compared("--method", "fitnet", "--cached")
    assert list(stored) == [ALONE, "cross-entropy + stored teacher", "fitnet"]
    assert "teacher_embedding" in stored["fitnet"].batch and not stored["fitnet"].state.teacher
    np.testing.assert_allclose(stored["fitnet"].loss(), network["fitnet"].loss(), rtol=1e-5)


def test_steps_share_no_array(compared) -> None:
    """They are donated, each on its own."""
    steps = compared("--method", "pkt,sacd").values()
    leaves = [leaf for step in steps for leaf in jax.tree.leaves(step.state)]
    places = [leaf.unsafe_buffer_pointer() for leaf in leaves if leaf.size > 1]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--method", "pkt,fitnett"], "objective 'fitnett' is not known: did you mean 'fitnet'"),
        (["--student", "r2plus1d_smal"], "did you mean 'r2plus1d_small'"),
        (["--teacher", "atnsleep"], "did you mean 'attnsleep'"),
        (["--teacher", "deepsleepnet"], "deepsleepnet sees a night in its order: expected"),
        (["--batch", "24"], "batch size 24 is not a multiple of clips_per_graph 16"),
        (["--rows", "15"], "--rows is 15, expected at least the 16 of --batch"),
        (["--rounds", "0"], "--rounds is 0, expected at least 1"),
    ],
)
def test_what_cannot_be_measured_is_one_line(options: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        benchmark.main(["distill", "--student", "mlp", *TINY, *options])
