"""A video network on recorded nights, from labels alone: what distillation is measured against.

    python -m sacd_jax.train --config configs/s3ve_baseline.py:student=r3d_18 \\
        --workdir runs/baseline --config.dataset.manifest=nights.csv \\
        --config.student.pretrained=weights/r3d_18

The paper starts from public weights: Kinetics-700 for R(2+1)D-18, and Moments in Time beside it
for R3D-18. `python -m sacd_jax.convert` writes such a folder; without one training starts from
scratch.
"""

from configs import s3ve_teacher
from input_pipeline.errors import UserError
from input_pipeline.sampling import Sampling
from sacd_jax import models
from sacd_jax.config import AugmentConfig, EncoderConfig, Experiment, OptimizerConfig, RunConfig


def recipe(student: str, batch: str = "16") -> RunConfig:
    """The training of a video network on recorded nights.

    Larger batches than the paper's, for accelerators, have a higher learning rate in proportion,
    which rises over the first 5 of 80 passes (Goyal et al. 2017).

    Raises:
        UserError: no network has that name, or it sees no video; `batch` is not whole groups of 16.
    """
    if not batch.isdecimal() or int(batch) == 0 or int(batch) % 16:
        raise UserError(f"batch is {batch!r}, expected a multiple of 16 clips")
    if "video" not in models.create(student).input_keys:
        raise UserError(f"student {student!r} sees no video: expected a network such as r3d_18")
    large = {} if batch == "16" else {"per_batch": 16, "rise": 5 / 80}
    return RunConfig(
        task="classify",
        student=EncoderConfig(student),
        sampling=Sampling(moments=16),
        # From frames stored at 128 x 171; no zoom, which would cut off face or legs.
        augment=AugmentConfig(crop=(112, 112), flip=0.5),
        batch_size=int(batch),
        passes=80.0,  # learning rate x 0.1 at half and three quarters
        optimizer=OptimizerConfig("sgd", learning_rate=1e-3, schedule="step", **large),
        eval_batch_size=32,
    )


def get_config(student: str = "r2plus1d_18", batch: str = "16") -> Experiment:
    """The training of one video network, a name in `sacd_jax.models`, by `batch` clips a step."""
    return Experiment(s3ve_teacher.dataset(), {"": recipe(student, batch)})
