"""A step of every objective on 8 devices equals the step on 1."""

import pytest

from sacd_jax import objectives

CHECK = """
import sys
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from sacd_jax import objectives
from sacd_jax.models.encoder import EncoderOutput
from sacd_jax.objectives.objective import Keys, Seen, participating
from tests.objectives.two_layers import (
    BATCH, DATA, OPTIONS, SPEC, TWO_LAYERS, clips, encode, encoder_init,
)
from tests.objectives.video_network import VIDEO

assert jax.device_count() == 8
mesh = jax.make_mesh((8,), ("data",), axis_types=(AxisType.Auto,))
rows, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in (("data",), ()))
one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
eeg = clips(2)[1, :BATCH]
batch = {
    "index": jnp.arange(BATCH), "stage": jnp.asarray(DATA.labels[:BATCH]).at[5].set(-1),
    "mask": jnp.ones(BATCH, bool).at[17].set(False),
}

for name in sys.argv[1:]:
    on_video, name = name.startswith("video "), name.removeprefix("video ")
    network = VIDEO if on_video else TWO_LAYERS
    video = network.clips(2)[:BATCH]
    objective = objectives.create(name, **OPTIONS.get(name, {}))
    heads, buffers = objective.init(jax.random.key(7), network.spec, SPEC, DATA)

    def step(heads, student, buffers, batch, video, eeg):
        def loss(heads, student):
            seen = Seen(
                network.encode(student, video), encode(encoder_init(5), eeg),
                Keys(network.encode(network.init(6), video), encode(encoder_init(5), eeg))
                if objective.needs_keys else None,
                batch, participating(batch), jax.random.key(3), jnp.int32(9),
            )
            terms, new = objective.terms(heads, buffers, seen)
            return sum(w * terms.losses[k] for k, w in objective.weights.items()), (terms, new)
        return jax.grad(loss, argnums=(0, 1), has_aux=True)(heads, student)

    def run(of_rows, of_others, steps=2):
        put = jax.device_put
        now, inputs = put(buffers, of_others), put((batch, video, eeg), of_rows)
        jitted = jax.jit(step, out_shardings=of_others)
        for _ in range(steps):
            grads, (terms, now) = jitted(*put((heads, network.init(6)), of_others), now, *inputs)
        return grads, terms, now

    single, many = run(one, one), run(rows, whole)
    assert len(jax.tree.leaves(single)) == len(jax.tree.leaves(many)) > 3
    for (path, a), b in zip(jax.tree.leaves_with_path(single), jax.tree.leaves(many), strict=True):
        np.testing.assert_allclose(
            a, b, rtol=2e-4, atol=2e-5 * max(1, np.abs(a).max()), err_msg=f"{name} {path}"
        )
    print("equal", name)
"""


# The student is the video network where that is said, else of two layers. Relations among 16 clips
# cross the devices' borders: 4 clips on each.
OBJECTIVES = ["pkt"]
IN_TEST_ROWS = ["sacd"]
OTHERS = [name for name in objectives.available() if name not in OBJECTIVES + IN_TEST_ROWS]
ON_VIDEO = ["video crd", "video ccl"]


@pytest.mark.parametrize(
    "names",
    [OBJECTIVES, *(pytest.param(more, marks=pytest.mark.slow) for more in (OTHERS, ON_VIDEO))],
)
def test_eight_devices_equal_one(run_python, names):
    output = run_python(CHECK, *names, devices=8).stdout
    assert output.count("equal") == len(names)
