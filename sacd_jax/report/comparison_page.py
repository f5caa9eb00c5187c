"""The page of a comparison: the answer first, then how sure it is, then where it comes from."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from input_pipeline.stages import STAGES
from sacd_jax.metrics import from_confusion
from sacd_jax.report import agreement_plots, comparison_tables, html, plots, tables, wording
from sacd_jax.report.comparison import Results
from sacd_jax.report.night_agreement import MOST_MISSING, WHOLE_HOURS, NightAgreement
from sacd_jax.report.runs import Run, series
from sacd_jax.report.sleep_statistics import consecutive
from sacd_jax.report.statistics import Difference
from sacd_jax.runs.goodput import spent

_TERMS = (
    ("accuracy", "share of clips whose stage is right"),
    (
        "macro F1",
        "mean over the five stages of F1, which balances missed clips and false alarms: rare "
        "stages count as much as frequent ones",
    ),
    (
        "kappa",
        "agreement beyond chance: 0 is chance, 1 is perfect; two human scorers reach 0.7 to 0.8",
    ),
    ("recall", "share of a stage's clips that are found (the paper's per-class accuracy)"),
    (
        "95 % interval",
        "where the figure would lie had other subjects been recorded (subjects are drawn again "
        "with replacement); with fewer than about ten subjects it is rather too narrow",
    ),
    (
        "within noise",
        "this difference could come from which subjects were tested; it proves neither that there "
        "is an effect nor that there is none",
    ),
    ("W, N1, N2, N3, REM", "wake, light sleep (N1, N2), deep sleep (N3), rapid-eye-movement sleep"),
    ("AHI", "apnoeas and hypopnoeas (pauses of breath) an hour of sleep"),
)


def comparison_page(results: Results) -> str:
    """One self-contained HTML document."""
    title = "How well sleep stages are recognised in video"
    return html.page(title, _parts(results), results.caution)


def _parts(results: Results) -> Iterator[str]:
    colours = _colours(results)
    kinds = {"majority": "weak", "ceiling": "weak", "run": ""}
    estimates = {row.name: row.figures for row in results.rows}
    runs = {run.name: results.row(run.name) for run in results.runs}

    yield html.paragraph(_introduction(results))
    yield _tiles(results, colours)
    for (run, reference), judged in results.differences.items():
        yield html.paragraph(_verdict(run, reference, judged["accuracy"]), "answer")
    yield html.heading("All figures")
    table = comparison_tables.main_table(results)
    notes = tuple(note for note in table.notes if note not in results.caution)
    table = tables.Table(table.title, table.header, table.rows, notes)
    yield html.table(table, [kinds[row.kind] for row in results.rows])
    figure = plots.scores(
        estimates, {"accuracy": "accuracy, %", "macro_f1": "macro F1, %"}, colours
    )
    yield html.picture(
        plots.to_png(figure),
        "Accuracy and macro F1 of every row with intervals",
        "Dot: all test clips. Line: 95 % interval over subjects. Grey rows are no networks.",
    )
    ceilings = [row for row in results.rows if row.kind == "ceiling" and row.explanation]
    yield html.definitions((row.name, row.explanation) for row in ceilings)

    for pair in results.differences:
        yield html.heading(f"Is {pair[0]} better than {pair[1]}?")
        yield html.table(comparison_tables.difference_table(results, pair))
        if len(results.subjects) > 1:
            yield _subject_picture(results, pair)

    yield html.heading("Which stages are found")
    shown = {row.name: row.figures for row in results.rows if row.kind != "majority"}
    yield html.picture(
        plots.to_png(plots.recall_bars(shown, colours)),
        "Recall of each stage with intervals",
        "Share of each stage's clips that are found; thin lines are 95 % intervals over subjects.",
    )
    yield html.heading("What is taken for what")
    matrices = {name: row.counts.sum(0) for name, row in runs.items()}
    yield html.picture(
        plots.to_png(plots.confusion_matrices(matrices)),
        "Confusion matrices of the runs",
        "Each line sums to 100 %: what became of the clips of one true stage. Small: number of "
        "clips. The diagonal is right.",
    )
    yield from _calibration(results, colours)
    yield from _nights(results, colours)
    yield from _night(results, colours)
    yield from _training(results, colours)
    yield html.details("Fewer classes", [html.table(comparison_tables.views_table(results))])
    agreement = html.table(comparison_tables.agreement_table(results))
    yield html.details("Agreement beyond chance", [agreement])
    yield html.details("Each subject", [html.table(comparison_tables.subject_table(results))])
    for grouping in results.groupings:
        table = comparison_tables.strata_table(results, grouping)
        yield html.details(table.title, [html.table(table)])
    if card := results.dataset_info.get("data_card"):
        yield html.details("Data card", list(_data_card(card)))
    yield html.details("Terms", [html.definitions(_TERMS)])
    yield html.details("Data and versions", list(_provenance(results)))


def _colours(results: Results) -> dict[str, str]:
    runs = [row.name for row in results.rows if row.kind == "run"]
    others = [row.name for row in results.rows if row.kind != "run"]
    greys = {name: plots.GREYS[at % len(plots.GREYS)] for at, name in enumerate(others)}
    return greys | {name: plots.COLOURS[at % len(plots.COLOURS)] for at, name in enumerate(runs)}


def _percent(value: float) -> str:
    return f"{tables.number('accuracy', value)}\u00a0%"


def _tiles(results: Results, colours: dict[str, str]) -> str:
    """Accuracy of the runs, the majority stage last."""
    shown = [row for row in results.rows if row.kind == "run"] + [results.rows[0]]
    items = []
    for row in shown:
        found = row.figures["accuracy"]
        interval = ""
        if math.isfinite(found.low):
            low, high = (tables.number("accuracy", v) for v in (found.low, found.high))
            interval = f"95\u00a0% interval {low} to {high}"
        items.append(
            (row.name, _percent(found.value), (interval, row.explanation), colours[row.name])
        )
    return html.tiles(items)


def _introduction(results: Results) -> str:
    subjects = wording.counted(len(results.subjects), "test subject")
    clips = int(results.rows[0].counts.sum())
    return (
        "For every 30 seconds of a night, a network says which of five sleep stages it is: wake, "
        f"N1, N2, N3 or REM. Below: the share of right answers in {clips} clips of {subjects} "
        "whom no network was trained on."
    )


def _verdict(run: str, reference: str, found: Difference) -> str:
    points = tables.number("accuracy", abs(found.value))
    way = "above" if found.value >= 0 else "below"
    said = f"The accuracy of “{run}” is {points} points {way} that of “{reference}”"
    if math.isfinite(found.low):
        low, high = (tables.number("accuracy", v, signed=True) for v in (found.low, found.high))
        said += (
            f" (95\u00a0% interval {low} to {high}; higher in {found.better} and lower in "
            f"{found.worse} of {found.subjects} subjects; p\u00a0=\u00a0{found.p:.3f})"
        )
    if found.verdict == "too few subjects":
        return said + ". There are too few subjects to call this a difference."
    if found.within_noise:
        return said + ". That is within noise: this test does not show a difference."
    return said + f". That is beyond noise: “{run}” is {found.verdict} on these data."


def _subject_picture(results: Results, pair: tuple[str, str]) -> str:
    ours, theirs = (from_confusion(results.row(name).counts)["accuracy"] for name in pair)
    figure = plots.subject_differences(
        [str(name) for name in results.subjects], ours - theirs, "accuracy, points"
    )
    return html.picture(
        plots.to_png(figure),
        f"Accuracy of {pair[0]} minus {pair[1]} in each test subject",
        f"Accuracy of {pair[0]} minus that of {pair[1]}, one bar a subject. Bars on "
        "both sides of zero: subjects disagree.",
    )


def typical_night(run: Run) -> str:
    """The night whose accuracy is the median (the lower one of two) of the run's nights."""
    predictions = run.predictions
    right = predictions.predicted == predictions.stage
    accuracies = []
    for night in np.unique(predictions.night_id):
        scored = (predictions.night_id == night) & (predictions.stage >= 0)
        if scored.any():
            accuracies.append((float(right[scored].mean()), str(night)))
    return sorted(accuracies)[(len(accuracies) - 1) // 2][1]


def _calibration(results: Results, colours: dict[str, str]) -> Iterator[str]:
    yield html.heading("Can the probabilities be believed?")
    runs = {
        name: (found.plain.bins, found.scaled.bins if found.scaled else None)
        for name, found in results.reliability.items()
    }
    yield html.picture(
        plots.to_png(agreement_plots.reliability(runs, colours)),
        "Reliability diagrams of the runs",
        "Of the clips to which a run gives about 70 %, 70 % should be right: points on the grey "
        "line. Below it: too sure of itself. Under each: number of clips.",
    )
    yield html.table(comparison_tables.calibration_table(results))


def _nights(results: Results, colours: dict[str, str]) -> Iterator[str]:
    yield html.heading("Do sleep statistics agree?")
    chosen = results.runs[-1].name
    found = results.nights[chosen]
    yield html.paragraph(_compared(found))
    if not found.nights:
        return
    yield html.picture(
        plots.to_png(agreement_plots.bland_altman(found.figures, colours[chosen])),
        f"Bland-Altman plots of the sleep statistics of {chosen}",
        f"{chosen}: one dot a subject. Solid: mean difference. Dashed: limits of agreement. Bands: "
        "95 % intervals. Dots on a slope: the error depends on the value, and limits say little.",
    )
    for name, each in results.nights.items():
        table = html.table(comparison_tables.nights_table(each))
        yield html.details(f"Sleep statistics: {name}", [table])


def _compared(found: NightAgreement) -> str:
    hours, share = f"{WHOLE_HOURS:g} hours", f"{100 * MOST_MISSING:.0f}\u00a0%"
    reasons = []
    if found.short:
        reasons.append(f"{wording.counted(found.short, 'night')} shorter than {hours}")
    if found.holes:
        missing = f"with more than {share} of their clips missing or unscored"
        reasons.append(f"{wording.counted(found.holes, 'night')} {missing}")
    left_out = f"Left out: {' and '.join(reasons)}." if reasons else ""
    if found.nights:
        said = f"Compared: {wording.counted(found.nights, 'whole night')}. {left_out}"
    else:
        said = (
            "No test night is here as a whole, so sleep statistics (sleep time, efficiency, "
            f"latencies) mean nothing and none is compared. {left_out}"
        )
    return said.strip()


def _night(results: Results, colours: dict[str, str]) -> Iterator[str]:
    chosen = results.runs[-1]
    night = typical_night(chosen)
    here = chosen.predictions.night_id == night
    clip_index = chosen.predictions.clip_index[here]
    truth, start = consecutive(clip_index, chosen.predictions.stage[here])
    rows = {"truth": truth}
    for run in results.runs:
        # A label of its own in case somebody names a run "truth".
        label = run.name if run.name != "truth" else "truth (run)"
        rows[label], _ = consecutive(clip_index, run.predictions.predicted[here])
    choice = f"the one in which {chosen.name}'s accuracy is the median of its test nights"
    if here.all():
        choice = "the only test night"
    yield html.heading("One night")
    yield html.picture(
        plots.to_png(plots.hypnogram(rows, start=start, colours=colours)),
        f"Hypnogram of night {night}: truth and predictions",
        f"Night {night}: {choice}. Thick: REM. Red marks: clips that are wrong. "
        "Grey: no stage was scored.",
    )


def _training(results: Results, colours: dict[str, str]) -> Iterator[str]:
    panels: dict[str, dict[str, plots.Curve]] = {}
    wanted = (
        ("cross-entropy in training", "train", "cross_entropy"),
        ("validation accuracy, %", "validation", "accuracy"),
        ("validation macro F1, %", "validation", "macro_f1"),
    )
    for title, split, name in wanted:
        found = {run.name: series(run.lines, split, name) for run in results.runs}
        if name == "cross_entropy":
            # A run of cross-entropy alone may log it as its loss.
            for run in results.runs:
                if not len(found[run.name][0]):
                    found[run.name] = series(run.lines, split, "loss")
        else:
            found = {key: (steps, 100 * values) for key, (steps, values) in found.items()}
        if any(len(steps) for steps, _ in found.values()):
            panels[title] = found
    if panels:
        yield html.heading("Training")
        yield html.picture(
            plots.to_png(plots.curves(panels, colours)),
            "Learning curves",
            "Validation clips come from training subjects here: these curves are too good."
            if results.leaks
            else "Validation subjects are neither trained on nor tested on.",
        )
    for run in results.runs:
        own, foreign = (
            series(run.lines, "train", f"graph_distance_{side}")
            for side in ("positive", "negative")
        )
        if len(own[0]) and len(foreign[0]):
            yield html.picture(
                plots.to_png(plots.graph_distances(own, foreign)),
                f"Graph distances of {run.name}",
                f"{run.name}, structure loss: the graph of a group of video clips should be nearer "
                "to the EEG graph of the same group than to those of others. Two curves on top of "
                "each other mean that this loss carries no signal.",
            )


def _data_card(card: dict[str, Any]) -> Iterator[str]:
    """What the data set holds, and what was left out of the nights."""
    for title, key in (("split", "splits"), ("AHI group", "ahi_groups")):
        counted = ("subjects", "nights", "clips")
        rows = [
            (name, *(found[each] for each in counted), *found["stages"].values())
            for name, found in card[key].items()
        ]
        header = (title, *counted, *next(iter(card[key].values()))["stages"])
        cells = tuple(tuple(tables.Cell(str(value)) for value in row) for row in rows)
        yield html.table(tables.Table("", header, cells))
    left_out = card["left_out"]
    items = [("nights left out", str(left_out["nights"]))]
    items += [(f"clips left out: {why}", str(count)) for why, count in left_out["clips"].items()]
    yield html.definitions([*items, ("starts of videos from", _shown(card["clock_sources"]))])


def _provenance(results: Results) -> Iterator[str]:
    shares = results.rows[0].counts.sum((0, 2))
    counts = ", ".join(f"{name} {count}" for name, count in zip(STAGES, shares, strict=True))
    about = {key: value for key, value in results.dataset_info.items() if key != "data_card"}
    items = [(str(key), _shown(value)) for key, value in about.items()]
    items.append(("scored test clips", counts))
    for run in results.runs:
        if run.versions:
            items.append((f"versions: {run.name}", _shown(run.versions)))
        if run.starts:
            items.append((f"time of {run.name}", spent(run.starts).words()))
        if run.unreadable_lines:
            lines = wording.counted(run.unreadable_lines, "line")
            items.append((f"log of {run.name}", f"{lines} cannot be read"))
    yield html.definitions(items)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        parts = (
            f"{key} ({_shown(item)})" if isinstance(item, dict) else f"{key} {_shown(item)}"
            for key, item in value.items()
        )
        return ", ".join(parts)
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in value[:20]) + (" …" if len(value) > 20 else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)
