"""A video network on recorded nights, from labels alone: what distillation is measured against.

    python -m sacd_jax.train --config configs/s3ve_baseline.py:r3d_18 --workdir runs/baseline \\
        --config.dataset.manifest=nights.csv --config.student.pretrained=weights/r3d_18

The paper starts from public weights: Kinetics-700 for R(2+1)D-18, and Moments in Time beside it
for R3D-18. `python -m sacd_jax.convert` writes such a folder; without one training starts from
scratch.
"""

from typing import Any

from ml_collections import ConfigDict

from configs import s3ve_teacher
from input_pipeline.errors import UserError
from sacd_jax import models
from sacd_jax.config import RunConfig, with_defaults


def recipe(student: str) -> dict[str, Any]:
    """Settings that every training of a video network on recorded nights shares.

    Raises:
        UserError: no network has that name, or it sees no video.
    """
    if "video" not in models.create(student).input_keys:
        raise UserError(f"student {student!r} sees no video: expected a network such as r3d_18")
    return {
        "student": {"name": student},
        "sampling": {"moments": 16},
        # From frames stored at 128 x 171; no zoom, which would cut off face or legs.
        "augment": {"crop": (112, 112), "flip": 0.5},
        "batch_size": 16,
        "passes": 80.0,  # learning rate x 0.1 at half and three quarters
        "optimizer": {"name": "sgd", "learning_rate": 1e-3, "schedule": "step"},
        "eval_batch_size": 32,
    }


def get_config(student: str = "r2plus1d_18") -> ConfigDict:
    """`student` is a video network in `sacd_jax.models`."""
    run = {"task": "classify", **recipe(student)}
    return ConfigDict({"dataset": s3ve_teacher.dataset(), **with_defaults(RunConfig, run)})
