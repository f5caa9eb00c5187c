"""A plan is arithmetic on estimates: hours, bytes sent, share of computing."""

from collections import Counter
from dataclasses import replace

import pytest

from input_pipeline.clips import ClipSettings
from sacd_jax.benchmarks import plan
from sacd_jax.benchmarks.absent_devices import Chip
from sacd_jax.benchmarks.hlo import Program
from sacd_jax.command_line import load_config
from sacd_jax.config import Experiment
from sacd_jax.report.tables import plain
from sacd_jax.sweeps.sweep_config import SweepConfig

CHIP = Chip(16 * 2**30, 800e9, 1.5e9, 100e9, 256, 4e9, 8)
PROGRAM = Program(
    collectives=Counter({"all-reduce": 3, "all-gather": 2}),
    exchanged=Counter({"all-reduce": 80_000_000, "all-gather": 400_000}),
)
STEP = plan.Step("sacd on 8", "r2plus1d_18", "sacd", 0.025, 4_000_000_000, PROGRAM, 96)


SUMS, GATHERED = 160e6, 0.4e6
"""Bytes that the program's sums move in a ring, and what it gathers on eight devices."""


@pytest.mark.parametrize(
    ("devices", "by_links", "by_network"),
    [
        (1, 0, 0),
        (8, (SUMS + GATHERED) * 7 / 8, 0),
        (256, (SUMS + 32 * GATHERED) * 255 / 256, 0),
        # Eight rings of 256, between which each device sends for the 256th part of the array.
        (2048, (SUMS + 256 * GATHERED) * 255 / 256, (SUMS + 256 * GATHERED) / 256 * 7 / 8),
    ],
)
def test_sums_stay_and_what_is_gathered_grows(
    devices: int, by_links: float, by_network: float
) -> None:
    found = plan.sent_bytes(PROGRAM, 8, devices, CHIP.joined)
    assert found == pytest.approx((by_links, by_network))
    waits = 5 * plan.LATENCY if devices > 1 else 0
    expected = 0.025 + by_links / 100e9 + by_network / 4e9 + waits
    assert plan.step_seconds(STEP, CHIP, 8, devices) == pytest.approx(expected)


def test_parts_that_have_one_receiver_go_straight_to_it() -> None:
    program = Program(exchanged=Counter({"all-to-all": 32}))
    assert plan.sent_bytes(program, 16, 16, 8) == (32 * 7 / 16, 32 * 8 / 16)


def test_bytes_of_a_clip() -> None:
    assert plan.clip_bytes(ClipSettings()) == 60 * 128 * 171 + 4 * 3750


def test_the_papers_training() -> None:
    config = load_config("configs/s3ve_distill.py", Experiment)
    printed = plain(plan.table([STEP], CHIP, 8, 16, 102_519, config))
    (eight, *wider) = [line.split()[3:] for line in printed.splitlines() if line[:4] == "sacd"]
    seconds = 0.025 + (160.4e6 * 7 / 8) / 100e9 + 1e-4
    hours = 80 * 801 * seconds / 3600  # 801 steps of 128 clips
    assert eight[:5] == ["8", "1", "4.0", "of", "17"] and eight[5] == "96"
    assert float(eight[-2]) == pytest.approx(hours, rel=0.01) == float(eight[-1])
    assert [line[0] for line in wider] == ["256", "2048"] and wider[0][1] == "32"
    assert "Estimates; nothing ran" in printed and "136 GB" in printed
    assert "2 trainings of the config take other steps" in printed
    assert "a lower bound" not in printed
    on_gpu = plain(plan.table([STEP], replace(CHIP, clock=None), 8, 16, 102_519, config))
    assert "a lower bound of steps and hours" in on_gpu


def test_a_sweep_counts_its_seeds() -> None:
    config = load_config("configs/sweeps/table2.py", SweepConfig)
    of_sacd = [run for run in plan.trainings(config) if plan._takes(run, STEP)]
    rows = [row for row in config.rows.values() if plan._takes(row.run, STEP)]
    assert len(of_sacd) == len(rows) * len(config.seeds)
