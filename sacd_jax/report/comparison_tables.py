"""The tables of a comparison."""

from input_pipeline.stages import AHI_GROUPS, STAGES, VIEWS
from sacd_jax.metrics import collapse, from_confusion
from sacd_jax.report import statistics, tables, wording
from sacd_jax.report.comparison import Results
from sacd_jax.report.tables import Cell, Table

COLUMNS = tables.DEFAULT_COLUMNS


def main_table(results: Results) -> Table:
    """All rows with all columns, intervals as details."""
    subjects = wording.counted(len(results.subjects), "test subject")
    clips = int(results.rows[0].counts.sum())
    body = tuple(
        (
            Cell(row.name),
            *(tables.estimate_cell(column, row.figures[column]) for column in COLUMNS),
        )
        for row in results.rows
    )
    header = ("", *(tables.heading(column) for column in COLUMNS))
    notes = [
        f"{subjects}, {clips} scored clips of 30 s. Percent, kappa as it is. W to REM: recall, the "
        "share of the stage's clips that are found.",
        "Under each value: its 95 % interval over subjects (bootstrap of whole subjects)."
        if len(results.subjects) > 1
        else "One test subject: there are no intervals over subjects.",
        *results.caution,
    ]
    return Table("Sleep staging of the test subjects", header, body, tuple(notes))


def difference_table(results: Results, pair: tuple[str, str]) -> Table:
    """One run minus another: each figure with interval, test and verdict."""
    body = tuple(
        (
            Cell(
                f"recall of {name.removeprefix('recall/')}" if "/" in name else tables.heading(name)
            ),
            *tables.difference_cells(name, found),
        )
        for name, found in results.differences[pair].items()
    )
    header = ("", "difference", "95 % interval", "p", "subjects better", "verdict")
    note = (
        "Points of percent, kappa as it is. Interval: paired bootstrap of subjects; p: Wilcoxon "
        "signed-rank over subjects. Better or worse only where both agree; one training of each, "
        "so the spread over seeds is not in it."
    )
    return Table(f"{pair[0]} − {pair[1]}", header, body, (note,))


def views_table(results: Results) -> Table:
    """Accuracy and kappa when stages are merged to 4, 3 and 2 classes."""
    header = [""]
    for view, (names, _) in VIEWS.items():
        header += [f"{view}: {', '.join(names)}" if view != len(STAGES) else f"{view} stages", "κ"]
    body = []
    for row in results.rows:
        cells = [Cell(row.name)]
        for view in VIEWS:
            found = from_confusion(collapse(row.counts.sum(0), view))
            cells += [Cell(tables.number(name, found[name])) for name in ("accuracy", "kappa")]
        body.append(tuple(cells))
    return Table("Coarser views: accuracy and kappa", tuple(header), tuple(body))


SUBJECT_FIGURES = ("accuracy", "macro_f1", "kappa")


def agreement_table(results: Results) -> Table:
    """Kappa in its forms with intervals."""
    columns = ("kappa", "kappa_linear", "kappa_quadratic", "pabak")
    body = tuple(
        (Cell(row.name), *(tables.estimate_cell(name, row.figures[name]) for name in columns))
        for row in results.rows
    )
    header = ("", *(tables.heading(name) for name in columns))
    note = (
        "Linear and quadratic: a mistake weighs by its distance in the order W, N1, N2, N3, REM. "
        "PABAK: chance gives every stage alike."
    )
    return Table("Agreement beyond chance", header, body, (note,))


def subject_table(results: Results) -> Table:
    """Clips, accuracy, macro F1 and kappa of each test subject in each run."""
    body = []
    for row in (row for row in results.rows if row.kind == "run"):
        found = from_confusion(row.counts)
        for at, subject in enumerate(results.subjects):
            figures = (tables.number(name, found[name][at]) for name in SUBJECT_FIGURES)
            cells = (row.name, str(subject), str(found["clips"][at]), *figures)
            body.append(tuple(map(Cell, cells)))
    header = ("", "subject", "clips", *(tables.heading(name) for name in SUBJECT_FIGURES))
    return Table("Each test subject", header, tuple(body))


def strata_table(results: Results) -> Table:
    """Accuracy of each row by the subjects' severity of apnoea."""
    sizes = {
        label: int((results.ahi_group == at).sum())
        for at, label in enumerate(AHI_GROUPS)
        if (results.ahi_group == at).any()
    }
    body = []
    for row in results.rows:
        parts = statistics.by_group(row.counts, results.ahi_group, AHI_GROUPS)
        accuracies = (from_confusion(parts[label].sum(0))["accuracy"] for label in sizes)
        body.append(
            (Cell(row.name), *(Cell(tables.number("accuracy", value)) for value in accuracies))
        )
    header = (
        "",
        *(f"{label} ({wording.counted(size, 'subject')})" for label, size in sizes.items()),
    )
    return Table("Accuracy by severity of apnoea (AHI group)", header, tuple(body))
