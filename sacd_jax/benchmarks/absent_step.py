"""Training steps compiled for devices that are not here, from shapes alone: nothing is allocated.

The step is a task's own, data-parallel over the mesh: clips are dealt out, the state is replicated
but for the rows of banks that a method spreads over the devices.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal

import jax
from jax.sharding import Mesh, NamedSharding

from input_pipeline.errors import UserError
from sacd_jax import models, parallel
from sacd_jax.benchmarks.distill import data_spec, variants
from sacd_jax.benchmarks.distill import make_task as make_distill
from sacd_jax.benchmarks.step import make_task
from sacd_jax.benchmarks.timed_step import CLASSES, first_variables, random_batch
from sacd_jax.models import conv
from sacd_jax.models.encoder import Encoder, forward, output_spec
from sacd_jax.models.precision import at_precision
from sacd_jax.objectives.instance_contrast import InstanceContrast
from sacd_jax.objectives.objective import Objective
from sacd_jax.tasks.classify import Classify
from sacd_jax.tasks.distill import Distill, as_stored
from sacd_jax.tasks.train_state import TrainState

Clips = dict[str, Any]
"""Arrays of a batch or their shapes."""


@dataclass(frozen=True)
class AbsentStep:
    """A training step by its parts.

    Attributes:
        name: what a table calls it.
        group: steps that are compared with each other: the student's network.
        method: of distillation; `none` is cross-entropy alone.
        task: whose step it is.
        clips: batch size -> one device's clips.
        first_state: (clips, global batch size) -> the state, to be traced only.
        clips_together: a device's clips are a multiple of it.
        by_rows: paths of the state whose rows are spread over the devices.
    """

    name: str
    group: str
    method: str
    task: Classify | Distill
    clips: Callable[[int], Clips]
    first_state: Callable[[Clips, int], TrainState]
    clips_together: int = 1
    by_rows: tuple[str, ...] = ()

    def compile(
        self, batch: int, mesh: Mesh, compiler_options: dict[str, Any] | None = None
    ) -> jax.stages.Compiled:
        """Compiles the step for the mesh's devices.

        Args:
            batch: clips a device.
            mesh: devices; they need not be here.
            compiler_options: XLA's, by name.

        Raises:
            UserError: a device's clips are not whole groups.
        """
        if batch % self.clips_together:
            raise UserError(
                f"--batch is {batch}, {self.name} expects a multiple of {self.clips_together}"
            )

        def placed(leaf: Any, sharding: NamedSharding, times: int = 1) -> jax.ShapeDtypeStruct:
            shape = (times * leaf.shape[0], *leaf.shape[1:]) if leaf.shape else ()
            return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

        def of_state(path: jax.tree_util.KeyPath, leaf: Any) -> jax.ShapeDtypeStruct:
            return placed(leaf, parallel.sharding_of(path, mesh, self.by_rows))

        with conv.tracing_for(parallel.platform(mesh)):
            clips = self.clips(batch)
            first = jax.eval_shape(lambda clips: self.first_state(clips, batch * mesh.size), clips)
            state = jax.tree_util.tree_map_with_path(of_state, first)
            rows = {
                key: placed(leaf, parallel.sharded(mesh), mesh.size) for key, leaf in clips.items()
            }
            jitted = parallel.jit_step(self.task.train_step, mesh, state)
            # Without the card XLA has nothing to try kernels on, and would only compile them all.
            own = {"xla_gpu_autotune_level": 0} if parallel.platform(mesh) == "gpu" else {}
            return jitted.lower(state, rows).compile(own | (compiler_options or {}))


def classify_step(model: str, form: str, dtype: str, sizes: SimpleNamespace) -> AbsentStep:
    """The step of cross-entropy alone.

    Args:
        model: name of the network.
        form: of its convolutions.
        dtype: what it computes in.
        sizes: `frames`, `size` (of a side) and `colours` of a clip.

    Raises:
        UserError: an unknown network, or one without forms.
    """
    task = make_task(model, form, dtype)

    def first_state(clips: Clips, batch_size: int) -> TrainState:
        del batch_size
        return task.first_state(0, first_variables(task.student, clips))

    clips = partial(_clips, task.student.input_keys, sizes)
    return AbsentStep(f"{model}, {form}", model, "none", task, clips, first_state)


def distill_steps(
    model: str,
    form: str,
    dtype: Literal["float32", "bfloat16"],
    sizes: SimpleNamespace,
    teacher: str,
    cached: bool,
    methods: Sequence[str],
    rows: int,
) -> Iterator[AbsentStep]:
    """The steps of methods, one for each of their key encoders or ways to keep banks.

    Args:
        model, form, dtype, sizes: the student, as of `classify_step`; the teacher has its dtype.
        teacher: name of its network.
        cached: its stored outputs come with the batch, and its network is not run.
        methods: names.
        rows: clips of the train split.

    Raises:
        UserError: an unknown name, or networks that a method cannot work with.
    """
    student = make_task(model, form, dtype).student
    network = at_precision(models.create(teacher, CLASSES), dtype)
    if student.has_state or network.has_state:
        raise UserError(f"{model} or {teacher} sees a night in its order: expected single clips")
    source = f"{teacher} stored" if cached else teacher
    for method in methods:
        for variant, objective in _with_spread_banks(variants(method)):
            name = f"{model}, {form}, {variant}, {source}"
            networks = (student, network)
            yield _distill_step(name, model, method, *networks, objective, cached, rows, sizes)


def _with_spread_banks(
    variants: Iterator[tuple[str, Objective]],
) -> Iterator[tuple[str, Objective]]:
    for name, objective in variants:
        yield name, objective
        if isinstance(objective, InstanceContrast):
            yield f"{name}, bank_sharding=rows", replace(objective, bank_sharding="rows")


def _distill_step(
    name: str,
    group: str,
    method: str,
    student: Encoder,
    teacher: Encoder,
    objective: Objective,
    cached: bool,
    rows: int,
    sizes: SimpleNamespace,
) -> AbsentStep:
    task = make_distill(student, None if cached else teacher, objective)
    keys = tuple(dict.fromkeys((*student.input_keys, *teacher.input_keys)))

    def clips(batch: int) -> Clips:
        made = _clips(keys, sizes, batch)
        if not cached:
            return made

        def outputs(clips: Clips) -> Clips:
            variables = first_variables(teacher, clips)
            return as_stored(forward(teacher, variables, clips, train=False)[0])

        stored = jax.eval_shape(outputs, {key: made[key] for key in teacher.input_keys})
        unread = set(teacher.input_keys) - set(student.input_keys)
        return {key: value for key, value in made.items() if key not in unread} | stored

    def first_state(batch: Clips, batch_size: int) -> TrainState:
        example = _clips(keys, sizes, 1)
        specs = (output_spec(student, example), output_spec(teacher, example))
        data = data_spec(max(rows, batch_size), batch_size)
        heads, buffers = objective.init(jax.random.key(1), *specs, data)
        lent = {} if cached else first_variables(teacher, batch)
        return task.first_state(0, first_variables(student, batch), lent, heads, buffers)

    by_rows = tuple(f"buffers/{buffer}" for buffer in objective.row_sharded)
    together = objective.clips_together
    return AbsentStep(name, group, method, task, clips, first_state, together, by_rows)


def _clips(keys: tuple[str, ...], sizes: SimpleNamespace, batch: int) -> Clips:
    one = random_batch(keys, SimpleNamespace(**vars(sizes), batch=1))
    return {
        key: jax.ShapeDtypeStruct((batch, *array.shape[1:]), array.dtype)
        for key, array in one.items()
    }
