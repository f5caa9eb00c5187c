"""Networks on a whole split: in eval mode, on centred crops, one prediction a clip."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from input_pipeline.datasets.dataset_files import DatasetInfo
from input_pipeline.loader import Batches, Loader
from input_pipeline.source import ClipSource, open_split
from sacd_jax import metrics, models, parallel
from sacd_jax.config import RunConfig
from sacd_jax.models.encoder import Batch, Encoder, EncoderOutput, forward
from sacd_jax.models.precision import at_precision, resolved
from sacd_jax.runs import model_file, predictions, run_folder, temperature
from sacd_jax.runs.clip_network import ClipNetwork, clip_network
from sacd_jax.runs.model_file import Model
from sacd_jax.runs.run_folder import RunFolder
from sacd_jax.tasks.augment import centred
from sacd_jax.tasks.train_state import Tree
from sacd_jax.training import length, rival
from sacd_jax.training.watchdog import alive

SEQUENCE_LENGTH = 25
"""Clips a network with a state is shown at a time (DeepSleepNet's own)."""

Keep = Callable[[EncoderOutput, Batch], Mapping[str, jax.Array]]


def predictions_of(output: EncoderOutput, batch: Batch) -> dict[str, Array]:
    """What is kept of a batch: float32 logits and embedding, and which clips they are of."""
    return {
        "logits": output.logits.astype(jnp.float32),
        "embedding": output.embedding.astype(jnp.float32),
        **batch,
    }


class Evaluator:
    """One network, compiled once; called after every pass and on other splits.

    A network with a state (DeepSleepNet) goes through each night in order; one that looks ahead
    over the night (context) sees each unbroken piece of it at once.
    """

    def __init__(
        self,
        encoder: Encoder,
        run: RunConfig,
        mesh: jax.sharding.Mesh,
        keep: Keep = predictions_of,
        clip_network: ClipNetwork | None = None,
    ):
        """
        Args:
            encoder: the network.
            run: how clips are read; `eval_batch_size` is rounded up to a multiple of the devices.
            mesh: where it computes.
            keep: from the output and the batch's `stage`, `index` and `mask` to what is kept; must
                hold `index` and `mask`.
            clip_network: whose stored outputs the network reads; None: it reads clips.
        """
        self._mesh, self._encoder = mesh, encoder
        self._sampling, self._clip_network = run.sampling, clip_network
        self._has_state = encoder.has_state
        self._clips = run.eval_batch_size

        def step(variables: Tree, batch: Batch, carry: Tree) -> tuple[Mapping, Tree]:
            batch = centred(batch, run.augment)
            if carry is not None:
                batch = {**batch, "carry": carry}
            output, _ = forward(encoder, variables, batch, train=False)
            rows = {name: batch[name].reshape(-1) for name in ("stage", "index", "mask")}
            return keep(output, rows), output.extras.get("carry")

        shardings = (parallel.replicated(mesh), parallel.sharded(mesh))
        self._step = jax.jit(step, out_shardings=shardings)

    def __call__(
        self, variables: Tree, source: ClipSource, windows: int | None = None
    ) -> dict[str, np.ndarray]:
        """logits f32[N,C], embedding f32[N,D], stage i32[N], index i32[N], ordered by index.

        With consecutive frames a clip's predictions are the mean over its windows, at most
        `windows` of them.
        """
        parts = list(self.batches(variables, source, windows))
        joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        order = np.argsort(joined["index"], kind="stable")
        return mean_over_windows({key: value[order] for key, value in joined.items()})

    def batches(
        self, variables: Tree, source: ClipSource, windows: int | None = None
    ) -> Iterator[dict[str, np.ndarray]]:
        """What is kept of each batch, without padding; rows are named by their `index`."""
        length = self._length(source)
        lanes = max(1, -(-(self._clips // length) // self._mesh.size)) * self._mesh.size
        with contextlib.closing(self._open(source, windows, length, lanes)) as batches:
            carry, pending = self._first_carry(lanes), None
            for batch in batches:  # one batch behind, so that the device never waits for the host
                kept, carry = self._step(variables, batch, carry)
                alive()
                if pending is not None:
                    yield _without_padding(pending)
                pending = kept
            if pending is not None:
                yield _without_padding(pending)

    def _length(self, source: ClipSource) -> int:
        """Clips of a night that are shown at a time; 1 to a network that sees each alone."""
        if self._encoder.sees_whole_pieces:
            return max(map(len, source.table.runs()))
        return SEQUENCE_LENGTH if self._has_state else 1

    def _open(self, source: ClipSource, windows: int | None, length: int, lanes: int) -> Batches:
        loader = Loader(
            source,
            self._sampling,
            self._encoder.input_keys,
            {} if self._clip_network is None else self._clip_network.outputs(source),
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            to_device=parallel.to_device(self._mesh),
        )
        if self._has_state:
            return loader.sequences(length, lanes)
        return loader.evaluate(lanes, windows)

    def _first_carry(self, lanes: int) -> Tree:
        if not self._has_state:
            return None
        zeros = jax.jit(
            self._encoder.initial_carry,
            static_argnums=0,
            out_shardings=parallel.sharded(self._mesh),
        )
        return zeros(lanes)


def _without_padding(kept: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    host = dict(jax.device_get(kept))
    mask = host.pop("mask")
    return {key: value[mask] for key, value in host.items()}


def mean_over_windows(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One row a clip from one row a window: probabilities and embeddings are averaged.

    The logits of a clip with several windows are the logarithms of its mean probabilities.
    """
    rows, first, counts = np.unique(outputs["index"], return_index=True, return_counts=True)
    if counts.max(initial=1) == 1:
        return outputs
    from scipy import special  # slow to import

    def mean(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), first) / counts[:, None]

    logits = outputs["logits"].astype(np.float64)
    probabilities = mean(special.softmax(logits, axis=-1))
    return {
        "logits": np.log(np.maximum(probabilities, 1e-30)).astype(np.float32),
        "embedding": mean(outputs["embedding"]).astype(np.float32),
        "stage": outputs["stage"][first],
        "index": rows.astype(np.int32),
    }


def figures(outputs: Mapping[str, np.ndarray]) -> metrics.Metrics:
    """Pooled metrics of an evaluator's outputs."""
    logits = outputs["logits"]
    counts = metrics.count_confusion(outputs["stage"], logits.argmax(-1), classes=logits.shape[-1])
    return metrics.from_confusion(counts)


def predicted_splits(info: DatasetInfo) -> tuple[str, ...]:
    """What a finished run has predictions on: validation, where it has clips of its own, and test.

    The last one written says that the run is finished.
    """
    return ("test",) if "validation" in info.shared_splits else ("validation", "test")


def store_predictions(
    evaluate: Evaluator,
    model: Model,
    mesh: jax.sharding.Mesh,
    source: ClipSource,
    folder: RunFolder,
) -> metrics.Metrics:
    """Evaluates a selected network on a split and stores its predictions in the folder of its run.

    With those on the validation split, the temperature that fits them is stored.

    Args:
        evaluate: of the model's network.
        model: the network and its weights.
        mesh: where it computes.
        source: the split.
        folder: of the run.

    Returns:
        pooled metrics.
    """
    outputs = evaluate(parallel.replicate(model.variables, mesh), source)
    if jax.process_index() == 0:
        _store(outputs, source, folder, model_file.identity(model))
    return figures(outputs)


def store_rival(run: RunConfig, dataset: Path, split: str, folder: RunFolder) -> metrics.Metrics:
    """The same for a run of task `boost`, which has no network."""
    outputs = rival.outputs(run, dataset, split)
    if jax.process_index() == 0:
        _store(outputs, open_split(dataset, split), folder)
    return figures(outputs)


def _store(
    outputs: Mapping[str, np.ndarray], source: ClipSource, folder: RunFolder, weights: str = ""
) -> None:
    predictions.write(folder.predictions(source.split), outputs, source, weights)
    if source.split == "validation" and "validation" in predicted_splits(source.info):
        subjects = source.table.subject_id[outputs["index"]]
        temperature.store(folder, outputs["logits"], outputs["stage"], subjects, weights)


def evaluate_run(workdir: Path, split: str) -> metrics.Metrics:
    """The same for a finished run, from what lies in its folder.

    Raises:
        UserError: not the folder of a finished run, or its data set is gone.
    """
    run, dataset = run_folder.read_run(workdir)
    length.refuse_unfinished(run, RunFolder(workdir), dataset)
    if run.task == "boost":
        return store_rival(run, dataset, split, RunFolder(workdir))
    model, mesh = model_file.load(workdir), parallel.make_mesh()
    encoder = models.create(model.encoder, model.num_classes, **model.options)
    encoder = at_precision(encoder, resolved(run.precision, parallel.platform(mesh)))
    clips = clip_network(run, workdir.parent)
    evaluate, source = Evaluator(encoder, run, mesh, clip_network=clips), open_split(dataset, split)
    return store_predictions(evaluate, model, mesh, source, RunFolder(workdir))
