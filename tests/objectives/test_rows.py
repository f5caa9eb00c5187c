"""Objectives on several devices: the numbers of one device, and how little is exchanged."""

import json

import jax
import numpy as np
import pytest

from sacd_jax.objectives.rows import ALL_HERE, Rows, by_rows

CHECK = """
import json, sys
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_enable_x64", True)
jnp.float32 = jnp.float64  # formulas ask for float32, and get enough here to tell rounding from errors
from jax.sharding import NamedSharding, PartitionSpec
from sacd_jax import objectives, parallel
from sacd_jax.benchmarks import hlo
from sacd_jax.objectives.objective import Keys, Seen, participating
from tests.objectives.two_layers import BATCH, DATA, OPTIONS, SPEC, clips, encode, encoder_init

video, eeg = clips(2)[:, :BATCH]
index = 32 + 4 * jnp.arange(BATCH)  # of 8 devices the second has a bank's row 128, and more
batch = {
    "index": index, "stage": jnp.asarray(DATA.labels)[index].at[5].set(-1),
    "mask": jnp.ones(BATCH, bool).at[17].set(False),
}
name, options, *counts = json.loads(sys.argv[1])
objective = objectives.create(name, **(OPTIONS[name] | options))
heads, buffers = objective.init(jax.random.key(7), SPEC, SPEC, DATA)

def step(state, batch, video, eeg):
    heads, student, buffers, _ = state
    def loss(heads, student):
        teacher = encode(encoder_init(5), eeg)
        keys = Keys(encode(encoder_init(6), video), teacher) if objective.needs_keys else None
        seen = Seen(
            encode(student, video), teacher, keys, batch, participating(batch),
            jax.random.key(3), jnp.int32(9),
        )
        terms, new = objective.terms(heads, buffers, seen)
        return sum(w * terms.losses[k] for k, w in objective.weights.items()), (terms, new)
    grads, (terms, buffers) = jax.grad(loss, argnums=(0, 1), has_aux=True)(heads, student)
    return (heads, student, buffers, grads), terms

found = {}
for count in counts:
    mesh = parallel.make_mesh(jax.devices()[:count])
    first = (heads, encoder_init(6), buffers, (heads, encoder_init(6)))
    banks = tuple(f"2/{bank}" for bank in objective.row_sharded)
    state = parallel.place(jax.tree.map(jnp.copy, first), mesh, by_rows=banks)
    inputs = parallel.place((batch, video, eeg), mesh, by_rows=("0", "1", "2"))
    run = parallel.jit_step(step, mesh, state).lower(state, *inputs).compile()
    program = hlo.read(run.as_text())
    found[count] = program.collectives, program.collective_bytes
    for _ in range(2):
        state, terms = run(state, *inputs)
    result = jax.device_get((state, terms))
    if count == counts[0]:
        expected = result
    for (path, a), b in zip(jax.tree.leaves_with_path(expected), jax.tree.leaves(result), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12, err_msg=f"{count} {path}")
print(json.dumps(found))
"""  # noqa: E501

OTHERWISE = {
    "ld_negatives": "previous",
    "hardest_per": "class",
    "lc_reduction": "sum",
    "lc_directions": "student",
}


def test_devices_equal_one_and_exchange_little(run_python) -> None:
    found = json.loads(run_python(CHECK, json.dumps(["sacd", {}, 1, 8]), devices=8).stdout)
    # Most of it are gradients of the 159,616 parameters of the graph networks, here in float64.
    kinds = {"all-gather": 6, "all-reduce": 3, "all-to-all": 1, "reduce-scatter": 1}
    assert found == {"1": [{}, 0], "8": [kinds, 1_307_300]}


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [OTHERWISE, {"key_encoder": "student", "candidates": "bank"}, {"clips_per_graph": 8}]
)
def test_devices_equal_one_with_other_options(run_python, options) -> None:
    run_python(CHECK, json.dumps(["sacd", options, 1, 2, 8]), devices=8)


@pytest.mark.parametrize("name", ["crd", pytest.param("cmc", marks=pytest.mark.slow)])
def test_spread_banks_equal_whole_ones_and_stay_where_they_are(run_python, name) -> None:
    """Of 8 devices each has 4 clips and 128 of a bank's 1,024 rows of 8 numbers."""
    case = [name, {"bank_sharding": "rows"}, 1, 8]
    found = json.loads(run_python(CHECK, json.dumps(case), devices=8).stdout)
    kinds = {"all-gather": 11, "all-reduce": 3, "reduce-scatter": 4, "all-to-all": 4}
    # 131,072 of it are scores and their gradients, in both directions; the banks are 131,072 each.
    assert found == {"1": [{}, 0], "8": [kinds, 151_928]}


GATHERED = """
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import PartitionSpec as P
from sacd_jax import parallel
from sacd_jax.benchmarks import hlo
from sacd_jax.objectives.rows import Rows, by_rows

mesh = parallel.make_mesh()
rows = jax.random.normal(jax.random.key(0), (2, 16, 1024))
weight = jax.random.normal(jax.random.key(1), (16, 16))
masks = jnp.stack([jnp.arange(16) == 5, jnp.zeros(16, bool)], axis=1)  # one counts, and none

def loss(a, b):
    def of_device(rows, weight, batch):
        a, b, masks = batch
        few = sum(rows.masked_mean(a[:, n], masks[:, n]) for n in range(2))
        there, back = rows.products(a, rows.mine(rows.gather(b)))
        weight = rows.mine(weight)
        return few, rows.sum(jnp.sum(weight * there**2) + jnp.sum(weight * back)), rows.sum(
            jnp.sum(jnp.sin(weight @ rows.gather(a)))
        )
    few, *others = by_rows(of_device, weight, (a, b, masks))
    return 1e3 * few + sum(others)

expected = jax.value_and_grad(loss, (0, 1))(*rows)
placed = parallel.place(list(rows), mesh, by_rows=("0", "1"))
with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
    found = jax.jit(jax.value_and_grad(loss, (0, 1)))
    program = hlo.read(found.lower(*placed).compile().as_text())
    found = found(*placed)
    alone = jax.jit(loss)(*placed)  # without the products' own rule for gradients
np.testing.assert_allclose(expected[0], alone, rtol=1e-4)
for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(found), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3)
print(program.collectives["all-gather"])
"""


@pytest.mark.slow
def test_many_devices_gather_in_two_stages(run_python) -> None:
    assert run_python(GATHERED, devices=16).stdout.strip() == "6"


def test_rows_that_cannot_be_dealt_out_stay_together() -> None:
    def where(rows: Rows, _whole: None, _batch: dict) -> Rows:
        return rows

    batch = {"mask": np.zeros(16, bool)}
    assert by_rows(where, None, batch, 4) is ALL_HERE
    for devices in (1, 8):
        with jax.sharding.use_abstract_mesh(jax.sharding.AbstractMesh((devices,), ("data",))):
            assert by_rows(where, None, batch, 4) is ALL_HERE
            assert by_rows(where, None, (np.zeros(12), np.zeros(1024))) is ALL_HERE


def test_a_row_for_each_device_is_dealt_out() -> None:
    found = []

    def total(rows: Rows, _whole: None, mine: jax.Array) -> jax.Array:
        found.append((rows, len(mine)))
        return rows.sum(mine.sum())

    mesh = jax.sharding.AbstractMesh((8,), ("data",), (jax.sharding.AxisType.Auto,))
    with jax.sharding.use_abstract_mesh(mesh):
        jax.eval_shape(lambda rows: by_rows(total, None, rows), np.zeros(8))
    assert found == [(Rows("data"), 1)]
