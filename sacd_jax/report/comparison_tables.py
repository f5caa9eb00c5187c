"""The tables of a comparison."""

import math

from input_pipeline.stages import STAGES, VIEWS
from sacd_jax.calibration import BINS
from sacd_jax.metrics import collapse, from_confusion
from sacd_jax.report import tables, wording
from sacd_jax.report.comparison import Results
from sacd_jax.report.night_agreement import FIGURES as FIGURES_OF_NIGHTS
from sacd_jax.report.night_agreement import NightAgreement
from sacd_jax.report.reliability import FIGURES
from sacd_jax.report.strata import FEWEST_SUBJECTS, Grouping
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


def calibration_table(results: Results) -> Table:
    """Calibration of each run as its network says it, and with its temperature."""
    body = []
    for name, found in results.reliability.items():
        given = found.temperature
        cells = [Cell(name), Cell(f"{given.value:.2f}" if given else "–")]
        for figure in FIGURES:
            cells.append(tables.estimate_cell(figure, found.plain.figures[figure]))
            scaled = found.scaled
            cells.append(
                tables.estimate_cell(figure, scaled.figures[figure]) if scaled else Cell("–")
            )
        body.append(tuple(cells))
    header = ["", "temperature"]
    for figure in FIGURES:
        header += [tables.heading(figure), f"{tables.heading(figure)}, scaled"]
    fitted = {
        f"{wording.counted(given.clips, 'clip')} of "
        f"{wording.counted(given.subjects, 'validation subject')}"
        for found in results.reliability.values()
        if (given := found.temperature)
    }
    notes = [
        "ECE: how far the share of right answers lies from the probability that was stated, over "
        f"{BINS} bins, in points of percent; few clips make it look worse than it is. Brier: mean "
        "squared error of the five probabilities, 0 to 2; 0.80 is what 20 % for every stage gets.",
    ]
    if fitted:
        whose = " (of training subjects here: trusts itself too much)" if results.leaks else ""
        notes.append(
            "Scaled: scores divided by the temperature, which was fitted on "
            f"{', '.join(sorted(fitted))}{whose}, never on test subjects. It changes "
            "no answer, only how sure it sounds."
        )
    return Table("Calibration", tuple(header), tuple(body), tuple(notes))


def nights_table(found: NightAgreement) -> Table:
    """Sleep statistics of one run's whole nights beside the scorer's."""
    body = []
    for name, each in found.figures.items():
        truth = f"{each.truth.mean():.1f}" if len(each.truth) else "–"
        estimates = (
            Cell(
                _signed(of.value),
                f"{_signed(of.low)} to {_signed(of.high)}" if math.isfinite(of.low) else "",
            )
            for of in (each.bias, each.lower, each.upper)
        )
        body.append(
            (Cell(FIGURES_OF_NIGHTS[name]), Cell(str(len(each.subjects))), Cell(truth), *estimates)
        )
    header = ("", "subjects", "scorer's mean", "bias", "lower limit", "upper limit")
    note = (
        "Bias: mean of network − scorer over subjects. Limits of agreement: where the differences "
        "of 95 % of subjects should lie. Under each: its 95 % interval; with few subjects limits "
        "are little more than a guess. REM latency: subjects in whom both have REM sleep."
    )
    return Table("Sleep statistics", header, tuple(body), (note,))


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−") if math.isfinite(value) else "–"


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


def strata_table(results: Results, grouping: Grouping) -> Table:
    """Accuracy and kappa of each row in each group of subjects, in all class views."""
    body = []
    for label in grouping.labels:
        for name, by_title in results.strata.items():
            found = by_title[grouping.title].get(label)
            if found is None:
                continue
            if not found.views:  # the same for every row
                sizes = (Cell(str(found.subjects)), Cell(str(found.clips)))
                body.append((Cell(label), *sizes, *(Cell("–"),) * (2 * len(VIEWS))))
                break
            cells = [Cell(f"{label}: {name}"), Cell(str(found.subjects)), Cell(str(found.clips))]
            for view in VIEWS:
                for figure in ("accuracy", "kappa"):
                    cells.append(tables.estimate_cell(figure, found.views[view][figure]))
            body.append(tuple(cells))
    header = ["", "subjects", "clips"]
    for view in VIEWS:
        header += [f"{view} classes", "κ"]
    notes = [
        "Under each value: its 95 % interval over the group's subjects. Groups of fewer than "
        f"{FEWEST_SUBJECTS} subjects have no figures; intervals of small groups are too narrow, "
        "and groups may differ in more than what divides them."
    ]
    if unknown := int((grouping.group < 0).sum()):
        notes.append(f"Not known of {wording.counted(unknown, 'subject')}.")
    return Table(f"By {grouping.title}", tuple(header), tuple(body), tuple(notes))
