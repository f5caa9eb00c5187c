"""A figure as it is stored: as PNG, as SVG, and its numbers as CSV."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from input_pipeline.files import remove_unfinished, whole_file, write_csv
from sacd_jax.report.plots import to_png


def write_figure(folder: Path, name: str, figure: Figure, dpi: int = 110) -> Path:
    """Writes `<name>.png` and `<name>.svg`, without dates or addresses; returns the PNG's path.

    The same figure gives the same bytes.
    """
    remove_unfinished(folder, f"{name}.*")
    picture = folder / f"{name}.png"
    with whole_file(picture) as temporary:
        temporary.write_bytes(to_png(figure, dpi))
    without = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with (
        matplotlib.rc_context({"svg.hashsalt": name}),
        whole_file(folder / f"{name}.svg") as temporary,
    ):
        figure.savefig(temporary, format="svg", metadata=without)
    return picture


def write_numbers(folder: Path, name: str, table: tuple[list[str], Sequence[list[Any]]]) -> None:
    """Writes `<name>.csv` from its header and rows."""
    header, rows = table
    write_csv(folder / f"{name}.csv", header, list(rows))
