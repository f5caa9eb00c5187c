"""Context over a staged night: the second network, which sees what the first said of the epochs."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float, Float32

from input_pipeline.stages import CLIP_SECONDS
from sacd_jax import models
from sacd_jax.models.context import CLIP_OUTPUTS
from sacd_jax.models.encoder import Batch, forward
from sacd_jax.runs.model_file import Model

_STEP = 120
"""Epochs, an hour."""


@dataclass
class NightContext:
    """A trained network over the night.

    Attributes:
        model: the network.
        outputs: shapes of what it reads of an epoch, for a first look at whether it fits.
        temperature: that its scores are divided by before they become probabilities.
        compute: (variables, batch of `CLIP_OUTPUTS` and `mask`) -> probabilities, not jitted.
        variables: of the network, on the device.
    """

    model: Model
    outputs: dict[str, Any]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Raises what a network says whose weights do not fit."""
        network = models.create(self.model.encoder, self.model.num_classes, **self.model.options)

        def compute(variables: Any, batch: Batch) -> jax.Array:
            output, _ = forward(network, variables, batch, train=False)
            return jax.nn.softmax(output.logits / self.temperature, axis=-1)

        self.compute = compute
        self._probabilities = jax.jit(compute)
        self.variables = jax.device_put(self.model.variables)
        jax.eval_shape(compute, self.variables, self.outputs)

    @property
    def look_ahead(self) -> int | None:
        """Later epochs that the stage of an epoch may depend on; None: all of the piece."""
        return self.model.options.get("look_ahead")

    @property
    def step(self) -> int:
        """Lengths of pieces are padded to multiples of it, so that few programs are compiled."""
        return _STEP * (1 + (self.look_ahead or 0) // _STEP)

    @property
    def words(self) -> str:
        """What it sees, and how late a stage is known."""
        before = "the epochs before it in the unbroken piece of the night"
        if self.look_ahead is None:
            return f"{before} and all after it: a stage is known when the piece has ended"
        late = f"a stage is known {self.look_ahead * CLIP_SECONDS:g} s after its epoch has ended"
        after = f" and {self.look_ahead} after it" if self.look_ahead else " alone"
        return f"{before}{after}: {late}"

    def probabilities(
        self,
        embedding: Float[np.ndarray, "epochs dim"],
        logits: Float[np.ndarray, "epochs classes"],
        seen: Bool[np.ndarray, " epochs"],
    ) -> Float32[np.ndarray, "epochs classes"]:
        """Probabilities of the stages of a night; NaN in the epochs that nobody has seen.

        Each piece between two unseen epochs stands for itself, as in training.

        Args:
            embedding: of the network that saw each epoch alone.
            logits: of the same.
            seen: whether that network saw the epoch.
        """
        found = np.full(logits.shape, np.nan, np.float32)
        for piece in np.split(np.arange(len(seen)), np.flatnonzero(np.diff(seen)) + 1):
            if not seen[piece[0]]:
                continue
            padding = ((0, -len(piece) % self.step), (0, 0))
            rows = zip(CLIP_OUTPUTS, (embedding, logits), strict=True)
            batch = {name: np.pad(array[piece], padding)[None] for name, array in rows}
            batch["mask"] = (np.arange(batch["clip_logits"].shape[1]) < len(piece))[None]
            found[piece] = self._probabilities(self.variables, batch)[: len(piece)]
        return found
