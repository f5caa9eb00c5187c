"""Networks in bfloat16: float32 outside, near float32 inside, and every method learns so."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from sacd_jax import models, objectives
from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import (
    Batch,
    Encoder,
    EncoderOutput,
    forward,
    init_variables,
    output_spec,
)
from sacd_jax.models.precision import at_precision, resolved
from sacd_jax.objectives import DataSpec
from sacd_jax.tasks.distill import Distill

CLIPS = 16
VIDEO = {"stem_patch": 4, "width": 0.25}
FUSED = {"first": {"name": "r2plus1d_small", "options": VIDEO}, "second": {"name": "attnsleep"}}


class TwoLayers(Encoder):
    """The least network that computes in bfloat16."""

    width: int = 64
    dtype: Any = None

    @property
    def input_keys(self) -> tuple[str, ...]:
        return ("video",)

    @nn.compact
    def __call__(self, batch: Batch, train: bool) -> EncoderOutput:
        pixels = batch["video"].reshape(len(batch["video"]), -1) / 255
        hidden = nn.relu(nn.Dense(self.width, dtype=self.dtype)(pixels))
        embedding = nn.relu(nn.Dense(32, dtype=self.dtype)(hidden))
        return EncoderOutput(embedding, nn.Dense(5, dtype=self.dtype)(embedding), (hidden,))


def batch_of(seed: int = 0) -> dict[str, jax.Array]:
    rng = np.random.default_rng(seed)
    stage = np.arange(CLIPS, dtype=np.int32) % 5
    video = rng.integers(0, 255, (CLIPS, 8, 32, 32, 1)) // 2 + 20 * stage[:, None, None, None, None]
    eeg = rng.normal(0, 20, (CLIPS, 3750)) * (1 + stage[:, None])
    return {
        "video": jnp.asarray(video, jnp.uint8),
        "eeg": jnp.asarray(eeg, jnp.float32),
        "stage": jnp.asarray(stage),
        "index": jnp.arange(CLIPS, dtype=jnp.int32),
        "mask": jnp.ones(CLIPS, bool),
    }


def test_auto_is_what_the_devices_are_good_at() -> None:
    assert [resolved("auto", platform) for platform in ("cpu", "gpu", "tpu")] == [
        "float32",
        "bfloat16",
        "bfloat16",
    ]
    assert resolved("bfloat16", "cpu") == "bfloat16" and resolved("float32", "tpu") == "float32"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("r2plus1d_small", VIDEO),
        pytest.param("attnsleep", {"eeg_scale": 20.0}, marks=pytest.mark.slow),
        ("sen", {"eeg_scale": 20.0}),
        pytest.param("fusion", FUSED, marks=pytest.mark.slow),
    ],
)
def test_outputs_and_weights_are_float32_and_near(name: str, options: dict[str, Any]) -> None:
    plain = models.create(name, **options)
    assert at_precision(plain, "float32") is plain
    half, batch = at_precision(plain, "bfloat16"), batch_of()
    variables = init_variables(half, jax.random.key(0), batch)
    same = init_variables(plain, jax.random.key(0), batch)
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), variables, same))
    exact, _ = forward(plain, variables, batch, train=False)
    rough, _ = forward(half, variables, batch, train=False)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, rough))} == {jnp.dtype("float32")}
    differ = jnp.abs(exact.logits - rough.logits).max()
    assert 0 < differ < 0.05 * jnp.abs(exact.logits).max()


@pytest.mark.slow
@pytest.mark.parametrize("method", objectives.available())
def test_every_method_learns_in_bfloat16(method: str) -> None:
    batch = batch_of()
    networks = (TwoLayers(), TwoLayers(width=32))  # for most: video networks take long to compile
    if method in ("sacd", "fitnet"):  # FitNet reads inner vectors
        eeg = models.create("attnsleep", eeg_scale=20.0)
        networks = (models.create("r2plus1d_small", **VIDEO), eeg)
    student, teacher = (at_precision(network, "bfloat16") for network in networks)
    objective = objectives.create(method)
    labels = np.asarray(batch["stage"])
    data = DataSpec(CLIPS, labels, 5, CLIPS, steps_per_pass=1)
    specs = (output_spec(student, batch), output_spec(teacher, batch))
    heads, buffers = objective.init(jax.random.key(1), *specs, data)
    task = Distill(
        student=student,
        teacher=teacher,
        objective=objective,
        optimizer=optax.adam(1e-3),
        augment=AugmentConfig(flip=0.0),
    )
    variables = (init_variables(each, jax.random.key(0), batch) for each in (student, teacher))
    state = task.first_state(0, *variables, heads, buffers)
    step = jax.jit(task.train_step)
    seen = []
    for _ in range(120):
        state, metrics = step(state, batch)
        seen.append(metrics)
    for name in seen[0]:
        assert np.isfinite([float(metrics[name]) for metrics in seen]).all(), name
    trained = (state.params, state.opt_state, state.key_encoder, state.buffers)
    kinds = {leaf.dtype for leaf in jax.tree.leaves(trained)}
    assert jnp.dtype("bfloat16") not in kinds
    first, last = seen[0], seen[-1]
    assert any(float(last[name]) < float(first[name]) for name in ("loss", "cross_entropy"))
