"""The mesh: whole groups on every device, rows where they belong."""

import pytest

from input_pipeline.errors import UserError
from sacd_jax import parallel


def test_batches_that_cannot_be_dealt_out_are_refused():
    mesh = parallel.make_mesh()
    parallel.check_batch_size(32 * mesh.size, mesh, group_size=16)
    words = f"batch_size 24 cannot be dealt out to {mesh.size} devices with groups of 16 clips"
    with pytest.raises(UserError, match=words):
        parallel.check_batch_size(24, mesh, group_size=16)


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
assert jax.config.jax_compilation_cache_dir
"""


def test_rows_are_dealt_out_over_eight_devices(run_python):
    run_python(EIGHT, devices=8, env={"JAX_COMPILATION_CACHE_DIR": None})
