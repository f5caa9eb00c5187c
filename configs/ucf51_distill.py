"""UCF51: a video network learns actions from sound (the paper's Table III; CCL's protocol).

    python -m sacd_jax.train --config configs/ucf51_distill.py --workdir runs/ucf51 \\
        --config.dataset.ucf51.videos=UCF-101 \\
        --config.dataset.ucf51.embeddings=audiocnn14embed512_features.tar.gz

`configs/ucf51_distill.py:method=crd,student=r3d_18` distils by another method into another network;
`configs/ucf51_distill.py:method=audio` needs no videos and trains the linear classifier on the
stored embeddings alone, the audio baseline.
"""

from dataclasses import replace
from pathlib import Path

from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.datasets.ucf51 import Ucf51Settings
from input_pipeline.sampling import Sampling
from sacd_jax import models, objectives
from sacd_jax.command_line import one_of
from sacd_jax.config import (
    AugmentConfig,
    EncoderConfig,
    Experiment,
    ObjectiveConfig,
    OptimizerConfig,
    RunConfig,
)

ARCHIVE = Path("audiocnn14embed512_features.tar.gz")

TEACHER = RunConfig(
    # The teacher's network is frozen in the stored vectors; this is its classifier.
    task="classify",
    student=EncoderConfig("audio_embedding"),
    batch_size=64,
    passes=50.0,
    optimizer=OptimizerConfig(
        "amsgrad", learning_rate=1e-3, schedule="one_cycle", weight_decay=1e-3
    ),
    select="last",
    evaluate_every_passes=10.0,
    eval_batch_size=256,
    log_every_steps=100,
)


def baseline(student: str) -> RunConfig:
    """The training of a video network from labels alone, by CCL's protocol."""
    return RunConfig(
        task="classify",
        student=EncoderConfig(one_of("student", student, models.available()), {"replicas": 1}),
        sampling=Sampling(moments=16, mode="consecutive"),
        augment=AugmentConfig(crop=(112, 112), scale=(0.25, 1.0), ratio=(3 / 4, 4 / 3)),
        batch_size=16,
        passes=300.0,  # learning rate x 0.1 at half and three quarters
        optimizer=OptimizerConfig("sgd", learning_rate=1e-3, schedule="step"),
        seed=1,
        # The validation clips are the test clips: CCL's choice of the best pass would look at them.
        select="last",
        evaluate_every_passes=10.0,
        eval_batch_size=32,
    )


def distilled(alone: RunConfig, method: str) -> RunConfig:
    """A training of `baseline` with a method of distillation."""
    return replace(
        alone,
        task="distill",
        teacher=EncoderConfig("audio_embedding", pretrained="teacher"),
        objective=ObjectiveConfig(one_of("method", method, objectives.available())),
    )


def get_config(method: str = "sacd", student: str = "ccl_r21d") -> Experiment:
    """The experiment.

    Args:
        method: a name in `sacd_jax.objectives`, or audio.
        student: a name in `sacd_jax.models`; CCL's has ten layers and starts from scratch.
    """
    runs = {"teacher": TEACHER}
    if method != "audio":
        alone = baseline(student)
        runs |= {"baseline": alone, method: distilled(alone, method)}
    return Experiment(DatasetSettings("ucf51", ucf51=Ucf51Settings(ARCHIVE)), runs)
