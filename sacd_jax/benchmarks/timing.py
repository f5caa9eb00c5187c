"""Interleaved timing: variants run A B A B …, so that load spikes affect all of them equally."""

import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import jax
import jaxlib

from input_pipeline.processes import cores
from input_pipeline.progress import Progress
from sacd_jax.report.tables import Cell, Table


@dataclass(frozen=True)
class Measured:
    """One run of something: wall seconds, and processor seconds over all threads."""

    wall: float
    cpu: float


class Contestant(Protocol):
    """Something that can be run repeatedly.

    Attributes:
        name: what the table calls it.
        group: the ratio is taken to the first of the same group.
    """

    name: str
    group: str

    def run(self) -> Measured:
        """Runs it once to the end."""
        ...


@dataclass
class Timed:
    """A contestant's runs; `warm_up` is apart, it holds the compilation."""

    name: str
    group: str
    warm_up: Measured
    rounds: list[Measured] = field(default_factory=list)

    @property
    def median(self) -> float:
        """Median wall seconds."""
        return statistics.median(measured.wall for measured in self.rounds)

    @property
    def cpu(self) -> float:
        """Median processor seconds."""
        return statistics.median(measured.cpu for measured in self.rounds)


def take_turns(contestants: Sequence[Contestant], rounds: int) -> list[Timed]:
    """Runs every contestant once to warm up, then all of them interleaved, `rounds` times."""
    total = len(contestants) * (rounds + 1)
    with Progress("benchmark", total=total, unit="run") as progress:
        timed = []
        for contestant in contestants:
            timed.append(Timed(contestant.name, contestant.group, contestant.run()))
            progress.advance()
        for _ in range(rounds):
            for contestant, result in zip(contestants, timed, strict=True):
                result.rounds.append(contestant.run())
                progress.advance()
    return timed


def ratios(timed: Sequence[Timed]) -> list[float]:
    """Median wall seconds over those of the first of the group."""
    first: dict[str, float] = {}
    return [result.median / first.setdefault(result.group, result.median) for result in timed]


def table(title: str, timed: Sequence[Timed], clips: int, notes: Sequence[str]) -> Table:
    """The results as a table; a run handles `clips` clips."""
    header = ("", "wall s", "min", "max", "CPU s", "clips/s", "clips/CPU s", "ratio", "warm-up s")
    rows = []
    for result, ratio in zip(timed, ratios(timed), strict=True):
        walls = [measured.wall for measured in result.rounds]
        seconds = (result.median, min(walls), max(walls), result.cpu)
        rates = (clips / result.median, clips / result.cpu)
        values = (*seconds, *rates, ratio, result.warm_up.wall)
        texts = [f"{value:.3g}" for value in values]
        rows.append((Cell(result.name), *(Cell(text) for text in texts)))
    return Table(title, header, tuple(rows), tuple(notes))


def as_json(timed: Sequence[Timed], clips: int) -> list[dict[str, Any]]:
    """The results with every single run."""
    return [
        {
            "name": result.name,
            "group": result.group,
            "wall_seconds": [measured.wall for measured in result.rounds],
            "cpu_seconds": [measured.cpu for measured in result.rounds],
            "median_wall_seconds": result.median,
            "median_cpu_seconds": result.cpu,
            "clips_per_second": clips / result.median,
            "clips_per_cpu_second": clips / result.cpu,
            "ratio": ratio,
            "warm_up_seconds": result.warm_up.wall,
        }
        for result, ratio in zip(timed, ratios(timed), strict=True)
    ]


def machine() -> dict[str, Any]:
    """The machine that was measured; `load` is the load average of the last minute."""
    return {
        "processor": _processor(),
        "cores": cores(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "load": os.getloadavg()[0],
    }


def facts(machine: Mapping[str, Any]) -> str:
    """The machine in one line, for a table's notes."""
    return ", ".join(
        f"{name} {value:.1f}" if name == "load" else f"{name} {value}"
        for name, value in machine.items()
        if value != ""
    )


def heading(what: str, settings: Mapping[str, Any]) -> str:
    """A table's title: what was measured, and how."""
    return f"{what}: " + ", ".join(f"{name} {value}" for name, value in settings.items())


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
