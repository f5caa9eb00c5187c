"""A comparison as it is shown and stored: on the terminal, as JSON, as Markdown, as a page."""

import csv
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from input_pipeline.files import whole_file, write_json
from input_pipeline.stages import STAGES
from sacd_jax.metrics import collapse, from_confusion, json_ready
from sacd_jax.report import statistics, tables
from sacd_jax.report.comparison import Results
from sacd_jax.report.comparison_tables import SUBJECT_FIGURES, difference_table, main_table
from sacd_jax.runs.goodput import spent
from sacd_jax.runs.run_folder import ExperimentFolder


def as_json(results: Results) -> dict[str, Any]:
    """Everything in the results but the networks' raw outputs, as a value for JSON."""
    value = {
        "caution": results.caution,
        "simulated": results.simulated,
        "dataset": results.dataset_info,
        "stages": STAGES,
        "subjects": results.subjects,
        "interval_level": statistics.LEVEL,
        "rows": {
            row.name: {
                "kind": row.kind,
                "explanation": row.explanation,
                "figures": {name: asdict(found) for name, found in row.figures.items()},
                "confusion": row.counts.sum(0),
                "confusion_by_subject": row.counts,
                "views": {
                    view: from_confusion(collapse(row.counts.sum(0), view)) for view in (4, 3, 2)
                },
                "strata": {
                    title: {label: asdict(found) for label, found in groups.items()}
                    for title, groups in results.strata.get(row.name, {}).items()
                },
            }
            for row in results.rows
        },
        "differences": [
            {
                "run": run,
                "reference": reference,
                "figures": {
                    name: asdict(found) | {"within_noise": found.within_noise}
                    for name, found in judged.items()
                },
            }
            for (run, reference), judged in results.differences.items()
        ],
        "time": {
            run.name: {
                **asdict(spent(run.starts)),
                "goodput": spent(run.starts).share("train"),
            }
            for run in results.runs
            if run.starts
        },
        "calibration": {name: asdict(found) for name, found in results.reliability.items()},
        "sleep_statistics": {name: asdict(found) for name, found in results.nights.items()},
        "unreadable_log_lines": {run.name: run.unreadable_lines for run in results.runs},
    }
    return json_ready(value)


def show(results: Results, stream: TextIO | None = None) -> None:
    """Prints the tables: drawn on a terminal, plain text elsewhere."""
    tables.show(main_table(results), stream)
    for pair in results.differences:
        tables.show(difference_table(results, pair), stream)


def write(results: Results, folder: ExperimentFolder) -> Path:
    """Writes results.json, table.md, subjects.csv and report.html; returns the page's path."""
    from sacd_jax.report.comparison_page import comparison_page  # imports matplotlib: slow

    write_json(folder.results, as_json(results))
    parts = [main_table(results), *(difference_table(results, p) for p in results.differences)]
    with whole_file(folder.table) as temporary:
        temporary.write_text("\n".join(map(tables.markdown, parts)), encoding="utf-8")
    _write_subjects(results, folder.subjects)
    with whole_file(folder.page) as temporary:
        temporary.write_text(comparison_page(results), encoding="utf-8")
    return folder.page


def _write_subjects(results: Results, path: Path) -> None:
    """One line a run and subject; shares in [0, 1], empty where a figure is not defined."""
    with whole_file(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("run", "subject", "clips", *SUBJECT_FIGURES))
        for row in (row for row in results.rows if row.kind == "run"):
            found = json_ready(from_confusion(row.counts))
            for at, subject in enumerate(results.subjects):
                figures = (found[name][at] for name in ("clips", *SUBJECT_FIGURES))
                writer.writerow((row.name, subject, *figures))
