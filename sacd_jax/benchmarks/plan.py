"""What the trainings of a config would take on a machine, from estimates of their step.

Nothing here is measured. A step is the compiler's time (on GPUs, which it gives none for, the time
of the bytes at the memory's full bandwidth: a lower bound) and after it the collectives, none of
them hidden behind computing. A collective sends, in a ring of n devices, (n - 1) / n of its array,
an all-reduce twice that, at the link's full bandwidth, and waits `LATENCY` before. Beyond the g
devices that links join, it goes ring by ring: of m rings each device also sends (m - 1) / m of the
g-th part of the array over the network. More devices than were compiled for: each has as many
clips; arrays that are gathered or exchanged grow with them, sums do not.
"""

import math
from dataclasses import dataclass

from input_pipeline.clips import CLIP_SECONDS, ClipSettings
from sacd_jax.benchmarks.absent_devices import Chip
from sacd_jax.benchmarks.hlo import Program
from sacd_jax.config import Experiment, RunConfig
from sacd_jax.report.tables import Cell, Table
from sacd_jax.sweeps.sweep_config import SweepConfig

LATENCY = 20e-6
"""Seconds that each collective waits; assumed."""
WIDER = (8, 256, 2048)
"""Devices that a plan also speaks of."""


@dataclass(frozen=True)
class Step:
    """What a plan has to know of a compiled step.

    Attributes:
        name: in the table.
        model, method: of the trainings that take such steps; `none` is cross-entropy alone.
        seconds: of computing.
        peak_bytes: of a device's memory.
        program: its collectives.
        largest_batch: clips a device that fit; None where nobody asked.
    """

    name: str
    model: str
    method: str
    seconds: float
    peak_bytes: int
    program: Program
    largest_batch: int | None = None


def sent_bytes(
    program: Program, compiled_for: int, devices: int, joined: int
) -> tuple[float, float]:
    """Bytes that one of `devices` sends in a step over links, and over the network.

    Args:
        program: compiled for `compiled_for` devices.
        compiled_for, devices: their numbers.
        joined: devices that links join.
    """
    near = min(devices, joined)
    by_links, by_network = 0.0, 0.0
    for kind, size in program.exchanged.items():
        if kind == "all-reduce":
            whole = 2 * size
        else:
            whole = size * devices / compiled_for if compiled_for > 1 else 0
        if kind == "all-to-all":  # each part has one receiver
            by_links += whole * (near - 1) / devices
            by_network += whole * (devices - near) / devices
        else:
            by_links += whole * (near - 1) / near
            by_network += whole / near * (devices - near) / devices
    return by_links, by_network


def step_seconds(step: Step, chip: Chip, compiled_for: int, devices: int) -> float:
    """Seconds of a step on so many devices."""
    if devices == 1:
        return step.seconds
    by_links, by_network = sent_bytes(step.program, compiled_for, devices, chip.joined)
    waiting = step.program.collectives.total() * LATENCY
    return step.seconds + by_links / chip.link + by_network / chip.network + waiting


def clip_bytes(clips: ClipSettings) -> float:
    """Bytes of a stored clip: grey frames and EEG."""
    frames = clips.frame_rate * CLIP_SECONDS * clips.height * clips.width
    return frames + 4 * clips.eeg_rate * CLIP_SECONDS


def trainings(config: Experiment | SweepConfig) -> list[RunConfig]:
    """All trainings of networks in a config, a row's once for each seed."""
    if isinstance(config, Experiment):
        runs = list(config.runs.values())
    else:
        rows = [row.run for row in config.rows.values() for _ in config.seeds]
        runs = [*config.teachers.values(), *rows]
    return [run for run in runs if run.task != "boost"]


def table(
    steps: list[Step],
    chip: Chip,
    compiled_for: int,
    batch: int,
    rows: int,
    config: Experiment | SweepConfig,
) -> Table:
    """The plan as a table, a line for each step and number of devices.

    Args:
        steps: compiled ones.
        chip: what they were compiled for.
        compiled_for: devices that they were compiled for.
        batch: clips a device.
        rows: clips of the train split.
        config: whose trainings are planned.
    """
    runs = trainings(config)
    lines = []
    for step in steps:
        mine = [run for run in runs if _takes(run, step)]
        passes = sum(run.passes for run in mine)
        for devices in sorted({compiled_for, *(n for n in WIDER if n > compiled_for)}):
            seconds = step_seconds(step, chip, compiled_for, devices)
            hours = passes * math.ceil(rows / (batch * devices)) * seconds / 3600
            machines = math.ceil(devices / chip.machine)
            sent = sum(sent_bytes(step.program, compiled_for, devices, chip.joined))
            texts = [
                str(devices),
                str(machines),
                f"{step.peak_bytes / 1e9:.1f} of {chip.memory / 1e9:.0f}",
                "–" if step.largest_batch is None else str(step.largest_batch),
                f"{1000 * seconds:.1f}",
                f"{sent / 1e6:.0f}",
                f"{100 * step.seconds / seconds:.0f}",
                f"{batch * devices / seconds:,.0f}",
                f"{len(mine)}",
                f"{hours:.3g}" if mine else "–",
                f"{hours * machines:.3g}" if mine else "–",
            ]
            lines.append((Cell(step.name), *map(Cell, texts)))
    header = (
        "",
        "devices",
        "machines",
        "GB a device",
        "largest batch",
        "ms a step",
        "MB sent",
        "scaling %",
        "clips/s",
        "trainings",
        "hours",
        "machine-hours",
    )
    disk = rows * clip_bytes(config.dataset.clips) / 1e9
    others = [run for run in runs if not any(_takes(run, step) for step in steps)]
    notes = [
        "Estimates; nothing ran. ms a step: computing as above, then collectives: "
        "(n - 1) / n of an array, twice that of a sum, "
        f"at {chip.link / 1e9:.0f} GB/s, and {1e6 * LATENCY:.0f} µs for each; beyond "
        f"{chip.joined} devices, between their rings at {chip.network / 1e9:.3g} GB/s a device.",
        "scaling: share of computing. Each device has as many clips on any number of them, "
        "whatever the config's batch_size is.",
        f"hours: passes x ceil({rows} clips / (batch x devices)) x step, of all trainings one "
        "after the other; evaluation, checkpoints and waiting for data not counted.",
        f"Data on disk: {disk:.0f} GB for these clips, on each machine.",
    ]
    if chip.clock is None:
        notes.append(
            "Computing is the time of the bytes at the memory's full bandwidth, a lower bound of "
            "steps and hours: the compiler gives no time for this chip."
        )
    if others:
        notes.append(f"{len(others)} trainings of the config take other steps and are not counted.")
    return Table(f"Plan for {batch} clips a device", header, tuple(lines), tuple(notes))


def _takes(run: RunConfig, step: Step) -> bool:
    method = run.objective.name if run.objective else "none"
    return (run.student.name, method) == (step.model, step.method)
