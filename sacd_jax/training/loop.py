"""One training, from its settings to predictions on the test subjects; resumable at any step."""

import contextlib
import math
import sys
from pathlib import Path

import jax

from input_pipeline.controls import control_rows
from input_pipeline.files import mine_alone, only_one
from input_pipeline.loader import Loader
from input_pipeline.progress import Progress
from input_pipeline.source import open_split
from sacd_jax import parallel, peers
from sacd_jax.config import RunConfig
from sacd_jax.models.encoder import Batch
from sacd_jax.models.precision import resolved
from sacd_jax.runs import model_file, run_folder
from sacd_jax.runs.goodput import TimeSheet
from sacd_jax.runs.lending import lender
from sacd_jax.runs.log import MetricsLog
from sacd_jax.tasks.by_name import TASKS
from sacd_jax.tasks.distill import Distill
from sacd_jax.tasks.train_state import TrainState
from sacd_jax.training import (
    compiles,
    device_figures,
    length,
    teacher_folds,
    teacher_outputs,
    tested_nights,
)
from sacd_jax.training.checkpoints import Checkpoints, newest_step
from sacd_jax.training.evaluator import (
    Evaluator,
    figures,
    predicted_splits,
    store_predictions,
    store_rival,
)
from sacd_jax.training.held_out import HeldOut
from sacd_jax.training.meters import Stopwatch, Window
from sacd_jax.training.profile import Profile, Steps
from sacd_jax.training.stopping import stop_request
from sacd_jax.training.watchdog import alive, watchdog


def train(run: RunConfig, workdir: Path, dataset: Path, profiled: Steps | None = None) -> None:
    """Trains one network to the end, from the start or from where an earlier call stopped.

    Args:
        run: what to train.
        workdir: the run's folder. Earlier runs of the experiment, which may lend their network, are
            its siblings.
        dataset: a built data set.
        profiled: steps of which a trace is written into the folder.

    Raises:
        UserError: settings that do not fit the data or an earlier start, a borrowed network that
            has learned from the test nights, another process that trains in this folder, or a loss
            that is not finite.
        KeyboardInterrupt: interrupted; the state has been saved.
    """
    if not run_folder.RunFolder(workdir).finished:
        tested_nights.check(run, workdir.parent, dataset)
    if run.teacher_folds:
        assert run.teacher is not None  # RunConfig has seen to it
        train_folds(lender(run.teacher, workdir.parent), run.teacher_folds, dataset)
    alone = contextlib.nullcontext()
    if jax.process_index() == 0:  # the processes of one run belong together
        alone = mine_alone(run_folder.RunFolder(workdir).lock, str(workdir))
    checkpoints = run_folder.RunFolder(workdir).checkpoints

    def goes_on() -> str:
        return f"the same command goes on from step {newest_step(checkpoints)} of {workdir.name}"

    peers.goes_on(goes_on)
    watch = Stopwatch()
    sheet = TimeSheet(workdir, watch.now, writes=jax.process_index() == 0)
    with alone, watchdog(goes_on), sheet.kept():
        _train(run, workdir, dataset, profiled, watch, sheet)


def train_folds(teacher: Path, folds: int, dataset: Path) -> None:
    """Trains the networks of a teacher's folds, as far as they are not there.

    Args:
        teacher: folder of its run.
        folds: number of folds.
        dataset: a built data set.

    Raises:
        UserError: see `teacher_folds.trainings` and `train`.
    """
    lock = contextlib.nullcontext()
    if jax.process_count() == 1:  # runs of a sweep that share a teacher
        path = run_folder.RunFolder(teacher).folds_lock
        lock = only_one(path, f"waiting for another run to train the folds of {teacher.name}")
    with lock:
        for folder, training in teacher_folds.trainings(teacher, folds, dataset).items():
            train(training, folder, dataset)


def _train(
    run: RunConfig,
    workdir: Path,
    dataset: Path,
    profiled: Steps | None,
    watch: Stopwatch,
    sheet: TimeSheet,
) -> None:
    mesh = parallel.make_mesh()
    precision = resolved(run.precision, parallel.platform(mesh))
    folder = run_folder.claim(workdir, run, dataset, precision)
    if folder.finished:
        print(f"{workdir.name}: finished earlier, kept as it is", file=sys.stderr)
        return

    if run.task == "boost":
        _boost(run, folder, dataset)
        return

    # Data
    source, left_out = length.training_split(run, dataset)
    validation = open_split(dataset, "validation").without_subjects(left_out)
    steps_a_pass = length.steps_a_pass(run, source)
    total_steps = length.total_steps(run, steps_a_pass)
    evaluate_every = max(1, round(run.evaluate_every_passes * steps_a_pass))
    checkpoint_every = max(1, round(run.checkpoint_every_passes * steps_a_pass))

    # Task, networks and state
    siblings = workdir.parent
    with watch.spending("other"):
        stored = teacher_outputs.outputs(run, source, mesh, siblings)
    moved = {}
    if run.teacher_control != "none":
        rows = control_rows(source.table, run.teacher_control, run.seed)
        moved = dict.fromkeys(stored or {}, rows)
    task = TASKS[run.task].make(run, source, mesh, total_steps, siblings, stored)
    clips = task.clip_network
    evaluate = Evaluator(task.student, run, mesh, clip_network=clips)
    held_out = None
    if run.measure_terms:
        assert isinstance(task, Distill)  # RunConfig has seen to it
        known = teacher_outputs.outputs(run, validation, mesh, siblings)
        held_out = HeldOut(task.objective, validation, known or {}, run.batch_size)
    state = task.init(run.seed)
    train_step = parallel.jit_step(task.train_step, mesh, state)
    facts = {"data": source.fingerprint}
    if taught_by := teacher_outputs.identity(run, source, siblings):
        facts["teacher"] = taught_by
    if clips is not None:
        facts["embeddings"] = clips.identity
        for split in (validation, open_split(dataset, "test")):  # missing ones are told at once
            clips.outputs(split)
    checkpoints = Checkpoints(folder.checkpoints, facts)
    state, first_step = checkpoints.restore(state) or (state, 0)
    sheet.begins(first_step)
    loader = Loader(
        source,
        run.sampling,
        task.input_keys,
        task.extra,
        jax.process_index(),
        jax.process_count(),
        parallel.to_device(mesh),
        run.read_threads,
        moved,
    )
    batches = loader.train(
        run.batch_size,
        run.seed,
        start_step=first_step,
        batch_mode=run.batch_mode,
        consecutive_clips=run.consecutive_clips,
        unlabelled=run.uses_unlabelled,
        shares=run.data_shares,
    )
    _introduce(run, workdir.name, state, mesh, first_step, total_steps)

    # Loop. Metrics are read one step late, so that the device never waits for the host.
    log = MetricsLog(workdir, resume_step=first_step)
    best = log.best("validation", "accuracy")
    if first_step and model_file.is_in(folder.model):  # its line of the log may be damaged
        best = max(best, model_file.load(folder.model).accuracy or -math.inf)
    window, profile = Window(workdir.name), Profile(profiled, folder.profile, workdir.name)
    any_process, stopping = parallel.AnyProcess(mesh), False
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
        contextlib.closing(profile),
        stop_request() as stop,
        progress,
    ):
        watch.phase("train")
        for step in range(first_step + 1, total_steps + 1):
            with watch.spending("wait"):
                batch = next(batches)
            profile.before(step)
            first = step == first_step + 1
            with (
                jax.profiler.StepTraceAnnotation("train", step_num=step),
                jax.transfer_guard("disallow"),  # everything the step reads is on the devices
                watch.spending("compile") if first else contextlib.nullcontext(),
            ):
                state, metrics = train_step(state, batch)
            if first:
                _know_step(train_step, state, batch, watch, workdir.name, mesh)
            window.add(step, metrics)
            alive()
            watch.step()
            progress.advance(run.batch_size, note=window.note)
            with watch.spending("other"):
                profile.after(step, metrics)

            # Processes are stopped at different moments, and must save the same step.
            stopping = any_process.says(stop.requested)
            last = step == total_steps or stopping
            if step % run.log_every_steps == 0 or last:
                means = {"pass": step / steps_a_pass, **window.mean()}
                clock = {
                    **watch.lap(run.batch_size),
                    **device_figures.memory_peak(),
                    "goodput": sheet.spent().share("train"),
                }
                log.write("train", step, means | clock)
            if step % evaluate_every == 0 or step == total_steps:
                window.check()
                with watch.spending("evaluate"):
                    outputs = evaluate(state.student(), validation, run.sampling.validation_windows)
                    measured = figures(outputs)
                    log.write_figures("validation", step, measured, source.info.classes)
                    if held_out is not None:
                        log.write("held_out", step, held_out(state, outputs))
                    if measured["accuracy"] > best or run.select == "last":
                        best = measured["accuracy"]
                        if jax.process_index() == 0:
                            model_file.save(folder.model, task.model(state.student(), best))
            if step % checkpoint_every == 0 or last:
                window.check()
                with watch.spending("save"):
                    checkpoints.save(state, step)
            if stopping:
                break
        watch.phase("save")
        watch.no_more_steps()
        checkpoints.wait()
        any_process.says(stop.requested)
    if stopping or any_process.says(stop.requested):
        raise stop.by or KeyboardInterrupt

    # The selected network on the validation and the test subjects
    watch.phase("evaluate")
    parallel.wait_for_all("model")
    selected = model_file.load(folder.model)
    if clips is not None and jax.process_index() == 0:
        model_file.save(folder.clip_network, clips.model)  # what stages a night needs both
    for split in predicted_splits(source.info):
        store_predictions(evaluate, selected, mesh, open_split(dataset, split), folder)
    _say(f"time {workdir.name}: {sheet.spent().words()}")


def _boost(run: RunConfig, folder: run_folder.RunFolder, dataset: Path) -> None:
    """The rival takes no steps: its figures on validation and its predictions are all it leaves."""
    if jax.process_index() == 0:
        with contextlib.closing(MetricsLog(folder.path)) as log:
            validation = open_split(dataset, "validation")
            measured = store_rival(run, dataset, "validation", folder)
            log.write_figures("validation", 1, measured, validation.info.classes)
        store_rival(run, dataset, "test", folder)
    parallel.wait_for_all("rival")


def _introduce(
    run: RunConfig,
    name: str,
    state: TrainState,
    mesh: jax.sharding.Mesh,
    first_step: int,
    total_steps: int,
) -> None:
    """Says in one line on stderr what is trained on what, and for how long."""
    leaves = jax.tree.leaves(state.params)
    parameters = sum(leaf.size for leaf in leaves)
    precision = resolved(run.precision, parallel.platform(mesh))
    batch = f"batch {run.batch_size} ({run.batch_mode})"
    steps = f"steps {first_step + 1} to {total_steps}"
    device = f"{mesh.size} x {mesh.devices.flat[0].device_kind}"
    facts = (device, f"{parameters:,} parameters", precision, batch, steps)
    _say(f"train {name}: {', '.join(facts)}")


def _know_step(
    train_step: jax.stages.Wrapped,
    state: TrainState,
    batch: Batch,
    watch: Stopwatch,
    name: str,
    mesh: jax.sharding.Mesh,
) -> None:
    """Says in one line what was compiled, and tells the stopwatch what a step asks of devices."""
    with_tracing = watch.seconds()["compile"]
    _say(f"compile {name}: {compiles.counted().words()}; {with_tracing:.1f} s with tracing")
    if peak := device_figures.peak_flops(mesh.devices.flat[0].device_kind):
        flops = device_figures.matmul_flops(train_step.trace(state, batch).jaxpr)
        watch.asks(flops, peak * mesh.size)


def _say(words: str) -> None:
    if jax.process_index() == 0:
        print(words, file=sys.stderr, flush=True)
