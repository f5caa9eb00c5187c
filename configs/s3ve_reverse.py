"""Distilling backwards, from video to EEG (the paper's experiments E, F and G).

    python -m sacd_jax.train --config configs/s3ve_reverse.py:experiment=f --workdir runs/reverse \\
        --config.dataset.manifest=nights.csv

`e`: SACD, the video network frozen; `f`: SACD, it trains as well; `g`: CCL, it trains as well. At
test all see EEG alone. In f and g both networks start from their own trainings, `video` and `eeg`.
`configs/s3ve_reverse.py:experiment=f,size=demo` takes the networks and the simulated nights of the
demo.
"""

from dataclasses import replace

from configs import demo, s3ve_baseline, s3ve_teacher
from input_pipeline.datasets.settings import DatasetSettings
from sacd_jax.command_line import one_of
from sacd_jax.config import EncoderConfig, Experiment, ObjectiveConfig, RunConfig

EXPERIMENTS = {"e": ("sacd", False), "f": ("sacd", True), "g": ("ccl", True)}
"""Letter -> method, and whether the video network trains."""


def two_modalities(size: str) -> tuple[DatasetSettings, RunConfig, RunConfig]:
    """Data set, and the trainings of the video network and of the EEG network, each alone.

    Args:
        size: paper or demo.

    Raises:
        UserError: another size.
    """
    if one_of("size", size, ("paper", "demo")) == "demo":
        experiment = demo.get_config()
        video = demo.at_few_moments(experiment.runs["baseline"])
        return experiment.dataset, video, experiment.runs["teacher"]
    eeg = s3ve_teacher.runs("attnsleep", "eeg")["eeg"]
    return s3ve_teacher.dataset(), s3ve_baseline.recipe("r3d_18"), eeg


def get_config(experiment: str = "f", size: str = "paper") -> Experiment:
    """The experiment.

    Args:
        experiment: e, f or g.
        size: paper or demo.
    """
    method, trainable = EXPERIMENTS[one_of("experiment", experiment, EXPERIMENTS)]
    dataset, video, eeg = two_modalities(size)
    reverse = replace(
        video,  # batch, frames and optimizer are those of the video network
        task="distill",
        student=replace(eeg.student, pretrained="eeg" if trainable else ""),
        teacher=EncoderConfig(video.student.name, pretrained="video"),
        teacher_trainable=trainable,
        objective=ObjectiveConfig(method),
    )
    return Experiment(dataset, {"video": video, "eeg": eeg, experiment: reverse})
