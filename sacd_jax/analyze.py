"""Draws the paper's figures 6 to 13 for finished runs: PNG, SVG, and the numbers as CSV.

ahi: correlation of embeddings with the severity of apnoea (Fig. 7). tsne: embeddings in two
dimensions (Figs. 8 to 10). confusions: confusion matrices side by side (Fig. 6). errors: clips in
which two networks are right and wrong (Figs. 11 to 13).
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from input_pipeline.command_errors import one_line_errors
from input_pipeline.errors import UserError
from input_pipeline.source import open_split
from input_pipeline.splits import SPLITS
from input_pipeline.stages import STAGES
from sacd_jax import parallel
from sacd_jax.analysis import ahi, errors, figures, tsne_figures
from sacd_jax.analysis.files import write_figure, write_numbers
from sacd_jax.analysis.runs import FinishedRun, find_runs
from sacd_jax.metrics import count_confusion
from sacd_jax.report import plots
from sacd_jax.runs import predictions
from sacd_jax.runs.predictions import Predictions
from sacd_jax.runs.run_folder import analysis_folder
from sacd_jax.training.evaluator import evaluate_run

EXAMPLE = "python -m sacd_jax.analyze --workdir runs/demo ahi"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    arguments = _parser().parse_args(argv)
    workdirs = arguments.workdir
    runs = find_runs(workdirs, arguments.runs.split(",") if arguments.runs else ())
    folder = arguments.out or analysis_folder(workdirs[0])
    for picture in arguments.draw(runs, folder, arguments):
        print(f"{arguments.figure}: {picture}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.analyze",
        description=__doc__,
        epilog=f"example: {EXAMPLE}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--workdir",
        type=Path,
        action="append",
        required=True,
        help="folder of a run or of an experiment; may be given several times",
    )
    kinds = parser.add_subparsers(
        dest="figure", required=True, metavar="ahi|tsne|confusions|errors"
    )
    made = {
        name: kinds.add_parser(name, help=f"figure {number}", description=f"Figure {number}.")
        for name, number in (
            ("ahi", "7, of the last run"),
            ("tsne", "8 and 9, of the last run, and 10, of all runs"),
            ("confusions", "6, of all runs"),
            ("errors", "11, 12 and 13, of the last two runs"),
        )
    }
    for name, draw in (("ahi", _ahi), ("tsne", _tsne), ("confusions", _confusions)):
        made[name].set_defaults(draw=draw)
    made["errors"].set_defaults(draw=_errors)
    for one in made.values():
        one.add_argument("--runs", help="names of runs, with commas; all of the folders by default")
        one.add_argument("--out", type=Path, help="<workdir>/analysis by default")
    for name in ("ahi", "tsne"):
        made[name].add_argument(
            "--splits",
            type=_splits,
            default=("train", "test"),
            help="parts of the data whose subjects count, with commas; train,test by default",
        )
        made[name].add_argument("--seed", type=int, default=0, help="of all that is drawn by lot")
    for name in ("confusions", "errors"):
        made[name].add_argument("--split", default="test", choices=SPLITS, help="part of the data")
    made["ahi"].add_argument(
        "--permutations", type=_count, default=200, help="of the AHI, as a control"
    )
    made["tsne"].add_argument(
        "--points", type=_count, default=3000, help="most points in a panel of figures 9 and 10"
    )
    made["errors"].add_argument(
        "--show-frames", action="store_true", help="show the video, too: pictures of the sleeper"
    )
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise argparse.ArgumentTypeError("expected a number from 1 to 1000000")
    return int(text)


def _splits(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    if len(set(names)) < len(names) or not set(names) <= set(SPLITS):
        raise argparse.ArgumentTypeError(f"expected some of {', '.join(SPLITS)} with commas")
    return names


def _predictions(run: FinishedRun, split: str) -> Predictions:
    """Predictions of a run; they are made now where a split was not predicted yet."""
    path = run.folder.predictions(split)
    if not path.exists():
        print(f"run {run.name}: predicting split {split}")
        parallel.initialize()
        evaluate_run(run.folder.path, split)
    return predictions.read(run.name, path)


def _of_splits(run: FinishedRun, splits: Sequence[str]) -> Predictions:
    return predictions.joined([_predictions(run, split) for split in splits])


Draw = Callable[[Sequence[FinishedRun], Path, argparse.Namespace], list[Path]]


def _ahi(runs: Sequence[FinishedRun], folder: Path, arguments: argparse.Namespace) -> list[Path]:
    run = runs[-1]
    said = _of_splits(run, arguments.splits)
    subjects, means = ahi.stage_means(said.embedding, said.stage, said.subject_id, len(STAGES))
    level = ahi.subject_levels(subjects, said.subject_id, said.night_id, said.ahi)
    found = ahi.correlate(means, level, arguments.permutations, arguments.seed)
    if not found:
        raise UserError(
            f"run {run.name!r}: {int((level >= 0).sum())} subjects with a known AHI in "
            f"{', '.join(arguments.splits)}; expected {ahi.FEWEST_SUBJECTS} or more in a stage"
        )
    figure = figures.ahi_correlations(found)
    about = f"Run {run.name}, subjects of {', '.join(arguments.splits)}. {run.caution}"
    picture = write_figure(folder, "ahi", figures.caption(figure, about))
    write_numbers(folder, "ahi", ahi.summary_rows(found, STAGES))
    write_numbers(folder, "ahi_channels", ahi.correlation_rows(found, STAGES))
    return [picture]


def _tsne(runs: Sequence[FinishedRun], folder: Path, arguments: argparse.Namespace) -> list[Path]:
    run, written = runs[-1], []
    said = _of_splits(run, arguments.splits)
    tests = {one.name: _predictions(one, "test") for one in runs}
    of_run = f"Run {run.name}, subjects of {', '.join(arguments.splits)}. {run.caution}"
    for name, about, (figure, table) in (
        ("tsne_subjects", of_run, tsne_figures.subjects(said, arguments.seed)),
        ("tsne_nights", of_run, tsne_figures.nights(said, arguments.points, arguments.seed)),
        (
            "tsne_stages",
            f"Test clips. {run.caution}",
            tsne_figures.stages(tests, arguments.points, arguments.seed),
        ),
    ):
        written.append(write_figure(folder, name, figures.caption(figure, about)))
        write_numbers(folder, name, table)
    return written


def _confusions(
    runs: Sequence[FinishedRun], folder: Path, arguments: argparse.Namespace
) -> list[Path]:
    counts = {}
    for run in runs:
        said = _predictions(run, arguments.split)
        counts[run.name] = count_confusion(said.stage, said.predicted, len(STAGES))
    rows = [
        [name, STAGES[truth], STAGES[predicted], int(matrix[truth, predicted]), f"{share:.4f}"]
        for name, matrix in counts.items()
        for truth, predicted in np.ndindex(*matrix.shape)
        for share in [matrix[truth, predicted] / max(1, matrix[truth].sum())]
    ]
    figure = figures.caption(
        plots.confusion_matrices(counts), f"Split {arguments.split}. {runs[-1].caution}"
    )
    write_numbers(folder, "confusions", (["run", "truth", "predicted", "clips", "share"], rows))
    return [write_figure(folder, "confusions", figure)]


def _errors(runs: Sequence[FinishedRun], folder: Path, arguments: argparse.Namespace) -> list[Path]:
    if len(runs) < 2:
        raise UserError(f"errors compares two runs, found only {runs[0].name!r}")
    pair = runs[-2:]
    said = [_predictions(run, arguments.split) for run in pair]
    predictions.check_same_clips(list(zip([run.name for run in pair], said, strict=True)))
    one, source = said[-1], open_split(pair[-1].dataset, arguments.split)
    if not pair[-1].info.samples:
        raise UserError(f"run {pair[-1].name!r}: its data hold no EEG to draw")
    before, after = errors.neighbours(one.night_id, one.clip_index, one.stage)
    border = errors.stage_borders(one.stage, before, after)
    cases = errors.select(one.stage, said[0].probabilities, one.probabilities, border)
    names, written, rows = [run.name for run in pair], [], []
    for kind in errors.KINDS:
        shown = []
        for case in (case for case in cases if case.kind == kind):
            at, clip = case.row, source[int(one.index[case.row])]
            each = {name: by.probabilities[at] for name, by in zip(names, said, strict=True)}
            frames = np.asarray(clip["video"]) if arguments.show_frames else None
            around = (int(before[at]), int(after[at]))
            shown.append(figures.ShownClip(case.stage, *around, each, clip["eeg"], frames))
            verdicts = [f for p in each.values() for f in (STAGES[p.argmax()], f"{p.max():.4f}")]
            clip_of = [one.night_id[at], int(one.clip_index[at])]
            rows.append([kind, *clip_of, STAGES[case.stage], *verdicts])
        if not shown:
            print(f"{kind}: no clip fits")
            continue
        about = f"{kind.capitalize()}; split {arguments.split}. {pair[-1].caution}"
        figure = figures.caption(figures.clips(shown), about)
        written.append(write_figure(folder, f"errors_{kind.replace(' ', '_')}", figure))
    header = ["kind", "night_id", "clip_index", "truth"]
    header += [f"{name}{what}" for name in names for what in ("", "_probability")]
    write_numbers(folder, "errors", (header, rows))
    return written


if __name__ == "__main__":
    with one_line_errors():
        main()
