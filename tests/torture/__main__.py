"""Command: damages inputs and kills trainings, and says what must not happen but did."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.torture import commands, full_disk, kills, memory, targets
from tests.torture.fuzz import Outcome, fuzz_all


def report(outcomes: dict[str, Outcome]) -> str:
    """A table, then a line for each failure."""
    lines = [f"{'':<12}{'inputs':>8}{'read':>8}{'refused':>8}{'failed':>8}  slowest  grown by"]
    for name, outcome in outcomes.items():
        lines.append(
            f"{name:<12}{outcome.inputs:>8}{outcome.read:>8}{outcome.refused:>8}"
            f"{len(outcome.failures):>8}{outcome.slowest_s:>7.2f} s"
            f"{outcome.grown_bytes >> 20:>7} MB"
        )
    lines += [failure for outcome in outcomes.values() for failure in outcome.failures[:20]]
    return "\n".join(lines)


def report_kills(outcome: kills.Outcome) -> str:
    """What was killed in how many processes, how and where, then a line for each failure."""
    lines = [
        f"{outcome.kills} kills of {outcome.experiments} experiments, "
        f"{len(outcome.failures)} failures"
    ]
    for counted in (outcome.processes, outcome.signals, outcome.phases):
        lines.append(", ".join(f"{name} {times}" for name, times in counted.most_common()))
    return "\n".join([*lines, *outcome.failures])


def report_disk(outcome: kills.Outcome) -> str:
    """How often, and where, the disk was full, then a line for each failure."""
    times = f"{sum(outcome.phases.values())} full disks, {len(outcome.failures)} failures"
    places = ", ".join(f"{name} {times}" for name, times in outcome.phases.most_common())
    return "\n".join([times, places, *outcome.failures])


def report_memory(resident: dict[int, int]) -> str:
    """What was resident at the beginning and at the end."""
    steps = (memory.SETTLED, max(resident))
    found = [f"{memory.at(resident, step) / 1e6:.0f} MB at step {step}" for step in steps]
    return f"resident: {', '.join(found)}"


def main(argv: list[str] | None = None) -> int:
    """Entry point; 1 if anything failed is the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture",
        description=__doc__,
        epilog="one input again: python -m tests.torture --fuzz 1 --only edf --first 1234",
    )
    names = [target.name for target in (*targets.TARGETS, *commands.TARGETS)]
    parser.add_argument("--fuzz", type=int, default=0, metavar="N", help="damaged inputs")
    parser.add_argument(
        "--commands", action="store_true", help="read by whole commands, not by single readers"
    )
    parser.add_argument("--kills", type=int, default=0, metavar="N", help="killed trainings")
    parser.add_argument(
        "--full-disk", action="store_true", help="a training on a disk too small (root, tmpfs)"
    )
    parser.add_argument("--steps", type=int, default=0, metavar="N", help="memory of a training")
    parser.add_argument("--only", choices=names, help="one reader alone")
    parser.add_argument("--first", type=int, default=0, help="number of each reader's first input")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other damages and kills")
    parser.add_argument("--jobs", type=int, default=2, help="at a time (%(default)s)")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path(tempfile.gettempdir(), "sacd_jax_kills"),
        help="of the trainings; the kills in its log are counted, so that they go on (%(default)s)",
    )
    arguments = parser.parse_args(argv)
    if not (arguments.fuzz or arguments.kills or arguments.full_disk or arguments.steps):
        parser.error("expected --fuzz, --kills, --full-disk or --steps")
    begun, failed = time.perf_counter(), False
    if arguments.fuzz:
        module = commands if arguments.commands else targets
        chosen = [target for target in module.TARGETS if arguments.only in (None, target.name)]
        outcomes = fuzz_all(
            chosen,
            arguments.fuzz,
            arguments.seed,
            first=arguments.first,
            jobs=arguments.jobs,
            module=module.__name__,
        )
        print(report(outcomes))
        failed |= any(outcome.failures for outcome in outcomes.values())
    if arguments.kills:
        torture = kills.Torture(arguments.folder, arguments.seed)
        outcome = torture.run(arguments.kills, arguments.jobs)
        print(report_kills(outcome))
        failed |= bool(outcome.failures)
    if arguments.full_disk:
        outcome = full_disk.fill(arguments.folder, arguments.seed)
        print(report_disk(outcome))
        failed |= bool(outcome.failures)
    if arguments.steps:
        print(report_memory(memory.resident(arguments.folder, arguments.steps)))
    print(f"{time.perf_counter() - begun:.0f} s")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
