"""Whether the structure graphs of a finished SACD run recognise each other on unseen clips.

A group of clips has a graph in video and a graph in EEG. Among the EEG graphs of several groups the
nearest to a video graph should be that of its own group, and the other way round. Beside it stands
how far the stages alone would lead that both networks predict: groups matched by their mean
probabilities.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int

from input_pipeline.datasets.dataset_files import ClipTable
from input_pipeline.errors import UserError
from input_pipeline.groups import labelled_clips, neighbours
from input_pipeline.source import open_split
from sacd_jax import models, objectives, parallel
from sacd_jax.models.structure_graph import StructureGraph
from sacd_jax.objectives.graph_pairs import graph_distances
from sacd_jax.objectives.objective import Params, project_teacher
from sacd_jax.objectives.sacd import Sacd
from sacd_jax.runs import run_folder
from sacd_jax.runs.lending import lent_teacher
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.tasks.by_name import TASKS
from sacd_jax.training import teacher_outputs
from sacd_jax.training.checkpoints import Checkpoints
from sacd_jax.training.evaluator import Evaluator

MODES = ("shuffled", "contiguous")

Outputs = Mapping[str, np.ndarray]
Distances = Float[np.ndarray, "groups groups"]
Groups = Int[np.ndarray, "groups size"]


@dataclass(frozen=True)
class Embedded:
    """A split, embedded by both networks of a run.

    Attributes:
        batch_mode: how the batches it was trained on were made up.
        objective: the run's.
        heads: its parameters at the last checkpoint.
        step: of that checkpoint.
        table: whose the clips are.
        student: `logits` and `embedding` of every clip, in the state of the last checkpoint (the
            stored model is the selected one, which the graph networks may not fit).
        teacher: the same of the teacher.
    """

    batch_mode: str
    objective: Sacd
    heads: Params
    step: int
    table: ClipTable
    student: Outputs
    teacher: Outputs


def embed(workdir: Path, split: str) -> Embedded:
    """Runs both networks of a SACD run over a split, in eval mode on centred crops.

    Raises:
        UserError: not a run of SACD, or one without L_D, or one without a checkpoint.
    """
    run, dataset = run_folder.read_run(workdir)
    found = run.objective.name if run.objective else f"task {run.task}"
    if run.objective is None or run.teacher is None or found != "sacd":
        raise UserError(f"{workdir} holds a run of {found}, expected objective sacd")
    objective = objectives.create("sacd", run.objective.weights, **run.objective.options)
    assert isinstance(objective, Sacd)
    if not objective.weights["graph"]:
        raise UserError(f"{workdir}: weights.graph is 0, so the run has no graph networks")
    folder = RunFolder(workdir).checkpoints
    if not folder.is_dir():
        raise UserError(f"{workdir} has no checkpoint: expected a finished run")

    mesh = parallel.make_mesh()
    source = open_split(dataset, "train")
    cached = teacher_outputs.outputs(run, source, mesh, workdir.parent)
    checkpoints = Checkpoints(folder, {"data": source.fingerprint})
    # The learning rate alone depends on the length of the run, and nothing is updated here.
    task = TASKS[run.task].make(
        run, source, mesh, checkpoints.latest() or 1, workdir.parent, cached
    )
    restored = checkpoints.restore(task.init(run.seed))
    checkpoints.close()
    if restored is None:
        raise UserError(f"{workdir} has no whole checkpoint: expected a finished run")
    state, step = restored

    lent = lent_teacher(run.teacher, workdir.parent, source.info)
    teacher = models.create(lent.encoder, lent.num_classes, **lent.options)
    variables = parallel.replicate(lent.variables, mesh)
    if run.teacher_trainable:
        variables = {**state.teacher, "params": state.params["teacher"]}
    clips = open_split(dataset, split)
    return Embedded(
        run.batch_mode,
        objective,
        state.params["objective"],
        step,
        clips.table,
        Evaluator(task.student, run, mesh)(state.student(), clips),
        Evaluator(teacher, run, mesh)(variables, clips),
    )


def draw(rng: np.random.Generator, table: ClipTable, mode: str, groups: int, size: int) -> Groups:
    """Rows of some groups of labelled clips: random clips, or neighbours of one night.

    Raises:
        UserError: the split has not so many.
    """
    if mode == "contiguous":
        whole = neighbours(table, size)
    else:
        clips = rng.permutation(labelled_clips(table)[:, 0])
        whole = clips[: len(clips) // size * size].reshape(-1, size)
    if len(whole) < groups:
        raise UserError(
            f"the split has {len(whole)} {mode} groups of {size} clips, expected {groups}: "
            "lower --groups"
        )
    return rng.permutation(whole)[:groups]


def graph_distance(embedded: Embedded) -> Callable[[Groups], Distances]:
    """The function from groups to the distances of video graphs (rows) to EEG graphs (columns)."""
    network = StructureGraph(**embedded.objective.graph)
    heads, norm = embedded.heads, embedded.objective.ld_norm

    @jax.jit
    def distance(video: jax.Array, eeg: jax.Array) -> jax.Array:
        eeg = project_teacher(heads, eeg)
        student_graphs = network.apply({"params": heads["student_graph"]}, video)
        teacher_graphs = network.apply({"params": heads["teacher_graph"]}, eeg)
        return graph_distances(student_graphs, teacher_graphs, norm)

    video, eeg = embedded.student["embedding"], embedded.teacher["embedding"]
    return lambda groups: np.asarray(distance(video[groups], eeg[groups]))


def stage_distance(embedded: Embedded) -> Callable[[Groups], Distances]:
    """The same by squared distances of the mean probabilities that the networks give a group."""
    from scipy import special  # slow to import

    video, eeg = (special.softmax(o["logits"], -1) for o in (embedded.student, embedded.teacher))

    def distance(groups: Groups) -> Distances:
        rows, columns = video[groups].mean(axis=1), eeg[groups].mean(axis=1)
        return ((rows[:, None] - columns[None]) ** 2).sum(axis=-1)

    return distance


def retrieval(distance: Distances) -> dict[str, float]:
    """How often and at which rank each group retrieves itself, and mean distances.

    Equal distances share the ranks they take, and the hit: graphs that are all alike find
    themselves once in as many tries as there are groups.
    """
    own = np.diagonal(distance)[:, None]
    found, ranks = [], []
    for rows in (distance, distance.T):
        nearer, equal = (rows < own).sum(axis=1), (rows == own).sum(axis=1)
        found.append(float(np.mean((nearer == 0) / equal)))
        ranks.append(float(np.mean(nearer + (equal + 1) / 2)))
    other = ~np.eye(len(distance), dtype=bool)
    return {
        "video_to_eeg": found[0],
        "eeg_to_video": found[1],
        "mean_rank": float(np.mean(ranks)),
        "distance_own": float(own.mean()),
        "distance_other": float(distance[other].mean()),
    }


def measure(embedded: Embedded, groups: int, size: int, draws: int, seed: int) -> dict[str, Any]:
    """Means of `retrieval` over many draws of groups, by graphs and by stages, in both modes.

    Args:
        groups: candidates of a draw.
        size: clips of a group; a graph network takes any number.
    """
    ways = {"graphs": graph_distance(embedded), "stages": stage_distance(embedded)}
    measured: dict[str, Any] = {}
    for mode in MODES:
        rng = np.random.default_rng(seed)
        chosen = [draw(rng, embedded.table, mode, groups, size) for _ in range(draws)]
        measured[mode] = {}
        for way, distance in ways.items():
            each = [retrieval(distance(rows)) for rows in chosen]
            measured[mode][way] = {
                name: float(np.mean([one[name] for one in each])) for name in each[0]
            }
    return measured
