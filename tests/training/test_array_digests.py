"""The digest of a state: the same wherever it lies, another for every change."""

import jax
import jax.numpy as jnp
import numpy as np

from sacd_jax.training.array_digests import digests

ACROSS = """
import jax, numpy as np
from sacd_jax import parallel
from sacd_jax.training.array_digests import digests
mesh = parallel.make_mesh()
array = np.arange(40, dtype=np.float32).reshape(8, 5)
print(digests({"a": parallel.replicate(array, mesh)})["['a']"])
print(digests({"a": jax.device_put(array, parallel.sharded(mesh))})["['a']"])
"""


def test_rows_on_four_devices_are_the_rows_on_one(run_python):
    array = jnp.arange(40, dtype=jnp.float32).reshape(8, 5)
    expected = digests({"a": array})["['a']"]
    assert run_python(ACROSS, devices=4).stdout.split() == [expected] * 2


def test_every_flipped_bit_and_every_exchange_changes_it():
    values = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    variants = [values, values[::-1].copy(), values.T.reshape(6, 4).copy(), np.zeros_like(values)]
    for bit in range(32 * values.size):
        variant = values.copy()
        variant.view(np.uint32).reshape(-1)[bit // 32] ^= np.uint32(1) << np.uint32(bit % 32)
        variants.append(variant)
    found = {digests(jnp.asarray(variant))[""] for variant in variants}
    assert len(found) == len(variants)


def test_all_kinds_of_arrays_of_a_state_have_one():
    tree = {
        "step": jnp.int32(3),
        "empty": jnp.zeros((0, 3)),
        "mask": jnp.array([True, False]),
        "half": jnp.ones((3, 2), jnp.bfloat16),
        "row": jnp.arange(5.0),
    }
    found = digests(tree)
    assert found.keys() == {f"['{name}']" for name in tree}
    assert len(set(found.values())) == len(tree)
    assert digests(jax.tree.map(jnp.copy, tree)) == found
