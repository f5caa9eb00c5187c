"""Tables: one description, written as Markdown, plain text or on a terminal."""

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

import numpy as np
from jaxtyping import Int
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from input_pipeline.stages import STAGES
from sacd_jax.metrics import json_ready
from sacd_jax.report import statistics
from sacd_jax.report.crossed import CrossedDifference, crossed_difference, holm
from sacd_jax.report.paper_results import PaperResult
from sacd_jax.report.statistics import Difference, Estimate

BESIDE_100 = ("kappa", "kappa_linear", "kappa_quadratic", "pabak", "mcc", "brier")
"""Figures that are not printed in percent."""


@dataclass(frozen=True)
class Cell:
    """A value, and a detail beside it (an interval, the paper's figure)."""

    text: str
    detail: str = ""


@dataclass(frozen=True)
class Table:
    """Rows of cells under a header; the first column holds names. Notes stand below.

    `prose` are the columns that hold words, which a page may break into lines.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    prose: tuple[int, ...] = ()


def number(name: str, value: float, signed: bool = False) -> str:
    """A figure as tables print it: percent with one decimal, kappa and MCC with two as they are."""
    if not math.isfinite(value):
        return "–"
    sign = "+" if signed else ""
    if name in BESIDE_100:
        return format(value, f"{sign}.2f").replace("-", "−")
    return format(100 * value, f"{sign}.1f").replace("-", "−")


def estimate_cell(name: str, estimate: Estimate) -> Cell:
    """Value, and its interval as the detail: in whole percent, kappa with two decimals."""
    if not estimate.low < estimate.high:  # nan, or a figure that no resampling can change
        return Cell(number(name, estimate.value))
    if name in BESIDE_100:
        return Cell(number(name, estimate.value), f"{estimate.low:.2f}–{estimate.high:.2f}")
    return Cell(number(name, estimate.value), f"{100 * estimate.low:.0f}–{100 * estimate.high:.0f}")


def difference_cells(name: str, found: Difference) -> tuple[Cell, ...]:
    """Difference, interval, p, subjects for and against, verdict."""
    interval = "–"
    if math.isfinite(found.low):
        interval = f"{number(name, found.low, True)} to {number(name, found.high, True)}"
    return (
        Cell(number(name, found.value, signed=True)),
        Cell(interval),
        Cell(f"{found.p:.3f}" if found.p >= 0.001 else "< 0.001"),
        Cell(f"{found.better} of {found.subjects}"),
        Cell(found.verdict),
    )


def markdown(table: Table) -> str:
    """The table in Markdown, notes below."""
    lines = [f"**{table.title}**", ""] if table.title else []
    lines.append("| " + " | ".join(_escaped(name) for name in table.header) + " |")
    lines.append("|" + "|".join(["---"] + ["---:"] * (len(table.header) - 1)) + "|")
    for row in table.rows:
        cells = (f"{c.text} ({c.detail})" if c.detail else c.text for c in row)
        lines.append("| " + " | ".join(_escaped(cell) for cell in cells) + " |")
    for note in table.notes:
        lines += ["", note]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def plain(table: Table) -> str:
    """The table in fixed-width text; details stand in a line of their own under the values."""
    width = [
        max(len(part) for row in table.rows for part in (row[at].text, row[at].detail, name))
        if table.rows
        else len(name)
        for at, name in enumerate(table.header)
    ]

    def line(parts: Sequence[str]) -> str:
        first, *others = parts
        cells = [first.ljust(width[0])]
        cells += [part.rjust(width[at + 1]) for at, part in enumerate(others)]
        return "  ".join(cells).rstrip()

    lines = [table.title] if table.title else []
    lines += [line(table.header), line(["-" * size for size in width])]
    for row in table.rows:
        lines.append(line([cell.text for cell in row]))
        if any(cell.detail for cell in row):
            lines.append(line([cell.detail for cell in row]))
    return "\n".join([*lines, *table.notes]) + "\n"


def show(table: Table, stream: TextIO | None = None) -> None:
    """Prints the table: drawn on a terminal, plain text elsewhere."""
    stream = stream or sys.stdout
    console = Console(file=stream)
    if not console.is_terminal:
        print(plain(table), file=stream, flush=True)
        return
    drawn = RichTable(title=table.title or None, title_justify="left", title_style="bold")
    for at, name in enumerate(table.header):
        drawn.add_column(name, justify="left" if at == 0 else "right", no_wrap=at > 0)
    for row in table.rows:
        drawn.add_row(
            *(
                Text(cell.text).append(f"\n{cell.detail}" if cell.detail else "", style="dim")
                for cell in row
            )
        )
    console.print(drawn)
    for note in table.notes:
        console.print(Text(note, style="dim"))


@dataclass(frozen=True)
class MethodRow:
    """One method of a comparison, over seeds.

    Attributes:
        name: the method.
        group: what it shares with others, such as the teacher's name; "" for none.
        counts: seed -> confusion counts of each test subject, subjects in one order everywhere.
    """

    name: str
    counts: Mapping[int, Int[np.ndarray, "subjects classes classes"]]
    group: str = ""


DEFAULT_COLUMNS = ("accuracy", "macro_f1", "kappa", *(f"recall/{name}" for name in STAGES))

_HEADINGS = {
    "accuracy": "accuracy",
    "macro_f1": "macro F1",
    "kappa": "kappa",
    "kappa_linear": "linear kappa",
    "kappa_quadratic": "quadratic kappa",
    "pabak": "PABAK",
    "mcc": "MCC",
    "balanced_accuracy": "balanced acc.",
    "calibration_error": "ECE",
    "brier": "Brier",
}


def heading(column: str) -> str:
    """A figure's name at the top of a column."""
    return _HEADINGS.get(column) or column.replace("recall/", "").replace("/", " ")


@dataclass(frozen=True)
class Verdict:
    """How rows are judged over subjects and seeds, where it was fixed before the first look.

    Attributes:
        figure: of each subject under each seed.
        correction: `holm` over the rows of one group, or `none`.
        level: a corrected p below it is a difference.
    """

    figure: str
    correction: str
    level: float

    def legend(self, reference: str) -> str:
        """What the last column says, in words."""
        holm = " corrected by Holm over the rows of a group" if self.correction == "holm" else ""
        return (
            f"Last column, fixed before the first run: {heading(self.figure)} of the test subjects "
            f"against {reference}, tested over subjects and seeds together. ▲ better or ▼ worse: "
            f"p{holm} is below {self.level:g}; ≈ within noise. In brackets that p, and the "
            "difference that such a study finds in about 80 % of cases at an uncorrected 5 %."
        )


def _append_verdicts(
    verdict: Verdict,
    rows: Sequence[MethodRow],
    body: Sequence[list[Cell]],
    records: Sequence[dict[str, Any]],
) -> None:
    """Adds the last column, and `verdict` to the records; a family of tests is a group of rows."""
    families: dict[str, list[int]] = {}
    for at, (row, record) in enumerate(zip(rows, records, strict=True)):
        found = (record.get("over_subjects_and_seeds") or {}).get(verdict.figure)
        if found is None:
            body[at].append(Cell("–"))
        else:
            families.setdefault(row.group, []).append(at)
    for family in families.values():
        differences = [records[at]["over_subjects_and_seeds"][verdict.figure] for at in family]
        p = [found["p"] for found in differences]
        corrected = holm(p) if verdict.correction == "holm" else p
        for at, found, value in zip(family, differences, corrected, strict=True):
            mark = ("▲" if found["value"] > 0 else "▼") if value < verdict.level else "≈"
            said = number(verdict.figure, found["value"], signed=True)
            detectable = number(verdict.figure, found["detectable"])
            body[at].append(Cell(f"{said} {mark}", f"p {value:.3f}, detects {detectable}"))
            records[at]["verdict"] = {"p": value, "tests": len(family), "mark": mark}


def method_table(
    rows: Sequence[MethodRow],
    *,
    reference: str | None = None,
    paper: Mapping[tuple[str, str], PaperResult] | None = None,
    title: str = "",
    columns: Sequence[str] = DEFAULT_COLUMNS,
    names: Sequence[str] = STAGES,
    notes: Sequence[str] = (),
    resamples: int = 2000,
    verdict: Verdict | None = None,
) -> tuple[str, dict[str, Any]]:
    """The table of a sweep: mean and standard deviation over seeds, the paper's figure beside ours.

    Args:
        rows: the methods, in the table's order. One that has neither seeds nor the paper's figures
            is left out, unless none has any.
        reference: name of the row every other row is judged against (the student without
            distillation); of the same group if there is one of that name, else of group "".
        paper: (group, name) -> the paper's figures.
        title: what stands above the table.
        columns: figures of `statistics.figures`.
        names: names of the classes.
        notes: sentences that stand below the table and in the JSON (what differs in data).
        resamples: bootstrap samples of the judgement.
        verdict: judges in the last column by what was fixed beforehand.

    Returns:
        The table in Markdown, and all of it as a value for JSON.
    """
    paper = paper or {}
    by_key = {(row.group, row.name): row for row in rows}
    rows = [row for row in rows if row.counts or (row.group, row.name) in paper] or rows
    body, records = [], []
    grouped = any(row.group for row in rows)
    for row in rows:
        against = by_key.get((row.group, reference or "")) or by_key.get(("", reference or ""))
        judged, both = None, {}
        if against is not None and against is not row and row.counts and against.counts:
            judged = _judge(row, against, names, resamples)
            both = {
                column: _over_seeds(row, against, names, column)
                for column in dict.fromkeys(("accuracy", *columns))
            }
        printed = paper.get((row.group, row.name))
        each = [statistics.figures(counts.sum(0), names) for counts in row.counts.values()]
        record: dict[str, Any] = {"group": row.group, "name": row.name, "seeds": list(row.counts)}
        cells = [Cell(f"{row.group}: {row.name}" if row.group else row.name)]
        for column in columns:
            values = np.array([float(found[column]) for found in each])
            mean = float(values.mean()) if values.size else math.nan
            spread = float(values.std(ddof=1)) if values.size > 1 else math.nan
            theirs = printed.figure(column) if printed else None
            cells.append(_method_cell(column, mean, spread, theirs))
            record[column] = {"mean": mean, "std": spread, "values": values, "paper": theirs}
        record["verdict"] = None
        if reference is not None and verdict is None:
            judgement = _judgement_cell(judged["accuracy"], both["accuracy"]) if judged else None
            cells.append(judgement or Cell("–"))
        if reference is not None:
            record["against_reference"] = judged and {
                name: vars(found) for name, found in judged.items() if name in columns
            }
            record["over_subjects_and_seeds"] = {
                name: found and vars(found) for name, found in both.items()
            }
        body.append(cells)
        records.append(record)
    if verdict is not None:
        _append_verdicts(verdict, rows, body, records)
    header = ["teacher: method" if grouped else "method", *map(heading, columns)]
    legend = [
        "Values in percent (kappa as it is): mean ± standard deviation over seeds."
        + (" In brackets: the paper's figure on its own data." if paper else "")
    ]
    if reference is not None and verdict is not None:
        header.append(f"{heading(verdict.figure)} − {reference}")
        legend.append(verdict.legend(reference))
    elif reference is not None:
        header.append(f"accuracy − {reference}")
        legend.append(
            f"Last column: ▲ better or ▼ worse than {reference}, ≈ within noise (paired bootstrap "
            "and Wilcoxon signed-rank over test subjects, mean of seeds; no correction for the "
            "number of rows). With two seeds or more in common a test over subjects and seeds "
            "together must agree; in brackets its p and the difference in subjects' accuracy that "
            "it would find in about 80 % of such studies."
        )
    table = Table(title, tuple(header), tuple(map(tuple, body)), (*legend, *notes))
    value = {"title": title, "rows": records, "reference": reference, "notes": list(notes)}
    return markdown(table), json_ready(value)


def _judge(
    row: MethodRow, against: MethodRow, names: Sequence[str], resamples: int
) -> dict[str, Difference]:
    # Counts of all seeds together: figures do not depend on the scale of counts, so different
    # numbers of seeds do no harm, and no single lucky seed is judged.
    ours, theirs = (np.sum(list(of.counts.values()), axis=0) for of in (row, against))
    draws = statistics.resample_subjects(len(ours), resamples)
    return statistics.differences(ours, theirs, names, draws)


def _method_cell(column: str, mean: float, spread: float, paper: float | None) -> Cell:
    text = number(column, mean)
    if math.isfinite(spread):
        text += f" ± {number(column, spread)}"
    return Cell(text, number(column, paper) if paper is not None else "")


def _over_seeds(
    row: MethodRow, against: MethodRow, names: Sequence[str], figure: str
) -> CrossedDifference | None:
    """One figure of the subjects, over them and the seeds that both rows have."""
    seeds = [seed for seed in row.counts if seed in against.counts]
    if not seeds:
        return None
    ours, theirs = (
        np.stack([statistics.figures(of.counts[seed], names)[figure] for seed in seeds], axis=1)
        for of in (row, against)
    )
    return crossed_difference(ours - theirs)


def _judgement_cell(found: Difference, over_seeds: CrossedDifference | None) -> Cell:
    mark = {"better": "▲", "worse": "▼"}.get(found.verdict, "≈")
    said = number("accuracy", found.value, signed=True)
    if over_seeds is None:
        return Cell(f"{said} {mark}")
    if over_seeds.p >= 1 - statistics.LEVEL:
        mark = "≈"
    detectable = number("accuracy", over_seeds.detectable)
    return Cell(f"{said} {mark}", f"p {over_seeds.p:.2f}, detects {detectable}")
