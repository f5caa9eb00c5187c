"""The mesh: whole groups on every device, rows where they belong; who is asked to join others."""

import pytest

from input_pipeline.errors import UserError
from sacd_jax import parallel
from tests.multi_process.together import ends, processes


def test_batches_that_cannot_be_dealt_out_are_refused():
    mesh = parallel.make_mesh()
    parallel.check_batch_size(32 * mesh.size, mesh, clips_together=16)
    words = f"batch_size 24 cannot be dealt out to {mesh.size} devices with groups of 16 clips"
    with pytest.raises(UserError, match=words):
        parallel.check_batch_size(24, mesh, clips_together=16)


EIGHT = """
import jax, numpy as np
from sacd_jax import parallel
mesh = parallel.make_mesh()
assert mesh.size == 8
rows = np.arange(32, dtype=np.float32).reshape(16, 2)
batch = parallel.to_device(mesh)({"rows": rows})
assert all(shard.data.shape == (2, 2) for shard in batch["rows"].addressable_shards)
state = parallel.replicate({"w": rows}, mesh)
assert all(shard.data.shape == (16, 2) for shard in state["w"].addressable_shards)
# What explicit axes refuse: similarities of sharded rows, and a gather from them.
out = jax.jit(lambda x: (x @ x.T, x[::3]))(batch["rows"])
assert np.allclose(out[0], rows @ rows.T) and np.array_equal(out[1], rows[::3])
parallel.initialize()
assert not jax.distributed.is_initialized()
assert jax.config.jax_compilation_cache_dir and jax.config.jax_enable_compilation_cache
"""


def test_rows_are_dealt_out_over_eight_devices(run_python):
    run_python(EIGHT, devices=8, env={"JAX_COMPILATION_CACHE_DIR": None})


SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": "0"}
LAUNCHED = [
    ({}, False),
    ({"JAX_COORDINATOR_ADDRESS": "127.0.0.1:1234"}, True),
    ({**SLURM, "SLURM_NTASKS": "2"}, True),
    ({**SLURM, "SLURM_NTASKS": "1"}, False),
    ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, False),  # a batch script, outside of srun
    ({"TPU_WORKER_HOSTNAMES": "a,b"}, True),
    ({"TPU_WORKER_HOSTNAMES": "localhost"}, False),
]
NAMES = {name for environment, _ in LAUNCHED for name in environment}


@pytest.mark.parametrize(("environment", "several"), LAUNCHED)
def test_the_launchers_environment_asks_for_several_processes(monkeypatch, environment, several):
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert parallel.several_processes() == several


REFUSED = """
import os
import jax
from input_pipeline.errors import UserError
from sacd_jax import parallel

def refused(**environment):
    os.environ.update(environment)
    try:
        parallel.initialize()
    except UserError as error:
        return str(error)

assert "Number of processes must be defined" in refused(JAX_COORDINATOR_ADDRESS="127.0.0.1:1234")
assert refused(JAX_NUM_PROCESSES="two") == "JAX_NUM_PROCESSES is 'two', expected a number"
assert "process_id < num_processes" in refused(JAX_NUM_PROCESSES="2", JAX_PROCESS_ID="2")
assert not jax.distributed.is_initialized()
"""


def test_a_launch_that_cannot_be_is_refused_in_one_line(run_python):
    run_python(REFUSED, env={**dict.fromkeys(NAMES), "JAX_NUM_PROCESSES": None})


def test_parts_of_a_tree_are_dealt_out_by_rows(run_python):
    code = """
import numpy as np
from jax.sharding import PartitionSpec
from sacd_jax import parallel
from sacd_jax.tasks.train_state import create
import optax
bank = np.arange(32.0, dtype=np.float32).reshape(16, 2)
params = {"student": {"w": np.ones(3, np.float32)}}
state = create(0, params, {}, optax.sgd(0.1), buffers={"bank": bank, "banknote": bank})
placed = parallel.place(state, parallel.make_mesh(), by_rows=("buffers/bank", "carry"))
assert placed.buffers["bank"].sharding.spec == PartitionSpec("data")
assert placed.buffers["bank"].addressable_shards[3].data.shape == (2, 2)
whole = [placed.buffers["banknote"], placed.params["student"]["w"], placed.step]
assert all(leaf.sharding.is_fully_replicated for leaf in whole)
np.testing.assert_array_equal(placed.buffers["bank"], bank)
"""
    run_python(code, devices=8)


COMPILED = """
import jax, numpy as np
from sacd_jax import parallel
from sacd_jax.training import compiles
parallel.initialize()
found = compiles.counted()
rows = parallel.replicate({"w": np.ones((4, 4), np.float32)}, parallel.make_mesh())
jax.block_until_ready(jax.jit(lambda tree: tree["w"] @ tree["w"])(rows))
print(found.programs > 0, found.cached)
parallel.wait_for_all("end")
"""


@pytest.mark.slow
def test_no_process_on_a_cpu_is_ahead_of_others_by_a_compilation(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "compiled"))
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    for start in ("first", "second"):
        with processes(2, ("-c", COMPILED), tmp_path / start) as started:
            assert ends(started, 600) == [0, 0]
        for number in (0, 1):
            assert "True 0" in (tmp_path / start / f"{number}.txt").read_text()
