"""Sets cells of a manifest and leaves every other as the user wrote it."""

import csv
import io
from pathlib import Path

from input_pipeline.files import read_text, write_csv


def set_columns(source: Path, target: Path, values: dict[str, dict[str, str]]) -> None:
    """Copies the manifest `source` to `target` (which may be the same file), whole or not at all.

    Args:
        values: night_id -> column -> cell. Columns that are not there are added behind the others;
            rows of other nights keep their cells.

    Raises:
        UserError: the manifest cannot be read.
    """
    text = read_text(source, f"manifest {source}")
    rows = [row for row in csv.reader(io.StringIO(text, newline="")) if any(map(str.strip, row))]
    header = rows[0]
    while not header[-1].strip():  # empty last columns of a spreadsheet
        header.pop()
    names = [name.strip() for name in header]
    wanted = dict.fromkeys(column for cells in values.values() for column in cells)
    new = [column for column in wanted if column not in names]
    place = {column: i for i, column in enumerate(names + new)}
    for row in rows[1:]:
        row[len(names) :] = [""] * len(new)
        row += [""] * (len(place) - len(row))
        for column, cell in values.get(row[place["night_id"]].strip(), {}).items():
            row[place[column]] = cell
    write_csv(target.resolve(), header + new, rows[1:])
