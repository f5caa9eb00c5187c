"""Measures how fast things are on this machine, in turns; estimates how fast on TPUs elsewhere."""

import argparse

from input_pipeline.command_errors import one_line_errors
from sacd_jax.benchmarks import check, day, distill, input, predict, step, topology, train

SUBCOMMANDS = {
    "input": input,
    "step": step,
    "distill": distill,
    "topology": topology,
    "train": train,
    "predict": predict,
    "check": check,
    "day": day,
}
"""Name -> module with a one-line docstring, `EXAMPLE`, `add_arguments` and `run`."""


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.benchmark",
        description=__doc__,
        epilog="examples:\n" + "\n".join(f"  {m.EXAMPLE}" for m in SUBCOMMANDS.values()),
        formatter_class=raw,
    )
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="WHAT")
    for name, module in SUBCOMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0]
        subparser = subparsers.add_parser(
            name,
            help=summary,
            description=module.__doc__,
            epilog=f"example:\n  {module.EXAMPLE}",
            formatter_class=raw,
        )
        module.add_arguments(subparser)
    arguments = parser.parse_args(argv)
    SUBCOMMANDS[arguments.subcommand].run(arguments)


if __name__ == "__main__":
    with one_line_errors():
        main()
