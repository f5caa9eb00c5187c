"""Counts the instructions of the compiled SACD step, by opcode.

    XLA_FLAGS=--xla_force_host_platform_device_count=8 python -m tests.tasks.sacd_step

prints what `tests/golden/sacd_step.json` holds.
"""

import json
import re
from collections import Counter

import jax
import numpy as np
import optax

from sacd_jax import models, objectives, parallel
from sacd_jax.config import AugmentConfig
from sacd_jax.models.encoder import init_variables, output_spec
from sacd_jax.objectives.objective import DataSpec
from sacd_jax.tasks.distill import Distill

BATCH, DIM = 32, 16
_OPCODE = re.compile(r"^\s+(?:ROOT )?%?[\w.\-]+ = .*? ([a-z][\w\-]*)\(", re.MULTILINE)


def compiled_text() -> str:
    """The optimised HLO of a step on all devices, with networks of two layers."""
    student = models.create("mlp", input_key="video", width=8, embedding_dim=DIM)
    teacher = models.create("mlp", width=8, embedding_dim=DIM)
    graph = {"layers": 1, "message_dim": 32, "update_dim": 32, "graph_dim": 32}
    objective = objectives.create("sacd", clips_per_graph=4, bank_size=24, hardest=8, graph=graph)
    still = AugmentConfig(crop=(), flip=0.0)
    task = Distill(
        student=student,
        teacher=teacher,
        objective=objective,
        optimizer=optax.sgd(0.05, 0.9),
        augment=still,
    )
    stage = np.arange(BATCH, dtype=np.int32) % 5
    batch = {
        "video": np.zeros((BATCH, 2, 6, 8, 1), np.uint8),
        "eeg": np.zeros((BATCH, 10), np.float32),
        "stage": stage,
        "index": np.arange(BATCH, dtype=np.int32),
        "mask": np.ones(BATCH, bool),
    }
    key = jax.random.key(0)
    networks = [init_variables(network, key, batch) for network in (student, teacher)]
    specs = [output_spec(network, batch) for network in (student, teacher)]
    heads, buffers = objective.init(key, *specs, DataSpec(BATCH, stage, 5, BATCH, 1))
    mesh = parallel.make_mesh()
    state = parallel.replicate(task.first_state(0, *networks, heads, buffers), mesh)
    step = parallel.jit_step(task.train_step, mesh, state)
    return step.lower(state, parallel.to_device(mesh)(batch)).compile().as_text()


if __name__ == "__main__":
    counts = Counter(_OPCODE.findall(compiled_text()))
    print(json.dumps({"jax": jax.__version__, "opcodes": dict(sorted(counts.items()))}, indent=2))
