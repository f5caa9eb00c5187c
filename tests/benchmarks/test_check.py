"""`benchmark check` finds a device right that is, and wrong that is not."""

import json
from argparse import Namespace
from pathlib import Path

from sacd_jax import benchmark
from sacd_jax.benchmarks import check

TINY = Namespace(batch=1, frames=4, size=6, channels=2)


def test_a_cpu_computes_right(tmp_path: Path, capsys) -> None:
    file = tmp_path / "out.json"
    tiny = [f"--{name}={value}" for name, value in vars(TINY).items()]
    benchmark.main(["check", *tiny, "--json", str(file)])
    found = json.loads(file.read_text())["results"]
    assert len(found) == len(check.CONVOLUTIONS) * 2 * 3 + 4
    assert all(each["right"] for each in found), found
    printed = capsys.readouterr().out
    assert "right" in printed and "wrong" not in printed


def test_a_wrong_convolution_is_found(monkeypatch) -> None:
    monkeypatch.setattr(check, "CONVOLUTIONS", (((3, 3, 3), (1, 1, 1), 1.0, 1.0),))
    right = check.convolve
    monkeypatch.setattr(check, "convolve", lambda x, k, s: right(x, k * 1.02, s))
    assert [each.right for each in check.convolutions(TINY)] == [False] * 6
    assert not check.Checked("", float("nan"), 1.0).right
