"""An experiment of seconds that goes through every phase: simulated nights, their import, a
teacher, its stored outputs, a student, evaluation, report."""

from dataclasses import replace

from input_pipeline.clips import ClipSettings
from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.sampling import Sampling
from input_pipeline.simulation import SimulationSettings
from input_pipeline.splits import SplitSettings
from sacd_jax.config import (
    EncoderConfig,
    Experiment,
    ObjectiveConfig,
    OptimizerConfig,
    RunConfig,
)

_STEPS_A_PASS = 1.92  # of 23 clips


def get_config(steps: int = 12) -> Experiment:
    """The experiment; its figures mean nothing.

    Args:
        steps: of the student, about. It logs each step, saves each second one and evaluates each
            fourth; at most a hundred times each.
    """
    passes = steps / _STEPS_A_PASS
    dataset = DatasetSettings(
        "simulated",
        simulation=SimulationSettings(nights=6, hours=0.1, height=32, width=32, frame_rate=1.0),
        clips=ClipSettings(frame_rate=1.0, height=32, width=32),
        split=SplitSettings(ahi_groups=1, test_fraction=0.34, validation_fraction=0.25),
    )
    teacher = RunConfig(
        task="classify",
        student=EncoderConfig("mlp", {"width": 8, "embedding_dim": 12}),
        sampling=Sampling(moments=4),
        batch_size=12,
        passes=6.25,
        evaluate_every_passes=2.0,
        checkpoint_every_passes=1.0,
        log_every_steps=1,
        optimizer=OptimizerConfig(learning_rate=1e-4),  # its input are microvolts, far from 1
    )
    student = replace(
        teacher,
        passes=passes,
        evaluate_every_passes=max(2.0, passes / 100),
        checkpoint_every_passes=max(1.0, passes / 100),
        log_every_steps=max(1, steps // 100),
        task="distill",
        student=EncoderConfig("mlp", {"input_key": "video", "width": 8, "embedding_dim": 12}),
        optimizer=OptimizerConfig(learning_rate=0.01),
        teacher=EncoderConfig("mlp", pretrained="teacher"),
        teacher_cache=True,
        objective=ObjectiveConfig(
            "sacd", {"clips_per_graph": 1, "bank_size": 24, "hardest": 8}, {"graph": 0.0}
        ),
    )
    return Experiment(dataset, {"teacher": teacher, "student": student})
