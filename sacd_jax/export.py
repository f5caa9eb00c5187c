"""Writes a stager as one zip file that runs with jax, numpy and flatbuffers alone."""

import argparse
from pathlib import Path

from input_pipeline.command_errors import one_line_errors
from sacd_jax.exporting import stager_zip
from sacd_jax.staging.stager import load_stager

EXAMPLE = "python -m sacd_jax.export --model runs/demo/sacd --out stager.zip"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.export",
        description=__doc__,
        epilog=f"example: {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", type=Path, required=True, help="folder of a finished run")
    parser.add_argument("--out", type=Path, required=True, help="the zip file to write")
    arguments = parser.parse_args(argv)
    stager_zip.write(load_stager(arguments.model), arguments.out)
    size = arguments.out.stat().st_size / 2**20
    platforms = ", ".join(stager_zip.PLATFORMS)
    print(
        f"{arguments.out}: {size:.1f} MB, programs for {platforms}; "
        f"read back, equal to {stager_zip.TOLERANCE:g}"
    )


if __name__ == "__main__":
    with one_line_errors():
        main()
