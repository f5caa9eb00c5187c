"""Trains the networks of an experiment, one after the other, and reports on them.

Every run is resumable and lives in a folder of its own: config, metrics, checkpoints, the best
network, predictions on the test subjects.
"""

import contextlib
import sys
from pathlib import Path

import jax

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets import prepare
from input_pipeline.errors import UserError
from input_pipeline.groups import steps_per_pass
from input_pipeline.loader import Loader
from input_pipeline.progress import Progress
from input_pipeline.source import open_split
from sacd_jax import cache_teacher, parallel
from sacd_jax.command_line import Parser
from sacd_jax.config import Experiment, RunConfig
from sacd_jax.evaluate import (
    Evaluator,
    figures,
    predictions_file,
    remember_experiment,
    report,
    write_predictions,
)
from sacd_jax.runs import model_file, run_folder
from sacd_jax.runs.log import MetricsLog, Stopwatch, Window
from sacd_jax.tasks.create import create
from sacd_jax.training.checkpoints import Checkpoints

EXAMPLE = "python -m sacd_jax.train --config configs/demo.py --workdir runs/demo"


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = Parser(__doc__, EXAMPLE)
    parser.add_argument(
        "--runs", help="names of the experiment's runs to train, with commas; all by default"
    )
    parser.add_argument("--data_dir", help="where data sets are built; <workdir>/data by default")
    values = parser.parse(sys.argv[1:] if argv is None else argv, Experiment)
    workdir, experiment = Path(values.workdir), values.config
    chosen = values.runs.split(",") if values.runs else list(experiment.runs)
    for name in chosen:
        if name not in experiment.runs:
            raise UserError(f"--runs names {name!r}, expected some of {list(experiment.runs)}")

    dataset = prepare(experiment.dataset, Path(values.data_dir or workdir / "data"))
    parallel.initialize()
    for name in chosen:
        train(experiment.runs[name], workdir / name, dataset)
    if len(experiment.runs) > 1 and jax.process_index() == 0:
        remember_experiment(experiment, workdir, dataset)
        print(f"report: {report(workdir)}")
    parallel.wait_for_all("report")


def train(run: RunConfig, workdir: Path, dataset: Path) -> None:
    """Trains one network to the end, from the start or from where an earlier call stopped.

    Args:
        run: what to train.
        workdir: the run's folder. Earlier runs of the experiment, which may lend their network, are
            its siblings.
        dataset: a built data set.

    Raises:
        UserError: settings that do not fit the data or an earlier start, or a loss gone wrong.
        KeyboardInterrupt: interrupted; the state has been saved.
    """
    run_folder.claim(workdir, run, dataset)
    if predictions_file(workdir, "test").exists():
        print(f"{workdir.name}: finished earlier, kept as it is", file=sys.stderr)
        return

    # Data
    mesh = parallel.make_mesh()
    source, validation = open_split(dataset, "train"), open_split(dataset, "validation")
    steps_a_pass = steps_per_pass(source.table, run.batch_size, run.batch_mode, run.group_size)
    total_steps = max(1, round(run.passes * steps_a_pass))
    evaluate_every = max(1, round(run.evaluate_every_passes * steps_a_pass))
    checkpoint_every = max(1, round(run.checkpoint_every_passes * steps_a_pass))

    windows = run.sampling.validation_windows

    # Networks, task and state
    stored = cache_teacher.outputs(run, source, mesh, workdir.parent) if run.teacher_cache else None
    task = create(run, source, mesh, total_steps, workdir.parent, stored)
    evaluate = Evaluator(task.student, run, mesh)
    state = task.init(run.seed)
    layout = jax.tree.map(lambda leaf: leaf.sharding, state)
    train_step = jax.jit(task.train_step, donate_argnums=0, out_shardings=(layout, None))
    checkpoints = Checkpoints(workdir / "checkpoints", {"data": source.fingerprint})
    first_step = checkpoints.latest() or 0
    if first_step:
        state = checkpoints.restore(state)

    # Loop. Metrics are read one step late, so that the device never waits for the host.
    log = MetricsLog(workdir, resume_step=first_step)
    best = log.best("validation", "accuracy")
    watch, window = Stopwatch(), Window(workdir.name)
    any_process, stopping = parallel.AnyProcess(mesh), False
    loader = Loader(
        source,
        run.sampling,
        task.input_keys,
        task.extra,
        jax.process_index(),
        jax.process_count(),
        parallel.to_device(mesh),
    )
    batches = loader.train(
        run.batch_size,
        run.seed,
        start_step=first_step,
        batch_mode=run.batch_mode,
        group_size=run.group_size,
    )
    progress = Progress(
        f"train {workdir.name}",
        total=total_steps * run.batch_size,
        unit="clip",
        start=first_step * run.batch_size,
    )
    with (
        contextlib.closing(batches),
        contextlib.closing(log),
        contextlib.closing(checkpoints),
        run_folder.stop_request() as stop,
        progress,
    ):
        for step in range(first_step + 1, total_steps + 1):
            with watch.waiting():
                batch = next(batches)
            with watch.compiling() if step == first_step + 1 else contextlib.nullcontext():
                state, metrics = train_step(state, batch)
            window.add(step, metrics)
            watch.clips(run.batch_size)
            progress.advance(run.batch_size, note=window.note)

            # Processes are stopped at different moments, and must save the same step.
            stopping = any_process.says(stop.requested)
            last = step == total_steps or stopping
            if step % run.log_every_steps == 0 or last:
                log.write(
                    "train", step, {"pass": step / steps_a_pass, **window.mean(), **watch.lap()}
                )
            if step % evaluate_every == 0 or step == total_steps:
                with watch.pause():
                    window.check()
                    measured = figures(evaluate(state.student(), validation, windows))
                    log.write_figures("validation", step, measured, source.info.classes)
                    if measured["accuracy"] > best or run.select == "last":
                        best = measured["accuracy"]
                        if jax.process_index() == 0:
                            model_file.save(workdir / "model", task.model(state.student()))
            if step % checkpoint_every == 0 or last:
                with watch.pause():
                    window.check()
                    checkpoints.save(state, step)
            if stopping:
                break
        checkpoints.wait()
        any_process.says(stop.requested)
    if stopping or any_process.says(stop.requested):
        raise KeyboardInterrupt

    # The selected network on the test subjects
    test = open_split(dataset, "test")
    parallel.wait_for_all("model")
    variables = parallel.replicate(model_file.load(workdir).variables, mesh)
    write_predictions(workdir, "test", evaluate(variables, test), test)


if __name__ == "__main__":
    with one_line_errors():
        main()
