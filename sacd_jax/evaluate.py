"""Predictions of a finished run on a split: metrics by subject, and the report of an experiment."""

import argparse
import contextlib
import dataclasses
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import flax.linen as nn
import jax
import numpy as np
from scipy import special

from input_pipeline.command_errors import one_line_errors
from input_pipeline.datasets.dataset_files import read_info
from input_pipeline.datasets.simulated_nights import nights_folder
from input_pipeline.errors import UserError
from input_pipeline.files import whole_file, write_json
from input_pipeline.loader import Batches, Loader
from input_pipeline.simulation.ceiling import ceiling
from input_pipeline.source import ClipSource, open_split
from input_pipeline.splits import SPLITS
from input_pipeline.stages import STAGES
from sacd_jax import config as configs
from sacd_jax import metrics, models, parallel
from sacd_jax.config import RunConfig
from sacd_jax.models.encoder import Batch, EncoderOutput, forward, has_state
from sacd_jax.report import classification, comparison
from sacd_jax.runs import model_file, run_folder
from sacd_jax.tasks.augment import centred
from sacd_jax.tasks.terms import predictions_of
from sacd_jax.tasks.train_state import Tree

EXPERIMENT = "experiment.json"
EXAMPLE = "python -m sacd_jax.evaluate --workdir runs/demo/sacd --split test"


SEQUENCE_LENGTH = 25
"""Clips a network with a state is shown at a time (DeepSleepNet's own)."""

Keep = Callable[[EncoderOutput, Batch], Mapping[str, jax.Array]]


class Evaluator:
    """One network, compiled once; called after every pass and on other splits.

    A network with a state (DeepSleepNet) goes through each night in order.
    """

    def __init__(
        self,
        encoder: nn.Module,
        run: RunConfig,
        mesh: jax.sharding.Mesh,
        keep: Keep = predictions_of,
    ):
        """
        Args:
            encoder: the network.
            run: how clips are read; `eval_batch_size` is rounded up to a multiple of the devices.
            mesh: where it computes.
            keep: what of a batch is kept; must hold `index` and `mask`.
        """
        self._mesh, self._encoder = mesh, encoder
        self._sampling = run.sampling
        self._has_state = has_state(encoder)
        rows = run.eval_batch_size // SEQUENCE_LENGTH if self._has_state else run.eval_batch_size
        self._batch_size = max(1, -(-rows // mesh.size)) * mesh.size

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
        with contextlib.closing(self._open(source, windows)) as batches:
            carry, pending = self._first_carry(), None
            for batch in batches:  # one batch behind, so that the device never waits for the host
                kept, carry = self._step(variables, batch, carry)
                if pending is not None:
                    yield _without_padding(pending)
                pending = kept
            if pending is not None:
                yield _without_padding(pending)

    def _open(self, source: ClipSource, windows: int | None) -> Batches:
        loader = Loader(
            source,
            self._sampling,
            self._encoder.input_keys,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            to_device=parallel.to_device(self._mesh),
        )
        if self._has_state:
            return loader.sequences(SEQUENCE_LENGTH, self._batch_size)
        return loader.evaluate(self._batch_size, windows)

    def _first_carry(self) -> Tree:
        if not self._has_state:
            return None
        zeros = jax.jit(
            self._encoder.initial_carry,
            static_argnums=0,
            out_shardings=parallel.sharded(self._mesh),
        )
        return zeros(self._batch_size)


def _without_padding(kept: Mapping[str, jax.Array]) -> dict[str, np.ndarray]:
    host = dict(jax.device_get(kept))
    mask = host.pop("mask")
    return {key: value[mask] for key, value in host.items()}


def mean_over_windows(predictions: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One row a clip from one row a window: probabilities and embeddings are averaged.

    The logits of a clip with several windows are the logarithms of its mean probabilities.
    """
    rows, first, counts = np.unique(predictions["index"], return_index=True, return_counts=True)
    if counts.max(initial=1) == 1:
        return predictions

    def mean(values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values.astype(np.float64), first) / counts[:, None]

    logits = predictions["logits"].astype(np.float64)
    probabilities = mean(special.softmax(logits, axis=-1))
    return {
        "logits": np.log(np.maximum(probabilities, 1e-30)).astype(np.float32),
        "embedding": mean(predictions["embedding"]).astype(np.float32),
        "stage": predictions["stage"][first],
        "index": rows.astype(np.int32),
    }


def figures(predictions: dict[str, np.ndarray]) -> metrics.Metrics:
    """Pooled metrics of predictions."""
    logits = predictions["logits"]
    counts = metrics.count_confusion(
        predictions["stage"], logits.argmax(-1), classes=logits.shape[-1]
    )
    return metrics.from_confusion(counts)


def predictions_file(workdir: Path, split: str) -> Path:
    """Where a run keeps its predictions on a split."""
    return workdir / f"predictions_{split}.npz"


def write_predictions(
    workdir: Path, split: str, predictions: dict[str, np.ndarray], source: ClipSource
) -> None:
    """Stores predictions with whose they are; the file is there whole or not at all."""
    if jax.process_index() != 0:
        return
    rows = predictions["index"]
    table = {
        name: getattr(source.table, name)[rows]
        for name in ("night_id", "subject_id", "clip_index", "ahi")
    }
    with (
        whole_file(predictions_file(workdir, split)) as temporary,
        open(temporary, "wb") as file,
    ):
        np.savez(file, **predictions, **table)


def evaluate(workdir: Path, split: str) -> metrics.Metrics:
    """Predicts a split with a finished run's network and stores the predictions."""
    stored = run_folder.read_config(workdir)
    run = configs.build(configs.RunConfig, stored["run"])
    model = model_file.load(workdir)
    encoder = models.create(model.encoder, model.num_classes, **model.options)
    source = open_split(workdir / stored["dataset"], split)
    mesh = parallel.make_mesh()
    predictions = Evaluator(encoder, run, mesh)(parallel.replicate(model.variables, mesh), source)
    write_predictions(workdir, split, predictions, source)
    return figures(predictions)


def remember_experiment(experiment: configs.Experiment, workdir: Path, dataset: Path) -> None:
    """Writes what the report of an experiment is made from into its folder."""
    nights = None
    if experiment.dataset.simulated:
        folder = nights_folder(experiment.dataset, dataset.parent)
        nights = os.path.relpath(folder, workdir)
    write_json(
        workdir / EXPERIMENT,
        {
            "dataset": os.path.relpath(dataset, workdir),
            "nights": nights,
            "runs": list(experiment.runs),
        },
    )


def report(workdir: Path) -> Path:
    """Compares the finished runs of an experiment; returns the path of the page (other data than
    sleep: of the table).

    Prints the tables and writes results.json, table.md and report.html. On simulated nights, the
    simulator's ceiling stands among the rows.

    Raises:
        UserError: no run has predictions on the test subjects yet.
    """
    facts = json.loads((workdir / EXPERIMENT).read_text())
    runs = {
        name: workdir / name
        for name in facts["runs"]
        if predictions_file(workdir / name, "test").exists()
    }
    if not runs:
        raise UserError(f"no run in {workdir} is finished: no predictions on the test subjects")
    unfinished = [name for name in facts["runs"] if name not in runs]
    if unfinished:
        print(f"not finished here, so not in the report: {', '.join(unfinished)}")
    dataset = workdir / facts["dataset"]
    info = read_info(dataset)
    if info.classes != STAGES:
        return classification.write(runs, info.classes, info.split_mode, workdir)
    ceilings = {}
    if facts["nights"]:
        sampling = configs.build(
            configs.RunConfig, run_folder.read_config(list(runs.values())[-1])["run"]
        ).sampling
        ceilings = ceiling(
            workdir / facts["nights"],
            open_split(dataset, "train").table,
            open_split(dataset, "test").table,
            moments=sampling.moments,
            lags_s=sampling.lags_s,
        )
    results = comparison.compare(runs, ceilings, dataclasses.asdict(info))
    comparison.show(results)
    return comparison.write(results, workdir)


def main(argv: list[str] | None = None) -> None:
    """Command line; see `--help`."""
    parser = argparse.ArgumentParser(
        prog="python -m sacd_jax.evaluate",
        description=__doc__,
        epilog=f"example: {EXAMPLE}",
    )
    parser.add_argument(
        "--workdir", type=Path, required=True, help="folder of a run, or of an experiment's runs"
    )
    parser.add_argument(
        "--split",
        default="test",
        choices=SPLITS,
        help="part of the data, for a run",
    )
    arguments = parser.parse_args(argv)
    parallel.initialize()
    first = jax.process_index() == 0
    if (arguments.workdir / EXPERIMENT).exists():
        if first:
            print(f"report: {report(arguments.workdir)}")
        parallel.wait_for_all("report")
        return
    measured = evaluate(arguments.workdir, arguments.split)
    if first:
        print(json.dumps({"split": arguments.split, **metrics.json_ready(measured)}))


if __name__ == "__main__":
    with one_line_errors():
        main()
