"""The demo: simulated nights, an EEG teacher, a video student with and without SACD, and the rival.

    python -m sacd_jax.train --config configs/demo.py --workdir runs/demo

On 2 CPU cores it takes under 12 minutes. `configs/demo.py:miniature` goes the same way with toy
sizes in under 2 minutes; its figures mean nothing. `configs/demo.py:seed=1` is the experiment with
other nights, another split and other seeds of the trainings; `--config.seed=1` repeats the
trainings with another seed on the same nights.
"""

from dataclasses import replace

from input_pipeline.clips import ClipSettings
from input_pipeline.datasets.settings import DatasetSettings
from input_pipeline.sampling import Sampling
from input_pipeline.simulation import SimulationSettings
from input_pipeline.splits import SplitSettings
from sacd_jax.command_line import one_of
from sacd_jax.config import (
    AugmentConfig,
    EncoderConfig,
    Experiment,
    ObjectiveConfig,
    OptimizerConfig,
    RunConfig,
)


def get_config(size: str = "full", seed: int = 0) -> Experiment:
    """The experiment.

    Args:
        size: full or miniature.
        seed: of nights, split and trainings.
    """
    miniature = one_of("size", size, ("full", "miniature")) == "miniature"
    dataset = DatasetSettings(
        "simulated",
        simulation=SimulationSettings(
            nights=12 if miniature else 28,
            # An hour of each subject's night in two windows, cut at random from the whole of it.
            hours=0.15 if miniature else 0.5,
            windows=1 if miniature else 2,
            height=48,
            width=56,
            frame_rate=2.0,
            seed=seed,
        ),
        clips=ClipSettings(frame_rate=2.0, height=48, width=56),
        # In each AHI group 4 subjects train, 1 validates and 2 test.
        split=SplitSettings(seed=seed, test_fraction=0.25, validation_fraction=0.2),
    )
    teacher = RunConfig(
        task="classify",
        student=EncoderConfig("attnsleep", {"eeg_scale": 20.0}),
        seed=seed,
        class_weights="attnsleep",
        batch_size=64,
        passes=1.0 if miniature else 10.0,
        optimizer=OptimizerConfig(
            "amsgrad", learning_rate=2e-3, schedule="one_cycle", weight_decay=1e-3
        ),
    )
    baseline = RunConfig(
        task="classify",
        # Each half second's movement, the whole 30 s long; the first temporal kernel reaches over
        # 4.5 s, about a breath.
        student=EncoderConfig(
            "r2plus1d_small",
            {"video_input": "differences", "stem_patch": 8, "stem_taps": (9, 7)},
        ),
        sampling=Sampling(moments=59, lags_s=(0.0, 0.5)),
        seed=seed,
        augment=AugmentConfig(crop=(40, 48), flip=0.5),
        batch_size=32,
        passes=1.0 if miniature else 12.0,
        optimizer=OptimizerConfig(
            "sgd", learning_rate=0.05, schedule="one_cycle", weight_decay=5e-4, clip_norm=5.0
        ),
    )
    sacd = replace(
        baseline,
        task="distill",
        teacher=EncoderConfig("attnsleep", pretrained="teacher"),
        # At the student's rate all graphs become one vector and L_D loses its signal.
        objective=ObjectiveConfig("sacd", {"graph_learning_rate": 1e-4}),
        # 0.999 would average over the whole of so short a run.
        key_encoder_decay=0.99,
    )
    runs = {"teacher": teacher, **rivals(seed), "baseline": baseline, "sacd": sacd}
    return Experiment(dataset, runs)


def at_few_moments(run: RunConfig) -> RunConfig:
    """The run with a student that sees 16 moments, two later frames less the first at each: a fifth
    of the cost, and too far apart to follow a breath. All tables of docs/results were made with it.
    """
    options = {name: run.student.options[name] for name in ("video_input", "stem_patch")}
    return replace(
        run,
        student=replace(run.student, options=options),
        sampling=Sampling(moments=16, lags_s=(0.0, 0.5, 1.0)),
    )


def rivals(seed: int = 0) -> dict[str, RunConfig]:
    """What every network is to be measured against: breathing and movement, read from the same
    pictures by plain signal processing, of a clip alone and with its neighbours."""
    options = {"rival": {}, "rival_neighbours": {"neighbours": (5, 15)}}
    return {
        name: RunConfig("boost", EncoderConfig("breathing_and_movement", own), seed=seed)
        for name, own in options.items()
    }
