"""The network whose stored outputs a run over nights learns from, and those outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.source import ClipSource
from sacd_jax.config import RunConfig
from sacd_jax.runs import lending, model_file, predictions, run_folder
from sacd_jax.runs.model_file import Model
from sacd_jax.runs.run_folder import RunFolder


@dataclass(frozen=True)
class ClipNetwork:
    """A finished run that saw each clip alone.

    Attributes:
        folder: of the run.
        model: its network.
        identity: fingerprint of the network with every bit of its weights.
    """

    folder: RunFolder
    model: Model
    identity: str
    _outputs: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def outputs(self, source: ClipSource) -> Mapping[str, np.ndarray]:
        """What the network said of every clip of a split, as its run has stored it.

        Args:
            source: the split.

        Returns:
            clip_embedding f32[N,D] and clip_logits f32[N,C], in the order of the split.

        Raises:
            UserError: nothing is stored, or it is of other clips or other weights; names the
                command that stores it.
        """
        if source.split not in self._outputs:
            self._outputs[source.split] = self._read(source)
        return self._outputs[source.split]

    def _read(self, source: ClipSource) -> dict[str, np.ndarray]:
        name, split = self.folder.path.name, source.split
        path = self.folder.predictions(split)
        again = (
            f"`python -m sacd_jax.evaluate --workdir {self.folder.path} --split {split}` "
            "writes them"
        )
        if not path.is_file():
            raise UserError(f"run {name!r} has no stored embeddings of split {split}: {again}")
        said, made_of = predictions.read(name, path), predictions.read_origin(name, path)
        if not made_of:
            raise UserError(
                f"run {name!r}: {path.name} is of a version that did not say of which data its "
                f"embeddings are: {again} anew"
            )
        for what, expected in (("data", source.fingerprint), ("weights", self.identity)):
            if made_of[what] != expected:
                raise UserError(
                    f"run {name!r}: {path.name} holds embeddings of other {what} than split "
                    f"{split} and the run's network ({expected[:12]}): {again} anew, where the run "
                    "is of this data set"
                )
        for key in ("night_id", "clip_index"):
            if not np.array_equal(getattr(said, key), getattr(source.table, key)):
                raise UserError(
                    f"run {name!r}: {path.name} differs from split {split} in {key}: {again} anew"
                )
        return {
            "clip_embedding": said.embedding.astype(np.float32),
            "clip_logits": said.logits.astype(np.float32),
        }


def clip_network(run: RunConfig, siblings: Path) -> ClipNetwork | None:
    """The network that a run's setting `embeddings_of` names; None for a run without.

    Args:
        run: any run.
        siblings: folder of the experiment's runs, among which the name is looked for first.

    Raises:
        UserError: there is no such finished run, or it is one without a network for clips.
    """
    if run.embeddings_of is None:
        return None
    folder = lending.run_or_folder(run.embeddings_of, siblings)
    lender, _ = run_folder.read_run(folder)
    if lender.task == "boost" or lender.embeddings_of is not None:
        kind = "has no network" if lender.task == "boost" else "sees embeddings itself"
        raise UserError(
            f"embeddings_of names {run.embeddings_of!r}, which {kind}: expected a run whose "
            "network sees clips"
        )
    model = model_file.load(folder)
    return ClipNetwork(RunFolder(folder), model, model_file.identity(model))
