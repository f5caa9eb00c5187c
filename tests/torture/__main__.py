"""Command: tries damaged inputs on everything that reads, and says what must not happen but did."""

import argparse
import sys
import time

from tests.torture.fuzz import Outcome, fuzz_all
from tests.torture.targets import TARGETS


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


def main(argv: list[str] | None = None) -> int:
    """Entry point; the number of failures is the exit status, 1 at most."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.torture",
        description=__doc__,
        epilog="one input again: python -m tests.torture --fuzz 1 --only edf --first 1234",
    )
    names = [target.name for target in TARGETS]
    parser.add_argument("--fuzz", type=int, default=20_000, metavar="N", help="damaged inputs")
    parser.add_argument("--only", choices=names, help="one reader alone")
    parser.add_argument("--first", type=int, default=0, help="number of each reader's first input")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other damages")
    parser.add_argument("--jobs", type=int, default=2, help="processes (%(default)s)")
    arguments = parser.parse_args(argv)
    chosen = [target for target in TARGETS if arguments.only in (None, target.name)]
    begun = time.perf_counter()
    outcomes = fuzz_all(
        chosen, arguments.fuzz, arguments.seed, first=arguments.first, jobs=arguments.jobs
    )
    print(report(outcomes))
    print(f"{time.perf_counter() - begun:.0f} s")
    return int(any(outcome.failures for outcome in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
